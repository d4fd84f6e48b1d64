# SPDX-License-Identifier: Apache-2.0
"""The hosts of a fleet: which audience and class each is of, and what the others may know of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.core.content import Key, order
from agent.core.model import IPAddress, Peer
from controller.fleet import entries as make
from controller.fleet.assemble import ClassKey, Ruled
from controller.fleet.audience import audience_of
from controller.fleet.places import LabelKey, Placed, label_key
from controller.records import HostRow

Shown = tuple[bytes, frozenset[int]]
"""A host as a peer: its entry and the workloads that may speak from it."""


@dataclass(slots=True)
class Seat:
    """shown: None is nobody's peer: its lease has ended, or it is in quarantine."""

    row: HostRow
    labels: LabelKey
    audience: bytes
    key: ClassKey
    shown: Shown | None

    @property
    def reached(self) -> tuple[IPAddress, ...]:
        """What it adds to the managed addresses."""
        return self.row.addresses if self.row.tags and not self.key.lone else ()


@dataclass(slots=True)
class Seats:
    """What is public is for reading."""

    by_name: dict[str, Seat] = field(default_factory=dict)
    by_labels: dict[LabelKey, set[str]] = field(default_factory=lambda: defaultdict(set))
    members: dict[ClassKey, set[str]] = field(default_factory=lambda: defaultdict(set))
    audiences: dict[bytes, set[str]] = field(default_factory=lambda: defaultdict(set))
    _homes: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))

    def remove(self, name: str) -> Seat | None:
        """The seat that it had."""
        seat = self.by_name.pop(name, None)
        if seat is None:
            return None
        for index, key in self._places(seat):
            index[key].discard(name)
            if not index[key]:
                del index[key]
        return seat

    def put(self, row: HostRow, lone: bool, placed: Placed) -> Seat:
        """A host that has no seat."""
        key = ClassKey(placed, lone)
        shown = None if lone or row.lost else (_entry(row, key.residents), key.residents)
        seat = Seat(row, label_key(row.labels), audience_of(row, lone), key, shown)
        self.by_name[row.name] = seat
        for index, place in self._places(seat):
            index[place].add(row.name)
        return seat

    def _places(self, seat: Seat) -> Iterable[tuple[dict, object]]:  # type: ignore[type-arg]
        """Every index that it stands in, and where."""
        yield self.by_labels, seat.labels
        yield self.members, seat.key
        yield self.audiences, seat.audience
        for identity in seat.shown[1] if seat.shown is not None else ():
            yield self._homes, identity

    def peers(self, ruled: Ruled) -> dict[int, Shown]:
        """Whom the hosts of a class must know, by number."""
        names: Iterable[str] = self.by_name
        if not ruled.everyone:
            names = set().union(*(self._homes.get(i, ()) for i in ruled.named))
        seats = [self.by_name[name] for name in names]
        found = [(s.row.number, s.shown) for s in seats if s.shown is not None]
        return dict(sorted(found, key=lambda pair: pair[0]))

    def managed(self) -> dict[Key, bytes]:
        """Addresses of which nobody is the world, in their order."""
        addresses = {address.packed for seat in self.by_name.values() for address in seat.reached}
        return {address: address for address in sorted(addresses, key=order)}

    def isolated(self) -> list[IPAddress]:
        """Addresses of hosts in quarantine."""
        lone = (names for key, names in self.members.items() if key.lone)
        return [a for names in lone for name in names for a in self.by_name[name].row.addresses]


def _entry(row: HostRow, residents: frozenset[int]) -> bytes:
    peer = Peer(
        host=row.number,
        name=row.name,
        addresses=row.addresses,
        keys=(),
        residents=residents,
        tags_off=not row.tags,
        nat=row.nat,
    )
    return make.peer_entry(peer)
