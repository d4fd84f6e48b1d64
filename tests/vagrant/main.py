# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.vagrant.main`: packages, box, and namespaces for the run in inside.py.

The process that `unshare` starts is the first of a pid namespace: whatever way the run ends, the
kernel ends libvirtd, dnsmasq and every machine with it, and takes their networks and mounts along.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.systemd import packages
from tests.vagrant import box
from tests.vm import cache, making
from tests.vm.errors import VmError

SECONDS = 2400.0
"""A run takes a third of that on a machine with nothing else to do."""
_NAMESPACES = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *("--propagation", "private", "--"),
)


def main() -> int:
    """The exit status."""
    try:
        return _run()
    except (VmError, AssertionError) as error:
        print(f"test-vagrant: {error}", file=sys.stderr)
        return 1


def _run() -> int:
    if os.geteuid() != 0:
        raise VmError("needs root, to make a root file system and namespaces")
    packages.built()
    with making.locked(cache.folder() / "vagrant") as kept, making.scratch(kept) as scratch:
        arguments = ["-m", "tests.vagrant.inside", str(scratch), str(box.make(kept).folder)]
        command = [*_NAMESPACES, sys.executable, *arguments]
        with subprocess.Popen(command, cwd=packages.ROOT) as running:
            try:
                return running.wait(SECONDS)
            except subprocess.TimeoutExpired:
                raise VmError(f"the machines are ended after {SECONDS:g} s") from None
            finally:
                running.kill()


if __name__ == "__main__":
    raise SystemExit(main())
