# SPDX-License-Identifier: Apache-2.0
"""The way to the controllers, which the agent keeps open whatever the policy says. Pure.

Without it a Deny too many could be taken back only by the return of an unconfirmed policy, and an
agent that starts under such a policy would never hear of a better one. It is a lifeline like any
other, for the whole host and tcp to these addresses and ports alone.

An address that gets a network of its own leaves the network around it, so every rule that names
that one is made to name the new one, too: the policy says about the address what it said before.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import replace

from agent.core.model import (
    FIRST_NETWORK_IDENTITY,
    IDENTITY_MAX,
    Action,
    Direction,
    Identity,
    IPAddress,
    Mode,
    Network,
    PortRange,
    Protocol,
    Rule,
    Snapshot,
)
from agent.core.policy import network_identity

NAME = "controllers"
FIRST_NUMBER = 0xFFFF_FF00
"""Rules of the agent's own have the highest numbers; documents get theirs from 1 on."""
MAX_TARGETS = 64


def add(snapshot: Snapshot, targets: Iterable[tuple[IPAddress, int]]) -> Snapshot:
    """The snapshot with a way to each (address, port)."""
    for address, port in sorted(set(targets), key=str)[:MAX_TARGETS]:
        snapshot, identity = _with_network(snapshot, address)
        number = FIRST_NUMBER + sum(1 for rule in snapshot.rules if rule.number >= FIRST_NUMBER)
        ports = (PortRange(Protocol.TCP, port, port),)
        peers = frozenset({identity})
        rule = Rule(number, NAME, Action.LIFELINE, Direction.EGRESS, None, peers, ports)
        snapshot = replace(snapshot, rules=(*snapshot.rules, rule))
    return snapshot


def _with_network(snapshot: Snapshot, address: IPAddress) -> tuple[Snapshot, int]:
    """The snapshot with a network for this address alone, and its identity."""
    cidr = ipaddress.ip_network(address)
    for network in snapshot.networks:
        if network.cidr == cidr:
            return snapshot, network.identity
    around = network_identity(snapshot, address)
    identity = _free_identity(snapshot)
    return replace(
        snapshot,
        networks=(*snapshot.networks, Network(identity, cidr)),
        names={**snapshot.names, identity: str(cidr)},
        rules=tuple(_naming_too(rule, around, identity) for rule in snapshot.rules),
    ), identity


def _free_identity(snapshot: Snapshot) -> int:
    taken = {network.identity for network in snapshot.networks}
    return next(i for i in range(IDENTITY_MAX, FIRST_NETWORK_IDENTITY, -1) if i not in taken)


def _naming_too(rule: Rule, around: int, identity: int) -> Rule:
    if rule.peers is None or around not in rule.peers:
        return rule
    assert around == Identity.WORLD or around >= FIRST_NETWORK_IDENTITY, "the world or a network"
    return replace(rule, peers=rule.peers | {identity})


def opened(snapshot: Snapshot) -> Snapshot:
    """The same with nothing refused: what comes before the first policy, in the kernel's terms."""
    lifelines = tuple(rule for rule in snapshot.rules if rule.action is Action.LIFELINE)
    off = dict.fromkeys(snapshot.modes, Mode.OFF)
    return replace(snapshot, rules=lifelines, modes=off)
