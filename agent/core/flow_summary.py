# SPDX-License-Identifier: Apache-2.0
"""Judgements summed up by the minute, for the controller. Pure.

What is the same in everything but its moment and the client's port is one record. Both the kinds
of judgements in a minute and the minutes that are open are bounded; what is beyond is folded into
one record for each direction and verdict, so that no judgement is missing from the sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.core.abi import FlowEvent, FlowKind
from agent.core.flows import Names, enum_name, proof_name, protocol_name
from agent.core.model import Direction, Identity, Protocol, Reason, Verdict

MINUTE = 60
MAX_KINDS = 2000
"""In one minute."""
MAX_MINUTES = 3
"""Open at once: the last one, this one, and one more for a clock that jumps."""
FOLDED, SUPPRESSED = "folded", "suppressed"
MAX_NAME = 128
_WITH_PORTS = (Protocol.TCP, Protocol.UDP)
MAX_PATH = 256


class Kind(NamedTuple):
    """What judgements of one record share. address: 16 bytes, or empty where it says nothing."""

    direction: str = ""
    verdict: str = ""
    reason: str = ""
    rule: str = ""
    source: str = ""
    destination: str = ""
    proof: str = ""
    protocol: str = ""
    port: int = 0
    executable: str = ""
    address: bytes = b""


@dataclass(slots=True)
class Sums:
    """Of one kind in one minute. Bytes and packets are those of connections that ended in it."""

    count: int = 0
    first_ms: int = 0
    last_ms: int = 0
    closed: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    sent_packets: int = 0
    received_packets: int = 0
    duration_ms: int = 0

    def add(self, other: Sums) -> None:
        moments = [m for m in (self.first_ms, other.first_ms) if m]
        self.first_ms = min(moments, default=0)
        self.last_ms = max(self.last_ms, other.last_ms)
        for name in _ADDED:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_ADDED = ("count", "closed", "sent_bytes", "received_bytes", "sent_packets", "received_packets",
          "duration_ms")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """minute: unix seconds of its beginning."""

    minute: int
    kind: Kind
    sums: Sums


class _Raw(NamedTuple):
    """A kind in the kernel's numbers, which cost nothing to compare. generation: names hang on
    it."""

    direction: int
    verdict: int
    reason: int
    rule: int
    local: int
    peer: int
    proof: int
    protocol: int
    port: int
    executable: str
    address: bytes
    generation: int


@dataclass(slots=True)
class _Minute:
    """kinds: what each raw kind is called, as it was when it was first seen."""

    kinds: dict[_Raw, Kind] = field(default_factory=dict)
    sums: dict[_Raw, Sums] = field(default_factory=dict)
    folded: dict[Kind, Sums] = field(default_factory=dict)


class Summary:
    """names_under: what the policy of a generation calls identities and rules."""

    def __init__(self, names_under: Callable[[int], Names]) -> None:
        self._names_under = names_under
        self._minutes: dict[int, _Minute] = {}
        self.folded = 0
        """Judgements that found no record of their own."""

    def add(self, event: FlowEvent, executable: str, unix_ms: int) -> None:
        """unix_ms: when it was judged, or ended."""
        minute = self._minute(unix_ms // 1000 // MINUTE * MINUTE)
        sums = self._sums(minute, event, executable)
        if event.kind == FlowKind.CLOSED:
            _count_closed(sums, event)
            return
        _count(sums, 1, unix_ms)
        if event.suppressed:
            kind = Kind(reason=SUPPRESSED)
            _count(minute.folded.setdefault(kind, Sums()), event.suppressed, unix_ms)

    def take(self, now: float) -> list[Record]:
        """What is complete: all but the minute of `now`, unix seconds."""
        current = int(now) // MINUTE * MINUTE
        done = sorted(minute for minute in self._minutes if minute != current)
        return [record for minute in done for record in _records(minute, self._minutes.pop(minute))]

    def take_all(self) -> list[Record]:
        """The unfinished minute too: nothing more will come."""
        return self.take(-MINUTE)

    def _minute(self, start: int) -> _Minute:
        found = self._minutes.get(start)
        if found is None:
            if len(self._minutes) >= MAX_MINUTES:
                return self._minutes[max(self._minutes)]
            found = self._minutes[start] = _Minute()
        return found

    def _sums(self, minute: _Minute, event: FlowEvent, executable: str) -> Sums:
        raw = _raw(event, executable)
        found = minute.sums.get(raw)
        if found is not None:
            return found
        if len(minute.sums) >= MAX_KINDS:
            self.folded += event.kind != FlowKind.CLOSED
            return minute.folded.setdefault(_folded(event), Sums())
        minute.kinds[raw] = _kind(raw, self._names_under(event.generation))
        minute.sums[raw] = sums = Sums()
        return sums


def _raw(event: FlowEvent, executable: str) -> _Raw:
    tells = event.verdict != Verdict.ALLOW or event.peer == Identity.UNPROVEN or not event.proof
    return _Raw(
        event.direction,
        event.verdict,
        event.reason,
        event.rule,
        event.local,
        event.peer,
        event.proof,
        event.protocol,
        _port(event),
        executable,
        event.remote_address if tells else b"",
        event.generation,
    )


def _port(event: FlowEvent) -> int:
    """The service's. An event of ICMP has an echo's identifier in its place."""
    if event.protocol not in _WITH_PORTS:
        return 0
    return event.remote_port if event.direction == Direction.EGRESS else event.local_port


def _kind(raw: _Raw, names: Names) -> Kind:
    local, peer = (_clipped(names.identity(one), MAX_NAME) for one in (raw.local, raw.peer))
    egress = raw.direction == Direction.EGRESS
    return Kind(
        direction=enum_name(Direction, raw.direction),
        verdict=enum_name(Verdict, raw.verdict),
        reason=enum_name(Reason, raw.reason),
        rule=_clipped(names.rule(raw.rule), MAX_NAME) or (str(raw.rule) if raw.rule else ""),
        source=local if egress else peer,
        destination=peer if egress else local,
        proof=proof_name(raw.proof),
        protocol=protocol_name(raw.protocol),
        port=raw.port,
        executable=_clipped(raw.executable, MAX_PATH),
        address=raw.address,
    )


def _clipped(text: str, most: int) -> str:
    """Printable, and of at most so many bytes. A user can give a program any path: it must not make
    the controller refuse the records of a whole host."""
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")


def _folded(event: FlowEvent) -> Kind:
    direction, verdict = enum_name(Direction, event.direction), enum_name(Verdict, event.verdict)
    return Kind(direction=direction, verdict=verdict, reason=FOLDED)


def _count(sums: Sums, count: int, unix_ms: int) -> None:
    sums.count += count
    sums.first_ms = min(sums.first_ms or unix_ms, unix_ms)
    sums.last_ms = max(sums.last_ms, unix_ms)


def _count_closed(sums: Sums, event: FlowEvent) -> None:
    sums.closed += 1
    sums.sent_bytes += event.sent_bytes
    sums.received_bytes += event.received_bytes
    sums.sent_packets += event.sent_packets
    sums.received_packets += event.received_packets
    sums.duration_ms += event.duration_ms


def _records(start: int, minute: _Minute) -> list[Record]:
    """Generations in which names stayed the same are one."""
    merged: dict[Kind, Sums] = {}
    pairs = [(minute.kinds[raw], sums) for raw, sums in minute.sums.items()]
    for kind, sums in (*pairs, *minute.folded.items()):
        merged.setdefault(kind, Sums()).add(sums)
    return [Record(start, kind, sums) for kind, sums in merged.items()]
