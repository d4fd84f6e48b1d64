# SPDX-License-Identifier: Apache-2.0
"""What must come of a connection, at both ends, by `agent.core.policy` alone.

The oracle says what a query means; this says which queries a connection asks: who each end is, how
the other proves itself, and which of the two refuses first. It is written from the design and reads
nothing of the kernel's. `judgement` asks the other way: what should the kernel have said of just
that event, whatever connection it belongs to?
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.core import policy
from agent.core.model import (
    Decision,
    Direction,
    Identity,
    IPAddress,
    Mode,
    Peer,
    Proof,
    Protocol,
    Reason,
    Snapshot,
    Verdict,
)
from agent.core.policy import Query
from agent.pb import local_pb2
from tests.lab import Puppet

OK, EPERM, NOTHING = "ok", "EPERM", "nothing came"
Key = tuple[int, str, str, str, int, int]
"""Of an event: pid, direction, protocol, remote address, remote port, local port."""


@dataclass(frozen=True)
class Party:
    """A process. workload: its name, if its host's policy says so; None for a host's own."""

    host: str
    workload: str | None
    puppet: Puppet

    @property
    def pid(self) -> int:
        return self.puppet.pid


@dataclass(frozen=True)
class Pair:
    """One connection or datagram. `source` and `address` as the packets will have them.

    mapped: the client asks for an IPv4 address by an IPv6 socket (RFC 4291, 2.5.5.2).
    """

    protocol: Protocol
    client: Party
    server: Party
    source: IPAddress
    address: IPAddress
    source_port: int
    port: int
    mapped: bool = False

    @property
    def same_host(self) -> bool:
        return self.client.host == self.server.host

    def key(self, direction: Direction, *, at_connect: bool = False) -> Key:
        protocol = self.protocol.name.lower()
        if direction is Direction.INGRESS:
            ends = (str(self.source), self.source_port, self.port)
            return (self.server.pid, "ingress", protocol, *ends)
        own = 0 if at_connect else self.source_port
        return (self.client.pid, "egress", protocol, str(self.address), self.port, own)


@dataclass(frozen=True)
class End:
    """What one judgement says."""

    verdict: Verdict
    reason: Reason
    rule: int
    local: int
    peer: int
    proof: Proof

    @property
    def refused(self) -> bool:
        return self.verdict is Verdict.REFUSE


def end_of(flow: local_pb2.Flow) -> End:
    return End(
        Verdict[flow.verdict.upper()],
        Reason[flow.reason.upper()],
        flow.rule,
        flow.local_identity,
        flow.peer_identity,
        Proof[flow.proof.upper()],
    )


def key_of(flow: local_pb2.Flow) -> Key:
    local = flow.local_port
    remote = (flow.remote_address, flow.remote_port)
    return (flow.pid, flow.direction, flow.protocol, *remote, local)


@dataclass
class Expected:
    """outcome: for the client. ends: the one answer that events of a key give; None: no event."""

    outcome: str = OK
    ends: dict[Key, End | None] = field(default_factory=dict)


class Oracle:
    """Of one revision; a host without an agent has no snapshot."""

    def __init__(self, snapshots: Mapping[str, Snapshot]) -> None:
        self.snapshots = snapshots

    def identity(self, party: Party) -> int:
        workloads = self.snapshots[party.host].workloads
        return next((w.identity for w in workloads if w.name == party.workload), Identity.HOST)

    def expected(self, pair: Pair) -> Expected:
        """For a connection that begins under this revision."""
        found = Expected()
        steps = self._tcp(pair) if pair.protocol is Protocol.TCP else self._udp(pair)
        for key, end, outcome in steps:
            open_ = found.outcome == OK
            found.ends[key] = end if open_ else None
            if open_ and end is not None and end.refused:
                found.outcome = outcome
        return found

    def rejudged(self, pair: Pair, before: Expected) -> Expected:
        """For the client's next segment of an established one: a proven identity stays."""
        found = Expected()
        for direction in (Direction.EGRESS, Direction.INGRESS):
            key = pair.key(direction)
            was = before.ends.get(key)
            if was is None:
                continue  # no agent there
            proven = was.peer if was.proof is Proof.TAG else None
            end = self._ask(pair, direction, proven, Proof.TAG)
            found.ends[key] = end if found.outcome == OK else None
            if end.refused:
                found.outcome = NOTHING
        return found

    def _tcp(self, pair: Pair) -> list[tuple[Key, End | None, str]]:
        """Connect, SYN, SYN-ACK, as far as there are agents."""
        steps: list[tuple[Key, End | None, str]] = []
        agents = (pair.client.host in self.snapshots, pair.server.host in self.snapshots)
        if agents[0]:
            key = pair.key(Direction.EGRESS, at_connect=True)
            steps.append((key, self._at_connect(pair), EPERM))
        if agents[1]:
            proven = self._proven(pair.client, pair.server)
            end = self._ask(pair, Direction.INGRESS, proven, Proof.TAG)
            steps.append((pair.key(Direction.INGRESS), end, NOTHING))
        if agents[0]:
            proven = self._proven(pair.server, pair.client)
            end = self._ask(pair, Direction.EGRESS, proven, Proof.TAG)
            steps.append((pair.key(Direction.EGRESS), end, NOTHING))
        return steps

    def _at_connect(self, pair: Pair) -> End | None:
        """Told only if it is final: an unmanaged peer, or a refusal."""
        if pair.server.host not in self.snapshots:
            return self._ask(pair, Direction.EGRESS)
        if pair.same_host:
            return None  # the SYN's own judgement knows both
        local = self.identity(pair.client)
        decision = policy.provisional(
            self.snapshots[pair.client.host], local, pair.protocol, pair.port, pair.address
        )
        end = _end(decision, local, Identity.UNPROVEN, Proof.ADDRESS)
        return end if end.refused else None

    def _udp(self, pair: Pair) -> list[tuple[Key, End | None, str]]:
        steps: list[tuple[Key, End | None, str]] = []
        if pair.client.host in self.snapshots:
            end = self._ask(pair, Direction.EGRESS)
            if pair.same_host and end.reason not in (Reason.LIFELINE, Reason.MODE_OFF):
                # The receiver's side knows both.
                decision = Decision(Verdict.ALLOW, Reason.PROVISIONAL)
                end = _end(decision, end.local, Identity.UNPROVEN, Proof.ADDRESS)
            steps.append((pair.key(Direction.EGRESS), end, EPERM))
        if pair.server.host in self.snapshots:
            proven = self.identity(pair.client) if pair.same_host else None
            end = self._ask(pair, Direction.INGRESS, proven, Proof.RECORD)
            steps.append((pair.key(Direction.INGRESS), end, NOTHING))
        return steps

    def _ask(
        self, pair: Pair, direction: Direction, proven: int | None = None, proof: Proof = Proof.NONE
    ) -> End:
        """One end's final answer; without proof the peer is what its address says."""
        egress = direction is Direction.EGRESS
        party, other = (pair.client, pair.server) if egress else (pair.server, pair.client)
        address = pair.address if egress else pair.source
        snapshot = self.snapshots[party.host]
        peer = proven
        if peer is None:
            proof = Proof.ADDRESS
            managed = other.host in self.snapshots
            peer = Identity.UNPROVEN if managed else policy.network_identity(snapshot, address)
        local = self.identity(party)
        query = Query(direction, pair.protocol, local, peer, pair.port, address, pair.same_host)
        return _end(policy.verdict(snapshot, query), local, peer, proof)

    def _proven(self, sender: Party, receiver: Party) -> int | None:
        """Whom the sender's tag names to the receiver; None where it cannot write one."""
        if sender.host not in self.snapshots:
            return None
        ours, theirs = self.snapshots[sender.host], self.snapshots[receiver.host]
        addressee, author = _peer(ours, theirs.host), _peer(theirs, ours.host)
        if addressee is None or not addressee.keys:
            return None
        identity = self.identity(sender)
        residents = author.residents if author is not None else frozenset()
        assert identity in residents | {Identity.HOST}, (
            "hosts with keys know each other's residents"
        )
        return identity


