# SPDX-License-Identifier: Apache-2.0
"""A flow event as people read it, and the filters of an observer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from agent.core.abi import FlowEvent, unpack_address
from agent.core.model import (
    FIRST_NETWORK_IDENTITY,
    Direction,
    Identity,
    Proof,
    Protocol,
    Reason,
    Snapshot,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class Names:
    """What one snapshot calls its identities and rules. generation: the kernel's, under it."""

    identities: Mapping[int, str] = field(default_factory=dict)
    rules: Mapping[int, str] = field(default_factory=dict)
    version: int = 0
    generation: int = 0

    @classmethod
    def of(cls, snapshot: Snapshot, generation: int) -> Names:
        names = dict(snapshot.names)
        for workload in snapshot.workloads:
            names.setdefault(workload.identity, f"{workload.segment}/{workload.name}")
        rules = {rule.number: rule.name for rule in snapshot.rules}
        return cls(names, rules, snapshot.version, generation)

    @property
    def lasting(self) -> Names:
        """Those that other snapshots share: networks are numbered afresh in each."""
        kept = {n: name for n, name in self.identities.items() if n < FIRST_NETWORK_IDENTITY}
        return Names(kept, self.rules)

    def identity(self, number: int) -> str:
        """A workload's or a network's name, a reserved identity's, or the number itself."""
        if number == Identity.NONE:
            return ""
        return self.identities.get(number) or enum_name(Identity, number)

    def rule(self, number: int) -> str:
        return self.rules.get(number, "")


@dataclass(frozen=True, slots=True)
class Flow:
    """One judgement. time: unix seconds. id: counts the judgements that this agent has told."""

    time: float
    direction: str
    verdict: str
    reason: str
    protocol: str
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    local_identity: int
    local_workload: str
    peer_identity: int
    peer_workload: str
    proof: str
    rule: int
    rule_name: str
    pid: int
    peer_host: int
    policy_version: int
    suppressed: int
    generation: int
    id: int = 0


@dataclass(frozen=True, slots=True)
class Filter:
    """Each empty field passes everything."""

    workloads: frozenset[str] = frozenset()
    """Of either side: "segment/name", or the name alone."""
    verdicts: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    port: int = 0
    """Of either side."""
    direction: str = ""
    pid: int = 0

    def passes(self, flow: Flow) -> bool:
        if self.verdicts and flow.verdict not in self.verdicts:
            return False
        if self.reasons and flow.reason not in self.reasons:
            return False
        if self.direction and flow.direction != self.direction:
            return False
        if self.port and self.port not in (flow.local_port, flow.remote_port):
            return False
        if self.pid and flow.pid != self.pid:
            return False
        names = {flow.local_workload, flow.peer_workload}
        short = {name.rpartition("/")[2] for name in names}
        return not self.workloads or not self.workloads.isdisjoint(names | short)


def enum_name(names: type[IntEnum], number: int) -> str:
    """In lower case; a number that a newer kernel side made is shown as it is."""
    try:
        return names(number).name.lower()
    except ValueError:
        return str(number)


def protocol_name(number: int) -> str:
    return enum_name(Protocol, number) if number else "other"


def proof_name(number: int) -> str:
    return enum_name(Proof, number) if number else ""


def describe(event: FlowEvent, names: Names, wall_offset_ns: int, number: int = 0) -> Flow:
    """The kernel's record with names and unix time."""
    return Flow(
        time=(event.time_ns + wall_offset_ns) / 1e9,
        direction=enum_name(Direction, event.direction),
        verdict=enum_name(Verdict, event.verdict),
        reason=enum_name(Reason, event.reason),
        protocol=protocol_name(event.protocol),
        local_address=str(unpack_address(event.local_address)),
        local_port=event.local_port,
        remote_address=str(unpack_address(event.remote_address)),
        remote_port=event.remote_port,
        local_identity=event.local,
        local_workload=names.identity(event.local),
        peer_identity=event.peer,
        peer_workload=names.identity(event.peer),
        proof=proof_name(event.proof),
        rule=event.rule,
        rule_name=names.rule(event.rule),
        pid=event.tgid,
        peer_host=event.peer_host,
        policy_version=names.version,
        suppressed=event.suppressed,
        generation=event.generation,
        id=number,
    )
