# SPDX-License-Identifier: Apache-2.0
"""Selectors of peers to identities, over one whole revision.

A `Side` says whom one side of a rule means, before any host is looked at: identities of workloads,
networks, and the reserved ones. Nothing here knows directions or hosts.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from agent.core.model import FIRST_NETWORK_IDENTITY, Identity, IPNetwork, Network
from controller.documents import DEFAULT_SEGMENT, AddressPeer, Peer, Placed, Segment, Workload
from controller.nested import Nested, place
from controller.problems import Problem


@dataclass(frozen=True, slots=True)
class Side:
    """Whom one side of a rule means.

    everyone: `any`; the rest is then of no matter. world: every address that nobody manages.
    identities: of workloads, `HOST`, `UNPROVEN`.
    """

    everyone: bool = False
    world: bool = False
    identities: frozenset[int] = frozenset()
    networks: frozenset[IPNetwork] = frozenset()


@dataclass
class Resolver:
    """Looks names up; collects what is wrong instead of stopping at the first."""

    workloads: Mapping[str, Workload]
    segments: Mapping[str, Segment]
    numbers: Mapping[str, int]
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    _members: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    _labelled: dict[frozenset[tuple[str, str]], set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, workload in self.workloads.items():
            self._members[workload.segment].add(self.numbers[name])

    def side(self, placed: Placed, field_name: str, peers: Sequence[AddressPeer]) -> Side:
        identities: set[int] = set()
        for index, peer in enumerate(peers):
            if isinstance(peer, Peer):
                identities |= self._identities(placed, (field_name, index), peer)
        return Side(
            everyone=any(peer.any for peer in peers),
            world=any(peer.world for peer in peers),
            identities=frozenset(identities),
            networks=frozenset(peer.cidr for peer in peers if peer.cidr),
        )

    def _identities(self, placed: Placed, path: tuple[str | int, ...], peer: Peer) -> set[int]:
        if peer.segment is not None:
            return self._segment(placed, path, peer.segment)
        if peer.workload is not None:
            return self._workload(placed, path, peer.workload)
        if peer.labels is not None:
            return self._labels(placed, path, peer.labels)
        if peer.fqdn is not None:
            message = "fqdn is not supported yet by this version: name the addresses with cidr"
            self.problems.append(placed.problem(message, *path, "fqdn"))
        return {Identity.UNPROVEN} if peer.unproven else set()

    def _segment(self, placed: Placed, path: tuple[str | int, ...], name: str) -> set[int]:
        if name == DEFAULT_SEGMENT:
            return {Identity.HOST}
        if name not in self.segments:
            message = f"there is no Segment {name}{_known(self.segments)}"
            self.problems.append(placed.problem(message, *path, "segment"))
        elif not self._members[name]:
            message = f"matches nothing: no Workload is in segment {name}"
            self.warnings.append(placed.problem(message, *path, "segment"))
        return self._members[name]

    def _workload(self, placed: Placed, path: tuple[str | int, ...], name: str) -> set[int]:
        if name not in self.workloads:
            message = f"there is no Workload {name}{_known(self.workloads)}"
            self.problems.append(placed.problem(message, *path, "workload"))
            return set()
        return {self.numbers[name]}

    def _labels(
        self, placed: Placed, path: tuple[str | int, ...], labels: Mapping[str, str]
    ) -> set[int]:
        wanted = frozenset(labels.items())
        found = self._labelled.get(wanted)
        if found is None:
            found = self._labelled[wanted] = {
                self.numbers[name]
                for name, workload in self.workloads.items()
                if labels.items() <= workload.labels.items()
            }
        if not found:
            message = "matches nothing: no Workload has these labels"
            self.warnings.append(placed.problem(message, *path, "labels"))
        return found


def _known(names: Collection[str]) -> str:
    if not names:
        return ""
    some = sorted(names)[:8]
    return f"; there are {', '.join(some)}" + (" ..." if len(names) > len(some) else "")


def number_networks(cidrs: Collection[IPNetwork]) -> tuple[Network, ...]:
    """One identity per distinct network of a snapshot, in the order of addresses."""
    ordered = sorted(cidrs, key=place)
    return tuple(Network(FIRST_NETWORK_IDENTITY + i, cidr) for i, cidr in enumerate(ordered))


def covers(wide: IPNetwork, narrow: IPNetwork) -> bool:
    """Whether `narrow` lies within `wide`; families never mix."""
    if isinstance(wide, ipaddress.IPv4Network):
        return isinstance(narrow, ipaddress.IPv4Network) and narrow.subnet_of(wide)
    return isinstance(narrow, ipaddress.IPv6Network) and narrow.subnet_of(wide)


def peer_identities(side: Side, networks: Nested) -> frozenset[int] | None:
    """The side as the peers of a rule in a snapshot with these networks; None is any."""
    if side.everyone:
        return None
    result = set(side.identities)
    if side.world:
        result.add(Identity.WORLD)
        result.update(network.identity for network in networks.all)
    for cidr in side.networks:
        result.update(network.identity for network in networks.within(cidr))
    return frozenset(int(identity) for identity in result)
