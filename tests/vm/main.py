# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.vm.main [--kernel 6.1] [pytest's arguments]`: tests on Debian's kernels.

The machines run at the same time, as far as there are processors: each needs one.

Ends with 0 only if every kernel booted and every test that it was asked for passed there; with
--cached also if nothing was tried, because no earlier run left what to boot.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.vm import cache, machine, making
from tests.vm.cache import METAPACKAGES, Kernel
from tests.vm.errors import VmError
from tests.vm.machine import Disks, Size
from tests.vm.selection import FEW_TESTS, TESTS
from tests.vm.work import ROOT, make_work_disk

SECONDS = 1200.0
_TOOLS = ("qemu-system-x86", "mmdebstrap", "e2fsprogs", "kmod")
_NOTHING_KEPT = (
    "nothing was tried on other kernels: {} has none that belong to this tree; `make test-vm` "
    "fetches and keeps them"
)
_ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "CORDON_LAB_PATIENCE": os.environ.get("CORDON_LAB_PATIENCE", "8"),
    "CORDON_SWITCHES": os.environ.get("CORDON_SWITCHES", "20"),
    "CORDON_CONNECTIONS": os.environ.get("CORDON_CONNECTIONS", "500"),
}
_COMPILE = (
    ".venv/bin/python",
    "-c",
    "from agent.edge import loader; print(f'the datapath loads, after {loader.try_load():.0f} s')",
)
"""Before any test, because agents wait for their compiler with a bound."""
_PYTEST = (
    ".venv/bin/python",
    "-m",
    "pytest",
    "-p",
    "no:cacheprovider",
    "-v",
    "--color=no",
    "--tb=short",
    "--no-summary",
    *("-p", "tests.vm.at_once"),
    *("-o", "faulthandler_timeout=0"),  # the machine has a bound of its own
)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status."""
    options = _options(argv)
    try:
        return _run(options.kernel or list(METAPACKAGES), options)
    except VmError as error:
        print(f"test-vm: {error}", file=sys.stderr)
        return 1


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="test-vm", description=__doc__)
    parser.add_argument("--kernel", action="append", choices=sorted(METAPACKAGES))
    parser.add_argument(
        "--cached",
        action="store_true",
        help="fewer tests, on what an earlier run left; fetch nothing, try nothing if that is none",
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each machine")
    parser.add_argument("--command", help="a shell command to run instead of pytest")
    parser.add_argument("tests", nargs="*", help="pytest's arguments; after -- if they are options")
    return parser.parse_args(argv)


def _run(names: Sequence[str], options: argparse.Namespace) -> int:
    with making.locked(cache.folder()) as kept:
        found = cache.kept_already(kept) if options.cached else None
        if options.cached and found is None:
            print(f"test-vm: {_NOTHING_KEPT.format(kept)}")
            return 0
        if os.geteuid() != 0:
            raise VmError("needs root, to make file systems")
        making.install(_TOOLS)
        bootable = found or cache.newest(kept)
        with making.scratch(kept) as scratch:
            work = make_work_disk(scratch, _command(options), _ENVIRONMENT)
            chosen = [kernel for kernel in bootable.kernels if kernel.name in names]
            size, disks = Size(seconds=options.seconds), Disks(bootable.root, work)
            failed = _failed(chosen, lambda kernel: _passes(kernel, disks, size, kept))
    if failed:
        print(f"test-vm: failed on {' and '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _failed(kernels: Sequence[Kernel], passes: Callable[[Kernel], bool]) -> list[str]:
    """Names of those that do not pass. One that cannot be tried does not end the others."""
    at_once = min(len(kernels), os.cpu_count() or 1)
    with ThreadPoolExecutor(at_once) as machines:
        tried = [(kernel.name, machines.submit(passes, kernel)) for kernel in kernels]
    return [name for name, future in tried if not future.result()]


def _command(options: argparse.Namespace) -> list[str]:
    if options.command:
        return ["sh", "-c", options.command]
    tests = options.tests or (FEW_TESTS if options.cached else TESTS)
    return ["sh", "-c", f"{shlex.join(_COMPILE)} && exec {shlex.join([*_PYTEST, *tests])}"]


def _passes(kernel: Kernel, disks: Disks, size: Size, logs: Path) -> bool:
    started = time.monotonic()
    machine.say(kernel.name, f"Linux {kernel.release}")
    try:
        status = machine.run(kernel, disks, size, logs, ROOT)
    except VmError as error:
        machine.say(kernel.name, str(error))
        return False
    machine.say(kernel.name, f"status {status}, {time.monotonic() - started:.0f} s")
    return status == 0


if __name__ == "__main__":
    raise SystemExit(main())
