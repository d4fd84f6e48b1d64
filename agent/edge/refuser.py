# SPDX-License-Identifier: Apache-2.0
"""Tells a refusal to those who wait for an answer: a RST to the client whose SYN was refused here,
SOCK_DESTROY to our own client whose server was refused. Verdicts never depend on it.

It runs in a thread of its own behind a short queue: entering a network namespace is no work for the
loop, and in a flood only so many a second are told; the rest stay unanswered, as in mode drop.

The right namespace is that of the process whose socket it was, or our own; its cookie is compared
with the kernel's event, so that no packet leaves from another one. The raw socket is marked as ours
in its storage, and lives for one packet.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from agent.core import resets
from agent.core.abi import SOCKET_STATE, FlowEvent, Segment, SocketFlag, unpack_address
from agent.core.model import Identity
from agent.edge import namespaces, sock_destroy
from agent.edge.maps import BpfMap
from agent.edge.sock_destroy import Connection

PER_SECOND = 100
WAITING = 256
_ANY_COOKIE = (1 << 64) - 1
"""INET_DIAG_NOCOOKIE twice, include/uapi/linux/inet_diag.h: the event does not know the cookie."""
_SO_NETNS_COOKIE = 71
_IPV6_HDRINCL = 36
OUTCOMES = ("reset", "destroyed", "limited", "failed")


class Refuser:
    """From making to `close`. maps: the pinned maps. on: otherwise nobody is told anything."""

    def __init__(self, maps: Path, *, on: bool) -> None:
        self._maps = maps
        self._on = on
        self._waiting: queue.Queue[FlowEvent | None] = queue.Queue(WAITING)
        self._second = 0
        self._in_second = 0
        self.told: Counter[str] = Counter()
        """By OUTCOMES; written by the loop (limited) and by our thread (the others)."""
        self._thread = threading.Thread(target=self._run, name="refuser", daemon=True)
        if on:
            self._thread.start()

    def offer(self, event: FlowEvent) -> None:
        """Never waits. What is not to be told, or too much, is left."""
        if not self._on or not resets.is_told(event):
            return
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        if self._in_second > PER_SECOND:
            self.told["limited"] += 1
            return
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self.told["limited"] += 1

    def close(self) -> None:
        """What still waits is not told any more."""
        if self._on:
            with contextlib.suppress(queue.Empty):
                while True:
                    self._waiting.get_nowait()
            self._waiting.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (event := self._waiting.get()) is not None:
            try:
                outcome = self._tell(event)
            except (OSError, ValueError):  # the process has ended, the address has gone
                outcome = "failed"
            self.told[outcome] += 1

    def _tell(self, event: FlowEvent) -> str:
        for pid in _processes(event):
            if event.segment == Segment.SYN:
                if namespaces.inside(pid, lambda: self._reset(event)):
                    return "reset"
            elif namespaces.inside(pid, lambda: _is_netns(event)):
                failed = sock_destroy.destroy(_connections(event, pid))
                return "failed" if failed else "destroyed"
        return "failed"

    def _reset(self, event: FlowEvent) -> bool:
        """False in another namespace than the event's."""
        remote = unpack_address(event.remote_address)
        family = socket.AF_INET if remote.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            if _netns_cookie(raw) != event.netns:
                return False
            self._mark(raw)
            if family == socket.AF_INET6:
                raw.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
            raw.setblocking(False)
            raw.sendto(resets.reset_of(event), (str(remote), 0))
        return True

    def _mark(self, raw: socket.socket) -> None:
        """Ours, for our own egress program; without a state no program looks at it."""
        key = raw.fileno().to_bytes(4, "little")
        with BpfMap.open_pinned(self._maps / "sockets") as states:
            stored = states.get(key)
            if stored is not None:
                state = SOCKET_STATE.unpack(stored)
                marked = state._replace(local=int(Identity.AGENT), flags=int(SocketFlag.RESETS))
                states.put(key, SOCKET_STATE.pack(marked))


def _processes(event: FlowEvent) -> Iterator[int]:
    """In whose namespaces to look: the socket's own process, then ours."""
    if event.tgid and Path(f"/proc/{event.tgid}/ns/net").exists():
        yield event.tgid
    yield os.getpid()


def _is_netns(event: FlowEvent) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return _netns_cookie(probe) == event.netns


def _netns_cookie(probe: socket.socket) -> int:
    return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")


def _connections(event: FlowEvent, pid: int) -> list[Connection]:
    """The event does not say whether an IPv4 connection is an IPv6 socket's: both are tried."""
    local, remote = unpack_address(event.local_address), unpack_address(event.remote_address)
    families = (False, True) if remote.version == 4 else (True,)
    return [
        Connection(
            pid, ipv6, (str(local), event.local_port), (str(remote), event.remote_port), _ANY_COOKIE
        )
        for ipv6 in families
    ]
