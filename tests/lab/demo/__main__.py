# SPDX-License-Identifier: Apache-2.0
"""The entry point. Exit status: 0 all checks held; 1 one did not; 2 the demo cannot run here; 130
it was interrupted. In every case nothing stays on the machine.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from tests.lab import kernel
from tests.lab.demo import attacks, crash, handshakes, live
from tests.lab.demo.report import FAILURES, Report
from tests.lab.demo.scene import scene

NOT_HELD, CANNOT_RUN, INTERRUPTED = 1, 2, 130
PROGRAMS = ("nginx", "redis-server", "redis-cli", "curl", "bash", "ip", "ss")
BTF = Path("/sys/kernel/btf/vmlinux")

INTRODUCTION = """\
Cordon in a minute: on this machine stand two hosts, front and back, each guarded by an agent that
joined the controller on ctl with a token, and guest, which has none. nginx (web) on front reads
from redis (db) on back; jobs on back fetches pages from nginx. Policy, applied by `cordonctl` on
ctl, allows these two ways and nothing else. Real programs now try what is allowed and what is not;
you see what came of it outside, and what the kernels said."""


def missing() -> str:
    """The sentence that tells why the demo cannot run on this machine; empty if it can."""
    if os.geteuid() != 0:
        return "it needs root, for network namespaces, cgroups and eBPF; run it as root"
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"it needs `{program}`; `make setup` installs it"
    if not BTF.exists():
        return f"the kernel does not describe itself ({BTF}); it needs CONFIG_DEBUG_INFO_BTF"
    try:
        kernel.cgroup2_root()
    except OSError as failure:
        return str(failure)
    return ""


def show(report: Report) -> None:
    """The whole demo. Raises one of FAILURES if something between two checks goes wrong."""
    started = time.monotonic()
    with scene() as built:
        ready = time.monotonic()
        report.say(f"\nSet up in {ready - started:.1f} s.")
        handshakes.show(built, report)
        attacks.show(built, report)
        subscription = live.show(built, report)
        crash.show(built, report, subscription)
        seconds = time.monotonic() - ready
    report.say(f"\nThat took {seconds:.1f} s after the set-up. All of it is removed again.")


def main() -> int:
    """Run it and return the exit status."""
    reason = missing()
    if reason:
        return _cannot_run(reason)
    report = Report()
    report.say(INTRODUCTION)
    try:
        show(report)
    except KeyboardInterrupt:
        print("demo: interrupted; all that it made is removed", file=sys.stderr)
        return INTERRUPTED
    except FAILURES as failure:
        if not report.checks:
            return _cannot_run(str(failure))
        report.broke(failure)
    report.table()
    report.summary()
    return 0 if report.all_held else NOT_HELD


def _cannot_run(reason: str) -> int:
    print(f"demo: cannot run: {' '.join(reason.split())}", file=sys.stderr)
    return CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main())
