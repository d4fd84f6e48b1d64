# SPDX-License-Identifier: Apache-2.0
"""A libvirtd that nobody else meets: its sockets, networks, images and logs are in our namespaces.

It is started in network, mount and pid namespaces that were made for it (main.py). What libvirt
keeps on a machine goes into one folder, and /run is empty: no service of the machine is found.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.vm import making
from tests.vm.errors import VmError

SOCKET = Path("/run/libvirt/libvirt-sock")
_START_SECONDS = 60.0
_END_SECONDS = 20.0
_POLL_SECONDS = 0.2
_KEPT = ("/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt", "/etc/libvirt")
_QEMU = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""
"""No privilege to take away and nothing to be fenced by: machines run as the test does, in its own
namespaces, and no cgroup of the machine is touched."""
_DAEMON = 'auth_unix_rw = "none"\nunix_sock_group = "root"\n'


@contextlib.contextmanager
def running(folder: Path) -> Iterator[None]:
    """libvirtd, with all that it writes in `folder`. Raises VmError."""
    _mount(folder)
    _configure()
    log = folder / "libvirtd.log"
    with log.open("wb") as stream:
        daemon = subprocess.Popen(["libvirtd"], stdout=stream, stderr=subprocess.STDOUT)
    try:
        _wait(daemon, log)
        yield
    finally:
        daemon.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(_END_SECONDS)


def _mount(folder: Path) -> None:
    making.run(["ip", "link", "set", "lo", "up"])
    # This network's, not the machine's; and no cgroup below it, so that libvirt finds none.
    making.run(["mount", "-t", "sysfs", "sysfs", "/sys"])
    making.run(["mount", "-t", "tmpfs", "tmpfs", "/run"])
    for name in _KEPT:
        own = folder / name.lstrip("/")
        own.mkdir(parents=True)
        os.makedirs(name, exist_ok=True)
        making.run(["mount", "--bind", str(own), name])


def _configure() -> None:
    Path("/etc/libvirt/qemu.conf").write_text(_QEMU)
    Path("/etc/libvirt/libvirtd.conf").write_text(_DAEMON)
    if shutil.which("libvirtd") is None:
        raise VmError("libvirtd is not installed: apt-get install libvirt-daemon-system")


def _wait(daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not SOCKET.exists():
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise VmError(f"libvirtd did not start:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(_POLL_SECONDS)
