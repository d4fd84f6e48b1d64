# SPDX-License-Identifier: Apache-2.0
"""The launcher: becomes a program of a lab host, in place, without a fork.

Run as `python -I -S enter.py JSON`. It joins the cgroup, enters the network namespace, takes on
the user, and then executes the program, so that already the program's exec is seen in its cgroup.
A program of its own and not `preexec_fn`, which is not safe in a process with threads; not
`ip netns exec`, which mounts a new /sys over bpffs and cgroups. It imports nothing of the lab.
"""

import ctypes
import json
import os
import signal
import sys
from typing import Any

CLONE_NEWNET = 0x40000000


def become(order: dict[str, Any]) -> None:
    """Take on all that `order` names and execute; returns only by an exception."""
    with open(order["procs"], "w", encoding="ascii") as procs:
        procs.write(str(os.getpid()))
    enter_namespace(order["netns"])
    if order["uid"] is not None:
        os.setgroups(order["groups"])
        os.setgid(order["gid"])
        os.setuid(order["uid"])
    os.chdir(order["cwd"])
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)  # Python ignores some, and exec would keep that
    os.execvpe(order["argv"][0], order["argv"], order["env"])


def enter_namespace(path: str) -> None:
    """setns(2), which Python has from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    os.close(descriptor)


def main() -> None:
    """Obey the order on the command line; a failure goes to the status pipe as a sentence."""
    order = json.loads(sys.argv[1])
    os.set_inheritable(order["status"], False)
    try:
        become(order)
    except OSError as failure:
        os.write(order["status"], f"{type(failure).__name__}: {failure}".encode())
        sys.exit(127)


main()
