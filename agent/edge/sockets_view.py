# SPDX-License-Identifier: Apache-2.0
"""The inet sockets of processes, seen through their own file descriptors.

pidfd_getfd gives a copy of a foreign descriptor: addresses and state are asked of the socket
itself, so the network namespace it lives in does not matter, and the kernel's state of it is found
in the sk_storage map by that very descriptor. Copies are closed at once: a copy that stays would
keep a connection open that its owner has closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from agent.core.abi import SOCKET_STATE, SocketState
from agent.edge.libbpf import BpfError
from agent.edge.maps import BpfMap

MAX_SOCKETS = 10_000
"""An answer's bound."""
_PIDFD_GETFD = 438
"""The same number on every architecture (include/uapi/asm-generic/unistd.h)."""
_TCP_STATES = (
    "", "established", "syn-sent", "syn-recv", "fin-wait-1", "fin-wait-2", "time-wait", "close",
    "close-wait", "last-ack", "listen", "closing", "syn-recv",
)  # fmt: skip
_PROTOCOLS = {
    socket.IPPROTO_TCP: "tcp",
    socket.IPPROTO_UDP: "udp",
    socket.IPPROTO_ICMP: "icmp",
    socket.IPPROTO_ICMPV6: "icmpv6",
}


@dataclass(frozen=True, slots=True)
class SocketSeen:
    """A socket; `kernel` is None where the datapath has no state of it."""

    pid: int
    protocol: str
    state: str
    local: tuple[str, int]
    remote: tuple[str, int]
    kernel: SocketState | None


def sockets_of(pids: Iterable[int], maps: Path) -> tuple[list[SocketSeen], bool]:
    """Sockets of these processes, and whether there are more than an answer may hold.

    A process or socket that vanishes meanwhile is left out.
    """
    with BpfMap.open_pinned(maps / "sockets") as states:
        every = (seen for pid in pids for seen in _of_process(pid, states))
        found = list(islice(every, MAX_SOCKETS + 1))
    return found[:MAX_SOCKETS], len(found) > MAX_SOCKETS


def _of_process(pid: int, states: BpfMap) -> Iterator[SocketSeen]:
    seen: set[str] = set()
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{number}")
                if not target.startswith("socket:") or target in seen:
                    continue
                seen.add(target)
                found = _of_descriptor(pid, pidfd, int(number), states)
                if found is not None:
                    yield found
    except OSError:
        return
    finally:
        os.close(pidfd)


def _of_descriptor(pid: int, pidfd: int, number: int, states: BpfMap) -> SocketSeen | None:
    with _copy(pidfd, number) as copy:
        if copy.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        protocol = copy.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL)
        return SocketSeen(
            pid=pid,
            protocol=_PROTOCOLS.get(protocol, str(protocol)),
            state=_state(copy, protocol),
            local=_address(copy.getsockname()),
            remote=_remote(copy),
            kernel=_kernel_state(copy, states),
        )


@contextlib.contextmanager
def _copy(pidfd: int, number: int) -> Iterator[socket.socket]:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(_PIDFD_GETFD, pidfd, number, 0)
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    copy = socket.socket(fileno=fd)
    try:
        yield copy
    finally:
        copy.close()


def _state(copy: socket.socket, protocol: int) -> str:
    if protocol != socket.IPPROTO_TCP:
        return ""
    number = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return _TCP_STATES[number] if number < len(_TCP_STATES) else str(number)


def _address(name: tuple[str, int]) -> tuple[str, int]:
    return name[0].removeprefix("::ffff:"), name[1]


def _remote(copy: socket.socket) -> tuple[str, int]:
    try:
        return _address(copy.getpeername())
    except OSError:
        return "", 0  # not connected


def _kernel_state(copy: socket.socket, states: BpfMap) -> SocketState | None:
    try:
        value = states.get(copy.fileno().to_bytes(4, "little"))
    except BpfError:
        return None
    return SOCKET_STATE.unpack(value) if value is not None else None
