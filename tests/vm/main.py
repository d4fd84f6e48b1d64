# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.vm.main [--kernel 6.1] [pytest's arguments]`: tests on Debian's kernels.

Ends with 0 only if every kernel booted and every test that it was asked for passed there.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.vm import cache, machine, making
from tests.vm.cache import METAPACKAGES, Kernel
from tests.vm.errors import VmError
from tests.vm.machine import Disks, Size
from tests.vm.work import ROOT, make_work_disk

SECONDS = 1200.0
TESTS = (
    "tests/kernel/test_doctor.py::test_kernel_here_lacks_nothing",
    "tests/kernel/test_doctor.py::test_flag_of_old_listeners_is_found_where_linux_has_it",
    "tests/kernel/test_tag_vectors.py",
    "tests/kernel/test_edges.py",
    "tests/kernel/test_handshake.py",
    "tests/kernel/test_refusals.py",
)
"""What fits into some minutes of emulation: every feature, the tag, what the agent asks of the
kernel, the handshake of two hosts under every kind of rule, and how refusals are told."""
_ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "CORDON_LAB_PATIENCE": os.environ.get("CORDON_LAB_PATIENCE", "4"),
}
_PYTEST = (
    ".venv/bin/python",
    "-m",
    "pytest",
    "-p",
    "no:cacheprovider",
    "-v",
    "--color=no",
    "--tb=short",
)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status."""
    options = _options(argv)
    try:
        return _run(options.kernel or list(METAPACKAGES), options.tests or list(TESTS), options)
    except VmError as error:
        print(f"test-vm: {error}", file=sys.stderr)
        return 1


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="test-vm", description=__doc__)
    parser.add_argument("--kernel", action="append", choices=sorted(METAPACKAGES))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each machine")
    parser.add_argument("--command", help="a shell command to run instead of pytest")
    parser.add_argument("tests", nargs="*", help="pytest's arguments; after -- if they are options")
    return parser.parse_args(argv)


def _run(names: Sequence[str], tests: Sequence[str], options: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise VmError("needs root, to make a root file system")
    with making.locked(cache.folder()) as kept:
        kernels = [cache.fetch_kernel(kept, name) for name in METAPACKAGES]
        root = cache.root_image(kept, kernels)
        command = ["sh", "-c", options.command] if options.command else [*_PYTEST, *tests]
        with tempfile.TemporaryDirectory(prefix="cordon-vm-") as scratch:
            work = make_work_disk(Path(scratch), command, _ENVIRONMENT)
            chosen = [kernel for kernel in kernels if kernel.name in names]
            size = Size(seconds=options.seconds)
            failed = [k.name for k in chosen if not _passes(k, Disks(root, work), size, kept)]
    if failed:
        print(f"test-vm: failed on {' and '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _passes(kernel: Kernel, disks: Disks, size: Size, logs: Path) -> bool:
    started = time.monotonic()
    print(f"test-vm: Linux {kernel.release}", flush=True)
    status = machine.run(kernel, disks, size, logs, ROOT)
    seconds = time.monotonic() - started
    print(f"test-vm: Linux {kernel.release}: status {status}, {seconds:.0f} s", flush=True)
    return status == 0


if __name__ == "__main__":
    raise SystemExit(main())
