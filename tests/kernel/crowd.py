# SPDX-License-Identifier: Apache-2.0
"""Many real connections at once between a fixed set of processes, and how each of them ended.

Every port is served by one process of each host, over both families; each connection has a source
port of its own, by which the kernel's events are told apart. No time decides here: what shall come
is waited for, and whatever shall not is looked at when the kernel has said that it refused.
"""

from __future__ import annotations

import ipaddress
import itertools
import random
import socket
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agent.core.model import IPAddress, Protocol
from tests.kernel.oracle import NOTHING, OK, Pair, Party
from tests.kernel.random_policy import PORTS, WORKLOADS
from tests.lab import Lab, LabHost, Puppet
from tests.lab.puppet import Op

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

COMES_SECONDS = 5.0
"""Bound for what shall come; it takes well under a millisecond on an idle machine."""
_UNITS = {
    "a": ("web", "api", "both", "stray"),
    "b": ("db", "cache", "both", "twin", "stray"),
    "c": ("stranger",),
}
_TWIN = "twin"
"""A second process of the workload `both`; it serves nothing."""
_FIRST_SOURCE_PORT = 10_000
_V6ONLY = (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_ANY = {4: "0.0.0.0", 6: "::"}


@dataclass
class Attempt:
    """A pair under way. `outcome` so far: refused at once, or not known yet."""

    pair: Pair
    handle: int
    outcome: str | None = None
    accepted: int | None = None


class Crowd:
    """The processes, what they serve, and the attempts that are under way."""

    def __init__(self, lab: Lab) -> None:
        self.parties: list[Party] = []
        self._hosts = lab.hosts
        self._served: dict[tuple[str, int], Party] = {}
        self._listeners: dict[tuple[int, Protocol, int, int], int] = {}
        self._source_ports = itertools.count(_FIRST_SOURCE_PORT)
        for host, units in _UNITS.items():
            here = {unit: _party(lab[host], unit) for unit in units}
            self.parties += here.values()
            here.pop(_TWIN, None)
            for port, party in zip(PORTS, itertools.cycle(here.values()), strict=False):
                self._served[host, port] = party
                self._serve(party, port)

    def _serve(self, party: Party, port: int) -> None:
        """Every other port on two sockets, the rest on one for both families."""
        separate = port % 2 == 0
        for protocol, kind in (
            (Protocol.TCP, socket.SOCK_STREAM),
            (Protocol.UDP, socket.SOCK_DGRAM),
        ):
            six = self._open(party, 6, kind, port, separate=separate)
            four = self._open(party, 4, kind, port, separate=separate) if separate else six
            self._listeners[party.pid, protocol, port, 4] = four
            self._listeners[party.pid, protocol, port, 6] = six

    def _open(self, party: Party, version: int, kind: int, port: int, *, separate: bool) -> int:
        puppet = party.puppet
        options = [_V6ONLY] if separate and version == 6 else []
        made = puppet.op_socket(_FAMILY[version], kind, bind=(_ANY[version], port), options=options)
        batch = [made]
        if kind == socket.SOCK_STREAM:
            batch.append(puppet.op("listen", made["handle"], backlog=256))
        assert all(reply.ok for reply in puppet.call(batch)), (party, port)
        return int(made["handle"])

    def pairs(self, rng: random.Random, count: int) -> list[Pair]:
        """Different ones: no client asks twice for one address and port."""
        found: dict[object, Pair] = {}
        while len(found) < count:
            pair = self._pair(rng)
            if pair is not None:
                same = (pair.client.pid, pair.protocol, pair.address, pair.port)
                found.setdefault(same, pair)
        return list(found.values())

    def _pair(self, rng: random.Random) -> Pair | None:
        client, host, port = rng.choice(self.parties), rng.choice("aabbc"), rng.choice(PORTS)
        if client.host == host == "c":
            return None  # nobody judges there
        server = self._served[host, port]
        source, address = rng.choice(self._ways(client.host, host))
        protocol = Protocol.UDP if rng.random() < 0.25 else Protocol.TCP
        number = next(self._source_ports)
        mapped = address.version == 4 and rng.random() < 0.2
        return Pair(protocol, client, server, source, address, number, port, mapped)

    def _ways(self, from_: str, to: str) -> list[tuple[IPAddress, IPAddress]]:
        """(source, destination) as packets between two hosts, or on one, carry them."""
        here, there = self._hosts[from_], self._hosts[to]
        ways = [(here.v4, there.v4), (here.v6, there.v6)]
        if from_ == to:
            ways += [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("127.0.0.1", "127.9.9.9")]
        return [(ipaddress.ip_address(a), ipaddress.ip_address(b)) for a, b in ways]

    # Attempts.

    def begin(self, pairs: Iterable[Pair]) -> list[Attempt]:
        """Start all of them; each client's in one go."""
        attempts: list[Attempt] = []
        for client, own in _by(pairs, lambda pair: pair.client).items():
            batch: list[Op] = []
            begun: list[Attempt] = []
            for pair in own:
                first, second = _start(client.puppet, pair)
                batch += [first, second]
                begun.append(Attempt(pair, first["handle"]))
            replies = client.puppet.call(batch)
            for attempt, made, reply in zip(begun, replies[::2], replies[1::2], strict=True):
                assert made.ok, (attempt.pair, made)
                attempt.outcome = None if reply.ok else reply.error
            attempts += begun
        return attempts

    def finish(self, attempts: Sequence[Attempt], wanted: Mapping[int, str]) -> None:
        """Fill in how each ended. `wanted`, by source port, only says what is worth waiting for."""
        for client, own in _by(attempts, lambda attempt: attempt.pair.client).items():
            open_ = [a for a in own if a.outcome is None and a.pair.protocol is Protocol.TCP]
            ops = [
                client.puppet.op("connect_finish", a.handle, _patience(a, wanted)) for a in open_
            ]
            for attempt, reply in zip(open_, client.puppet.call(ops), strict=True):
                attempt.outcome = OK if reply.ok else _nothing(reply.error)
        for server, own in _by(attempts, lambda attempt: attempt.pair.server).items():
            self._accept(server, own)
            self._receive(server, own, wanted)

    def _accept(self, server: Party, attempts: Sequence[Attempt]) -> None:
        """What the clients think is open is open here, and nothing else is."""
        done = [a for a in attempts if a.outcome == OK]
        by_listener = _by(done, lambda a: self._listener(a.pair))
        waiting = {a.pair.source_port: a for a in done}
        for listener in {self._listener(a.pair) for a in attempts if _is_tcp(a)}:
            count = len(by_listener.get(listener, ()))
            ops = [server.puppet.op_accept(listener, COMES_SECONDS) for _ in range(count)]
            *replies, last = server.puppet.call([*ops, server.puppet.op_accept(listener, 0)])
            assert last.error == "EAGAIN", f"{server} accepted one that its client does not know"
            for reply in replies:
                assert reply.ok, (server, reply, by_listener[listener])
                waiting.pop(reply.port).accepted = reply.handle
        assert not waiting, waiting

    def _receive(
        self, server: Party, attempts: Sequence[Attempt], wanted: Mapping[int, str]
    ) -> None:
        """Datagrams carry their source port as text."""
        udp = {a.pair.source_port: a for a in attempts if not _is_tcp(a)}
        for listener, own in _by(udp.values(), lambda a: self._listener(a.pair)).items():
            count = sum(wanted[a.pair.source_port] == OK for a in own)
            ops = [_receive_op(server.puppet, listener, COMES_SECONDS) for _ in range(count)]
            ops.append(_receive_op(server.puppet, listener, 0))
            for reply in server.puppet.call(ops):
                if reply.ok:
                    udp[int(reply.data)].outcome = OK
        for attempt in udp.values():
            attempt.outcome = attempt.outcome or NOTHING

    def _listener(self, pair: Pair) -> int:
        return self._listeners[pair.server.pid, pair.protocol, pair.port, pair.address.version]

    def send(self, attempts: Iterable[Attempt]) -> None:
        """One byte on each established connection."""
        for client, own in _by(attempts, lambda attempt: attempt.pair.client).items():
            replies = client.puppet.call(
                [client.puppet.op("send", a.handle, data=b"x") for a in own]
            )
            assert all(reply.ok for reply in replies), replies

    def arrived(self, attempts: Iterable[Attempt], wanted: Mapping[int, str]) -> dict[int, str]:
        """By source port, whether the byte came."""
        outcomes: dict[int, str] = {}
        for server, own in _by(attempts, lambda attempt: attempt.pair.server).items():
            ops = [
                server.puppet.op("recv", a.accepted or 0, _patience(a, wanted), size=1) for a in own
            ]
            for attempt, reply in zip(own, server.puppet.call(ops), strict=True):
                got = OK if reply.data == b"x" else _nothing(reply.error)
                outcomes[attempt.pair.source_port] = got
        return outcomes

    def close(self, attempts: Iterable[Attempt]) -> None:
        """By resets: nothing lingers that a later policy would judge."""
        ends: dict[Puppet, list[int]] = defaultdict(list)
        for attempt in attempts:
            ends[attempt.pair.client.puppet].append(attempt.handle)
            if attempt.accepted is not None:
                ends[attempt.pair.server.puppet].append(attempt.accepted)
        for puppet, handles in ends.items():
            puppet.close(*handles, reset=True)


def _party(host: LabHost, name: str) -> Party:
    unit = "both" if name == _TWIN else name
    workload = unit if unit in WORKLOADS else None
    return Party(host.name, workload, host.puppet(f"{unit}.service"))


def _start(puppet: Puppet, pair: Pair) -> tuple[Op, Op]:
    version = 6 if pair.mapped else pair.address.version
    to = (f"::ffff:{pair.address}" if pair.mapped else str(pair.address), pair.port)
    tcp = pair.protocol is Protocol.TCP
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    made = puppet.op_socket(_FAMILY[version], kind, bind=(_ANY[version], pair.source_port))
    if tcp:
        return made, puppet.op("connect_start", made["handle"], to=to)
    data = str(pair.source_port).encode()
    return made, puppet.op("sendto", made["handle"], to=to, data=data)


def _receive_op(puppet: Puppet, handle: int, timeout: float) -> Op:
    return puppet.op("recvfrom", handle, timeout, size=64)


def _patience(attempt: Attempt, wanted: Mapping[int, str]) -> float:
    return COMES_SECONDS if wanted[attempt.pair.source_port] == OK else 0


def _nothing(error: str | None) -> str:
    return NOTHING if error in ("TIMEOUT", "EAGAIN") else error or NOTHING


def _is_tcp(attempt: Attempt) -> bool:
    return attempt.pair.protocol is Protocol.TCP


def _by(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    found: dict[K, list[T]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return found
