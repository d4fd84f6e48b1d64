# SPDX-License-Identifier: Apache-2.0
"""What every class of a fleet is compiled against, and the rules that no document wrote.

Quarantine is made of ordinary rules with reserved numbers: a host in it denies everything that is
no lifeline, both ways, and everybody else denies its addresses, which are networks for that; a
workload in it is denied from and to everybody. None of these rules makes hosts know each other:
who denies everything need not know whom.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from agent.core.model import (
    Action,
    Direction,
    Identity,
    IPAddress,
    IPNetwork,
    Mode,
    Network,
    PortRange,
    Rule,
)
from controller.allocations import (
    FIRST_RESERVED_NETWORK,
    FIRST_RESERVED_RULE,
    AllocationsError,
)
from controller.documents import DEFAULT_SEGMENT, Segment
from controller.nested import Nested
from controller.rules import MODES, Statement
from controller.selectors import Side, peer_identities

QUARANTINED_HOST = "quarantine"
QUARANTINED_HOSTS = "quarantine-hosts"
QUARANTINED_WORKLOADS = "quarantine-workloads"
RESERVED_NAMES = {
    int(identity): identity.name.lower()
    for identity in (Identity.HOST, Identity.WORLD, Identity.UNPROVEN)
}
_OWN, _HOSTS, _TO_WORKLOADS, _OF_WORKLOADS = (FIRST_RESERVED_RULE + 2 * i for i in range(4))


@dataclass(slots=True)
class Ground:
    """rules: numbers by statement. networks: numbers by CIDR. local: statements by the identity
    that they are for on a host; everywhere: those that every host has.
    """

    rules: Mapping[str, int] = field(default_factory=dict)
    networks: Mapping[str, int] = field(default_factory=dict)
    modes: dict[str, Mode] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    isolated: dict[IPNetwork, int] = field(default_factory=dict)
    workloads: frozenset[int] = frozenset()
    statements: Mapping[str, Statement] = field(default_factory=dict)
    local: dict[int, set[str]] = field(default_factory=dict)
    everywhere: set[str] = field(default_factory=set)

    def isolate(self, addresses: Iterable[IPAddress], workloads: frozenset[int]) -> None:
        """What is in quarantine: addresses of hosts, identities of workloads.

        A network that a document names as well keeps its number. Raises AllocationsError.
        """
        found = sorted(set(addresses), key=lambda a: (a.version, int(a)))
        if FIRST_RESERVED_NETWORK + len(found) > 1 << 24:
            raise AllocationsError(f"{len(found)} addresses in quarantine are too many")
        numbered = enumerate(map(ipaddress.ip_network, found), FIRST_RESERVED_NETWORK)
        self.isolated = {cidr: self.networks.get(str(cidr), number) for number, cidr in numbered}
        self.workloads = workloads

    def index(self, statements: Iterable[Statement]) -> None:
        """Statements that are no more leave, those that are there stand where they belong."""
        for statement in statements:
            kept = self.statements.get(statement.key) is statement
            for place in self._places(statement):
                (place.add if kept else place.discard)(statement.key)

    def _places(self, statement: Statement) -> Iterator[set[str]]:
        if statement.local is None or statement.local.everyone:
            yield self.everywhere
            return
        for identity in statement.local.identities:
            yield self.local.setdefault(identity, set())

    def touching(self, here: Iterable[int]) -> set[str]:
        """Statements for a host with these identities."""
        found = set(self.everywhere)
        for identity in here:
            found |= self.local.get(identity, set())
        return found

    def number(self, cidrs: Iterable[IPNetwork]) -> tuple[Network, ...]:
        """Networks with the numbers that they have on every host, in the order of these."""
        numbers = {
            cidr: self.isolated[cidr] if cidr in self.isolated else self.networks[str(cidr)]
            for cidr in cidrs
        }
        found = (Network(number, cidr) for cidr, number in numbers.items())
        return tuple(sorted(found, key=lambda network: network.identity))

    def mode(self, segment: str) -> Mode:
        """Of a segment that nobody describes any more: audit, as of `default`."""
        return self.modes.get(segment, Mode.AUDIT)

    @property
    def default_mode(self) -> Mode:
        return self.mode(DEFAULT_SEGMENT)

    def quarantine_rules(
        self, residents: frozenset[int], networks: tuple[Network, ...]
    ) -> Iterator[Rule]:
        """Of a host that is not in quarantine itself."""
        if self.isolated:
            peers = peer_identities(Side(networks=frozenset(self.isolated)), Nested(networks))
            yield from _denies(_HOSTS, QUARANTINED_HOSTS, None, peers)
        if self.workloads:
            yield from _denies(_TO_WORKLOADS, QUARANTINED_WORKLOADS, None, self.workloads)
        if own := self.workloads & residents:
            yield from _denies(_OF_WORKLOADS, QUARANTINED_WORKLOADS, own, None)


def lone_rules() -> Iterator[Rule]:
    """Of a host in quarantine: nothing but lifelines passes."""
    return _denies(_OWN, QUARANTINED_HOST, None, None)


def _denies(
    number: int, name: str, locals_: frozenset[int] | None, peers: frozenset[int] | None
) -> Iterator[Rule]:
    for direction in Direction:
        yield Rule(number + direction, name, Action.DENY, direction, locals_, peers, _EVERY_PORT)


_EVERY_PORT: tuple[PortRange, ...] = ()


def modes_of(segments: Mapping[str, Segment]) -> dict[str, Mode]:
    return {name: MODES[segment.mode] for name, segment in segments.items()}