def _peer(snapshot: Snapshot, host: int) -> Peer | None:
    """None for a host that no rule relates to this one: of it only the addresses are known."""
    return next((peer for peer in snapshot.peers if peer.host == host), None)


def _end(decision: Decision, local: int, peer: int, proof: Proof) -> End:
    return End(decision.verdict, decision.reason, decision.rule, local, peer, proof)


_PROOF_FAILED = range(Reason.TAG_FORGED, Reason.TAG_IDENTITY + 1)


def judgement(snapshot: Snapshot, flow: local_pb2.Flow) -> Decision:
    """What the kernel should have said in this event, from who it says were there."""
    direction, protocol = Direction[flow.direction.upper()], Protocol[flow.protocol.upper()]
    egress = direction is Direction.EGRESS
    same_host = flow.peer_host == snapshot.host
    query = Query(
        direction=direction,
        protocol=protocol,
        local=flow.local_identity,
        peer=flow.peer_identity,
        port=flow.remote_port if egress else flow.local_port,
        address=ipaddress.ip_address(flow.remote_address),
        same_host=same_host,
    )
    reason = Reason[flow.reason.upper()]
    if reason in _PROOF_FAILED:
        enforced = policy.mode_of(snapshot, query.local) is Mode.ENFORCE
        return Decision(Verdict.REFUSE if enforced else Verdict.AUDIT, reason)
    at_connect = egress and protocol is Protocol.TCP and not flow.local_port
    if at_connect and query.peer == Identity.UNPROVEN:
        return policy.provisional(snapshot, query.local, protocol, query.port, query.address)
    decision = policy.verdict(snapshot, query)
    early = decision.reason in (Reason.LIFELINE, Reason.MODE_OFF)
    if egress and same_host and protocol is Protocol.UDP and not early:
        return Decision(Verdict.ALLOW, Reason.PROVISIONAL)
    return decision


def peer_by_address(snapshot: Snapshot, address: IPAddress) -> int:
    """Who is there as far as nothing but the address says."""
    stripped = {own for peer in snapshot.peers if peer.tags_off for own in peer.addresses}
    managed = {own for peer in snapshot.peers for own in peer.addresses} | snapshot.managed
    if address in managed - stripped or address.is_loopback or address.is_unspecified:
        return Identity.UNPROVEN
    return policy.network_identity(snapshot, address)


def fault_of(snapshot: Snapshot, flow: local_pb2.Flow) -> str | None:
    """What is wrong with an event under the policy of its generation, as a sentence."""
    said = Decision(Verdict[flow.verdict.upper()], Reason[flow.reason.upper()], flow.rule)
    should = judgement(snapshot, flow)
    if said != should:
        return f"it says {said}, revision {snapshot.version} says {should}: {flow}"
    if flow.proof == Proof.ADDRESS.name.lower():
        peer = peer_by_address(snapshot, ipaddress.ip_address(flow.remote_address))
        if peer != flow.peer_identity:
            return f"in revision {snapshot.version} the peer is {peer}: {flow}"
    if flow.suppressed:
        return f"{flow.suppressed} events before it are lost: {flow}"
    return None
