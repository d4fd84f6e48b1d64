# SPDX-License-Identifier: Apache-2.0
"""The machines' root file system, made once from Debian's archive and kept between runs.

It lies outside the tree, under a name drawn from what it is made of, so a changed list makes a new
one. What tests change lies in overlays above it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

RELEASE = "bookworm"
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "udev", "kmod", "iproute2", "procps", "bpftool",
    "python3", "python3-bpfcc", "libbpf1", "linux-libc-dev",
    "nginx-light", "redis-server", "redis-tools", "curl", "openssh-client",
)  # fmt: skip
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "systemd-sysctl.service", "getty.target",
    "systemd-pstore.service", "proc-sys-fs-binfmt_misc.automount", "systemd-firstboot.service",
    "console-getty.service", "e2scrub_reap.service", "dpkg-db-backup.timer", "fstrim.timer",
    "systemd-logind.service", "logrotate.timer",
)  # fmt: skip
"""systemd-sysctl above all: it would set the whole kernel's, which is not the machine's own."""
EXCLUDED = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*", "/usr/share/info/*")
PAUSES = (2, 5, 15)
MACHINE_ID = b"c0rd0n".hex().ljust(32, "0")


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", "/var/cache")) / "cordon-test"


def root_image() -> Path:
    """The folder of the root file system; made now if it is not there (half a minute, network)."""
    made_of = repr((RELEASE, PACKAGES, MASKED, EXCLUDED, MACHINE_ID))
    folder = cache_folder() / f"root-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
    folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock")):
        if not folder.exists():
            fresh = folder.with_suffix(".new")
            _remove(fresh)
            _bootstrap(fresh)
            _prepare(fresh)
            fresh.rename(folder)
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two test runs want one image: the second waits for the first one's."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _bootstrap(folder: Path) -> None:
    argv = [
        "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED), RELEASE, str(folder),
    ]  # fmt: skip
    for pause in (*PAUSES, None):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=1200, check=False)
        if done.returncode == 0:
            return
        _remove(folder)
        if pause is None:
            raise RuntimeError(f"mmdebstrap failed: {done.stderr[-2000:]}")
        time.sleep(pause)  # the archive was not to be reached: give the network time


def _prepare(folder: Path) -> None:
    (folder / "etc/machine-id").write_text(f"{MACHINE_ID}\n")
    for unit in MASKED:
        link = folder / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    (folder / "etc/resolv.conf").unlink(missing_ok=True)
    shutil.rmtree(folder / "var/lib/apt/lists", ignore_errors=True)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
