# SPDX-License-Identifier: Apache-2.0
"""Allow, Deny and Lifeline documents to the rules of one host.

A document becomes a `Statement`, with both sides resolved, once; each host then takes from it what
touches its own workloads: an egress rule where a workload of `from` may run, an ingress rule where
one of `to` may. Only the host's own networks are numbered, so snapshots do not name others'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.core.model import (
    Action,
    Direction,
    Identity,
    IPNetwork,
    Mode,
    Network,
    PortRange,
    Rule,
)
from controller import ports
from controller.documents import AddressPeer, Allow, Deny, Lifeline, Peer, Placed, Revision
from controller.nested import Nested
from controller.selectors import Resolver, Side, number_networks, peer_identities

MODES = {"off": Mode.OFF, "audit": Mode.AUDIT, "enforce": Mode.ENFORCE}


@dataclass(frozen=True, slots=True)
class Statement:
    """One rule document in one direction; `local` None is every process of every host."""

    key: str
    placed: Placed
    action: Action
    direction: Direction
    local: Side | None
    peer: Side
    ports: tuple[PortRange, ...]
    staged: bool = False


def rule_keys(revision: Revision) -> list[str]:
    """The names under which numbers are kept."""
    return [
        _key(item, direction)
        for item in revision.placed
        if isinstance(item.document, Allow | Deny | Lifeline)
        for direction in Direction
    ]


def _key(placed: Placed, direction: Direction) -> str:
    document = placed.document
    return f"{document.kind}/{document.name}/{direction.name.lower()}"


def network_keys(revision: Revision) -> list[str]:
    """Networks that documents name, as the names under which numbers are kept."""
    peers: list[AddressPeer] = []
    for item in revision.placed:
        match item.document:
            case Allow() | Deny():
                peers += (*item.document.from_, *item.document.to)
            case Lifeline():
                peers += item.document.peer
    return sorted({str(peer.cidr) for peer in peers if peer.cidr is not None})


def statements(revision: Revision, resolver: Resolver) -> list[Statement]:
    """All rules of a revision, by action and key."""
    found: list[Statement] = []
    for lifeline, placed in revision.of(Lifeline):
        found.append(_lifeline(lifeline, placed, resolver))
    for deny, placed in revision.of(Deny):
        found.extend(_both_ends(deny, placed, Action.DENY, resolver))
    for allow, placed in revision.of(Allow):
        found.extend(_both_ends(allow, placed, Action.ALLOW, resolver))
    return sorted(found, key=lambda s: (s.action, s.key))


def _lifeline(document: Lifeline, placed: Placed, resolver: Resolver) -> Statement:
    direction = Direction.INGRESS if document.direction == "in" else Direction.EGRESS
    peer = resolver.side(placed, "peer", document.peer)
    key = _key(placed, direction)
    covered = ports.parse_all(document.ports)
    return Statement(key, placed, Action.LIFELINE, direction, None, peer, covered)


def _both_ends(
    document: Allow | Deny, placed: Placed, action: Action, resolver: Resolver
) -> Iterable[Statement]:
    source = resolver.side(placed, "from", document.from_)
    target = resolver.side(placed, "to", document.to)
    if not any(_manageable(peer) for peer in (*document.from_, *document.to)):
        message = (
            "neither from nor to names anything that runs on a managed host, so no host could "
            "judge it: name a segment, workload, labels or any on one side"
        )
        resolver.problems.append(placed.problem(message))
    covered, staged = ports.parse_all(document.ports), document.mode == "audit"
    for direction, local, peer in (
        (Direction.EGRESS, source, target),
        (Direction.INGRESS, target, source),
    ):
        key = _key(placed, direction)
        yield Statement(key, placed, action, direction, local, peer, covered, staged)


def _manageable(peer: Peer) -> bool:
    """Whether it can name a process of a managed host."""
    return bool(peer.segment or peer.workload or peer.labels or peer.any)


@dataclass(frozen=True, slots=True)
class HostRules:
    """rules: in the order in which they are judged. networks: those that the rules name."""

    rules: tuple[Rule, ...]
    networks: tuple[Network, ...]


def rules_of_host(
    found: Sequence[Statement], residents: frozenset[int], numbers: Mapping[str, int]
) -> HostRules:
    """What one host needs of all statements."""
    here = residents | {int(Identity.HOST)}
    touching = [(s, locals_) for s in found if (locals_ := _locals(s, here)) != frozenset()]
    cidrs: set[IPNetwork] = set().union(*(s.peer.networks for s, _ in touching))
    return rules_from((s for s, _ in touching), here, number_networks(cidrs), numbers)


def rules_from(
    touching: Iterable[Statement],
    here: frozenset[int],
    networks: tuple[Network, ...],
    numbers: Mapping[str, int],
) -> HostRules:
    """Of statements that touch a host with these identities, whose networks are numbered."""
    rules: list[Rule] = []
    nested = Nested(networks)
    for statement in touching:
        peers = peer_identities(statement.peer, nested)
        if peers == frozenset():
            continue
        rules.append(
            Rule(
                number=numbers[statement.key],
                name=statement.placed.document.name,
                action=statement.action,
                direction=statement.direction,
                locals=_locals(statement, here),
                peers=peers,
                ports=statement.ports,
                staged=statement.staged,
            )
        )
    rules.sort(key=lambda rule: (rule.action, rule.number))
    return HostRules(tuple(rules), networks)


def _locals(statement: Statement, here: frozenset[int]) -> frozenset[int] | None:
    """The rule's local side on a host with these identities; empty: not for this host."""
    if statement.local is None or statement.local.everyone:
        return None
    return statement.local.identities & here
