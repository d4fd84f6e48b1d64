# SPDX-License-Identifier: Apache-2.0
"""The few system calls that Python 3.11 lacks: mount, umount, setns, unshare.

Called in this process and not through `mount` or `ip netns`, because Ctrl-C reaches a whole
foreground group: a helper program would be killed in the middle of the clean-up that the same
Ctrl-C began.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

CLONE_NEWNET = 0x40000000
MNT_DETACH = 2
MS_BIND = 4096

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: Path, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2); `flags` are the MS_ bits."""
    result = _libc.mount(
        source.encode(),
        os.fsencode(target),
        kind.encode(),
        ctypes.c_ulong(flags),
        data.encode(),
    )
    _check(result, f"mount of {source} on {target}")


def unmount(target: Path) -> None:
    """Detach the mount at once, even if somebody still stands in it."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount of {target}")


def mounts_below(folder: Path) -> list[Path]:
    """Mount points at or below `folder`, deepest first."""
    points = [
        Path(line.split()[4].encode().decode("unicode_escape"))
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    ]
    return sorted((p for p in points if p.is_relative_to(folder)), reverse=True)


def cgroup2_root() -> Path:
    """Where cgroup v2 is mounted. Raises OSError if it is nowhere."""
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if fields[2] == "cgroup2":
            return Path(fields[1])
    raise OSError("cgroup v2 is not mounted; mount it with: mount -t cgroup2 none /sys/fs/cgroup")


def make_namespace(path: Path) -> None:
    """Make a network namespace and keep it alive by a mount on `path`, as `ip netns add` does."""

    def unshare() -> None:
        _check(_libc.unshare(CLONE_NEWNET), "unshare of the network namespace")
        mount("/proc/thread-self/ns/net", path, "none", MS_BIND)

    _in_thread(unshare)


def inside(namespace: Path, function: Callable[[], T]) -> T:
    """Run `function` in a network namespace and return what it returns.

    A thread of its own enters the namespace, so that this process never leaves its own. A socket
    that the function makes, and a program that it starts, belong to the namespace for good.
    """

    def enter() -> T:
        descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(descriptor, CLONE_NEWNET), f"setns to {namespace}")
        finally:
            os.close(descriptor)
        return function()

    return _in_thread(enter)


def _in_thread(function: Callable[[], T]) -> T:
    answers: list[T] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(function())
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=work, name="lab-namespace")
    thread.start()
    try:
        thread.join()
    except BaseException:  # Ctrl-C: what the thread makes must be there when the clean-up comes
        thread.join()
        raise
    if failures:
        raise failures[0]
    return answers[0]
