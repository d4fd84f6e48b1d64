# SPDX-License-Identifier: Apache-2.0
"""The compiler: (documents, inventory, numbers, now, root secret) -> one snapshot per host. Pure.

A host gets what it needs and nothing of others: the workloads that may run on it, the rules that
touch them, and as peers, with keys, the hosts on which something lives that those rules name. Of
the other managed hosts it gets the addresses alone, without saying whose: an address that is not
known as managed would count as the world's, and that would be weaker than `unproven`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.core.model import (
    Action,
    Identity,
    Mode,
    Network,
    Peer,
    Rule,
    Snapshot,
)
from controller import keys
from controller.allocations import Allocations
from controller.checking import examine, without_expired
from controller.documents import DEFAULT_SEGMENT, Revision, Segment, Workload
from controller.inventory import Host, Inventory
from controller.placement import Placement, place
from controller.problems import InputRefused, Problem, Source
from controller.rules import MODES, HostRules, Statement, rule_keys, rules_of_host

_RESERVED = {
    int(identity): identity.name.lower()
    for identity in (Identity.HOST, Identity.WORLD, Identity.UNPROVEN)
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """snapshots: by host name. sources: rule number -> its document. warnings: for people."""

    snapshots: Mapping[str, Snapshot]
    allocations: Allocations
    sources: Mapping[int, Source]
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _World:
    """What the compile of every host looks at."""

    inventory: Inventory
    allocations: Allocations
    placement: Placement
    statements: Sequence[Statement]
    modes: Mapping[str, Mode]
    names: Mapping[int, str]
    ring: keys.KeyRing
    issued: int
    expires: int


def compile_revision(
    revision: Revision, inventory: Inventory, allocations: Allocations, now: int, root: bytes
) -> Compiled:
    """Raises InputRefused with all that is wrong, AllocationsError if numbers have run out.

    now: unix seconds. root: the secret that every key is derived from.
    """
    active, warnings = without_expired(revision, now)
    world, more = _resolve(active, inventory, allocations, now, root)
    return Compiled(
        snapshots={host.name: _snapshot(world, host) for host in inventory.hosts},
        allocations=world.allocations,
        sources={world.allocations.rules[s.key]: s.placed.source for s in world.statements},
        warnings=(*warnings, *more),
    )


def _resolve(
    revision: Revision, inventory: Inventory, allocations: Allocations, now: int, root: bytes
) -> tuple[_World, list[Problem]]:
    """Names to numbers, documents to statements; what is wrong between documents is refused."""
    workloads, segments = revision.of(Workload), {s.name: s for s, _ in revision.of(Segment)}
    extended = allocations.extended(
        workloads=(w.name for w, _ in workloads),
        hosts=(host.name for host in inventory.hosts),
        rules=rule_keys(revision),
    )
    examined = examine(revision, extended.workloads, inventory.hosts)
    if examined.problems:
        raise InputRefused(examined.problems)
    expires, warnings = _expiry(revision, now, inventory.validity_seconds)
    warnings += examined.warnings
    live = keys.epochs(now, expires, inventory.datapath.epoch_seconds)
    world = _World(
        inventory=inventory,
        allocations=extended,
        placement=place(workloads, inventory.hosts, extended.workloads),
        statements=examined.statements,
        modes={name: MODES[segment.mode] for name, segment in segments.items()},
        names={extended.workloads[w.name]: f"{w.segment}/{w.name}" for w, _ in workloads},
        ring=keys.KeyRing(root, live),
        issued=now,
        expires=expires,
    )
    return world, warnings


def _expiry(revision: Revision, now: int, validity: int) -> tuple[int, list[Problem]]:
    """Nobody may start under a document whose time is over, so the snapshot ends with it."""
    ending = [
        (int(placed.document.until.timestamp()), placed)
        for placed in revision.placed
        if placed.document.until is not None
    ]
    earliest = min(ending, key=lambda pair: pair[0], default=None)
    if earliest is None or earliest[0] >= now + validity:
        return now + validity, []
    message = "all snapshots expire at this time: compile again then"
    return earliest[0], [earliest[1].problem(message, "until")]


def _snapshot(world: _World, host: Host) -> Snapshot:
    number = world.allocations.hosts[host.name]
    local = world.placement.hosts[host.name]
    own = rules_of_host(
        world.statements, world.placement.residents(host.name), world.allocations.rules
    )
    related, strangers = _relations(world, host, own)
    peers = tuple(_peer(world, number, other) for other in related)
    modes = {w.identity: world.modes[w.segment] for w in local}
    modes[int(Identity.HOST)] = world.modes.get(DEFAULT_SEGMENT, Mode.AUDIT)
    return Snapshot(
        host=number,
        host_name=host.name,
        version=world.allocations.revision,
        issued=world.issued,
        expires=world.expires,
        trust_domain=world.inventory.trust_domain,
        workloads=local,
        rules=own.rules,
        peers=tuple(sorted(peers, key=lambda peer: peer.host)),
        networks=own.networks,
        receive_secrets=world.ring.receive_secrets(number),
        modes=modes,
        names=_names(world, own, peers),
        settings=world.inventory.datapath,
        managed=frozenset(a for other in strangers if other.tags for a in other.addresses),
    )


def _relations(world: _World, host: Host, own: HostRules) -> tuple[list[Host], list[Host]]:
    """Of all hosts those that this one has to know, which it is one of, and the others."""
    related: list[Host] = []
    strangers: list[Host] = []
    for other in world.inventory.hosts:
        residents = world.placement.residents(other.name)
        known = other is host or any(names_any_of(rule, residents) for rule in own.rules)
        (related if known else strangers).append(other)
    return related, strangers


def _peer(world: _World, number: int, other: Host) -> Peer:
    peer_number = world.allocations.hosts[other.name]
    return Peer(
        host=peer_number,
        name=other.name,
        addresses=tuple(other.addresses),
        keys=world.ring.pair_keys(number, peer_number),
        residents=world.placement.residents(other.name),
        tags_off=not other.tags,
        nat=other.nat,
    )


def names_any_of(rule: Rule, residents: frozenset[int]) -> bool:
    """Whether a rule needs to know who speaks on a host with these residents.

    Deny counts as Allow does: without a key its sender would come as `unproven` and pass by it.
    A lifeline for anybody asks no proof.
    """
    if rule.peers is None:
        return rule.action is not Action.LIFELINE
    return Identity.HOST in rule.peers or not residents.isdisjoint(rule.peers)


def _names(world: _World, own: HostRules, peers: Sequence[Peer]) -> Mapping[int, str]:
    """A name for every identity that this snapshot mentions."""
    mentioned: set[int] = set().union(*(peer.residents for peer in peers))
    for rule in own.rules:
        mentioned |= (rule.peers or frozenset()) | (rule.locals or frozenset())
    names = {number: name for number, name in world.names.items() if number in mentioned}
    return names | _RESERVED | _network_names(own.networks)


def _network_names(networks: Sequence[Network]) -> dict[int, str]:
    return {network.identity: str(network.cidr) for network in networks}
