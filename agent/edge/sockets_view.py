# SPDX-License-Identifier: Apache-2.0
"""The inet sockets of processes, for people to look at."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from agent.core.abi import SocketState
from agent.edge import foreign_sockets
from agent.edge.maps import BpfMap

MAX_SOCKETS = 10_000
"""An answer's bound."""
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
    cookie: int
    family: int
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
    with contextlib.suppress(OSError), foreign_sockets.pidfd(pid) as pidfd:
        for number, target in foreign_sockets.descriptors(pid):
            if target in seen:
                continue
            seen.add(target)
            with contextlib.suppress(OSError), foreign_sockets.copy(pidfd, number) as copy:
                if foreign_sockets.is_inet(copy):
                    yield _look(pid, copy, states)


def _look(pid: int, copy: socket.socket, states: BpfMap) -> SocketSeen:
    protocol = foreign_sockets.protocol(copy)
    state = foreign_sockets.tcp_state(copy, protocol)
    return SocketSeen(
        pid=pid,
        cookie=foreign_sockets.cookie(copy),
        family=int(copy.family),
        protocol=_PROTOCOLS.get(protocol, str(protocol)),
        state=_TCP_STATES[state] if state < len(_TCP_STATES) else str(state),
        local=foreign_sockets.local_end(copy),
        remote=foreign_sockets.remote_end(copy),
        kernel=foreign_sockets.kernel_state(copy, states),
    )
