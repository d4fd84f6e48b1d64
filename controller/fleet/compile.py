# SPDX-License-Identifier: Apache-2.0
"""The fleet: rows of the store in, for each audience its content out. Pure and incremental.

Work is done per placement class and not per host: audiences whose hosts may run the same workloads
share one content, as the same object. A change marks the classes that it touches, by rules or by
the hosts that rules name; the rest stays as it is. Whatever the edits, the result is that of `load`
of the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.core.content import Section, section_bytes
from agent.core.model import Identity, Settings
from controller.allocations import Allocations
from controller.documents import DEFAULT_SEGMENT
from controller.fleet import entries as make
from controller.fleet.assemble import (
    ClassKey,
    Common,
    Content,
    Names,
    Ruled,
    assemble,
    rule_class,
)
from controller.fleet.book import Book, Edited, Read, end_of, read_row
from controller.fleet.changes import Class, HostRecordFields, Marks, Touched, compare
from controller.fleet.ground import Ground, modes_of
from controller.fleet.places import Places, label_key
from controller.fleet.seats import Seat, Seats
from controller.records import FleetPart, FleetRows, FleetSettings, Head, HostRow, Target

MAX_HASHES = 2_000_000
"""Hashes of entries that are kept; beyond, they are made anew."""


class Fleet:
    """`load` once, then `update` with what changed and `advance` with time."""

    def __init__(self, read: Read = read_row) -> None:
        """read: what a document of the store says."""
        self.head = Head(0, 0, 0)
        self.moment = 0
        """As of when the contents hold: the version's time, or when the last document ended."""
        self.settings = FleetSettings()
        self.trust_domain = ""
        self._read = read
        self._book = Book(read)
        self._places = Places()
        self._ground = Ground()
        self._seats = Seats()
        self._numbers = Allocations()
        self._quarantined: frozenset[Target] = frozenset()
        self._classes: dict[ClassKey, Class] = {}
        self._audiences: dict[bytes, Content] = {}
        self._common: Common | None = None
        self._hashes: dict[bytes, bytes] = {}

    # Reading.

    @property
    def audiences(self) -> Mapping[bytes, Content]:
        return self._audiences

    def content(self, audience: bytes) -> Content:
        return self._audiences[audience]

    def peers(self, audience: bytes) -> frozenset[int]:
        """Numbers."""
        return self._audiences[audience].peers

    def audience(self, name: str) -> bytes:
        """Of a host, by name."""
        return self._seats.by_name[name].audience

    @property
    def hosts(self) -> Mapping[str, Seat]:
        return self._seats.by_name

    def members(self, audiences: Iterable[bytes]) -> frozenset[str]:
        """Names of their hosts."""
        return frozenset().union(*(self._seats.audiences.get(a, ()) for a in audiences))

    def record(self, name: str) -> HostRecordFields:
        seat = self._seats.by_name[name]
        row = seat.row
        return HostRecordFields(
            store_epoch=self.head.store_epoch,
            serial=row.record_serial,
            host=row.number,
            name=row.name,
            trust_domain=self.trust_domain,
            audience=seat.audience,
            addresses=row.addresses,
            tags_off=not row.tags,
            nat=row.nat,
            issued=row.record_at,
        )

    def next_end(self) -> int | None:
        """When `advance` will find something to do."""
        return self._book.next_end()

    # Changing.

    def load(self, rows: FleetRows) -> Touched:
        """All anew; of what was before only Touched knows."""
        fresh = Fleet(self._read)
        fresh.trust_domain = rows.trust_domain
        part = FleetPart(
            head=rows.head,
            at=rows.at,
            everything=False,
            settings=rows.settings,
            hosts={row.name: row for row in rows.hosts},
            documents={(row.kind, row.name): row for row in rows.documents},
            allocations=rows.allocations,
            quarantines=rows.quarantines,
        )
        fresh.update(part)
        before, hosts = self._audiences, frozenset(self.hosts) | frozenset(fresh.hosts)
        self.__dict__.update(fresh.__dict__)
        return compare(before, self._audiences, hosts)

    def update(self, part: FleetPart) -> Touched:
        """Take what some versions touched."""
        assert not part.everything, "too much has changed for a part: load"
        marks = Marks()
        self.head, self.moment = part.head, max(self.moment, part.at)
        self._numbers = part.allocations
        for key, document in part.documents.items():
            self._book.put(key, document)
        if part.settings != self.settings or self._common is None:
            self.settings, marks.common = part.settings, True
        rows = dict(part.hosts)
        quarantined = frozenset(row.target for row in part.quarantines)
        for target in quarantined ^ self._quarantined:
            seat = self._seats.by_name.get(target.host)
            if seat is not None:
                rows.setdefault(target.host, seat.row)
        self._quarantined = quarantined
        return self._settle(rows, marks)

    def advance(self, now: int) -> Touched:
        """Documents whose time is over by now leave."""
        touched = Touched()
        while (end := self._book.next_end()) is not None and end <= now:
            self.moment = max(self.moment, end)
            more = self._settle({}, Marks())
            touched = Touched(touched.audiences | more.audiences)
        return touched

    def _settle(self, rows: Mapping[str, HostRow | None], marks: Marks) -> Touched:
        before = dict(self._audiences)
        edited = self._book.settle(self.moment, self._numbers.workloads)
        self._mark_documents(edited, marks)
        moved = self._places.update(edited.workloads, self._book.workloads, self._numbers.workloads)
        again = {name for labels in moved for name in self._seats.by_labels.get(labels, ())}
        for name in rows.keys() | again:
            self._reseat(name, rows, marks)
        self._places.forget(self._places.placed.keys() - self._seats.by_labels.keys())
        self._isolate(marks)
        if marks.common:
            self._common = self._made_common()
        self._recompile(marks)
        return compare(before, self._audiences, frozenset(rows))

    def _mark_documents(self, edited: Edited, marks: Marks) -> None:
        ground, numbers = self._ground, self._numbers
        ground.rules, ground.networks = numbers.rules, numbers.networks
        ground.statements = self._book.statements
        ground.index(edited.statements)
        for statement in edited.statements:
            if statement.local is None or statement.local.everyone:
                marks.every = True
            else:
                marks.local |= statement.local.identities
        if edited.segments:
            ground.modes = modes_of(self._book.segments)
            marks.every |= DEFAULT_SEGMENT in edited.segments
        for name, workload in self._book.workloads.items():
            if workload.segment in edited.segments:
                marks.local.add(numbers.workloads[name])
        for name in edited.workloads:
            number = numbers.workloads[name]
            marks.local.add(number)
            marks.named.add(number)

    def _reseat(self, name: str, rows: Mapping[str, HostRow | None], marks: Marks) -> None:
        old = self._seats.remove(name)
        row = rows.get(name, old.row if old is not None else None)
        new = None
        if row is not None:
            placed = self._places.learn(
                label_key(row.labels), self._book.workloads, self._numbers.workloads
            )
            new = self._seats.put(row, Target(host=name) in self._quarantined, placed)
        for seat, other in ((old, new), (new, old)):
            if seat is None:
                continue
            if other is None or seat.shown != other.shown:
                marks.hosts = True
                marks.shown |= seat.shown[1] if seat.shown is not None else frozenset()
            if other is None or seat.reached != other.reached:
                marks.common = True

    def _isolate(self, marks: Marks) -> None:
        ground, numbers = self._ground, self._numbers.workloads
        before = (ground.isolated, ground.workloads)
        workloads = {numbers[t.workload] for t in self._quarantined if t.workload in numbers}
        ground.isolate(self._seats.isolated(), frozenset(workloads))
        marks.every |= before != (ground.isolated, ground.workloads)

    def _made_common(self) -> Common:
        managed = self._seats.managed()
        settings = Settings(
            epoch_seconds=self.settings.epoch_seconds,
            hold_limit_ms=self.settings.hold_limit_ms,
            refusal_events_per_second=self.settings.refusal_events_per_second,
        )
        return Common(
            managed=managed,
            settings=make.settings_entry(settings),
            managed_section=section_bytes(Section.MANAGED, managed, self._hashes),
        )

    def _recompile(self, marks: Marks) -> None:
        if len(self._hashes) > MAX_HASHES:
            self._hashes.clear()
        members, ends = self._seats.members, self._ends()
        for gone in self._classes.keys() - members.keys():
            del self._classes[gone]
        numbers = self._numbers.workloads
        workloads = self._book.workloads.values()
        names = Names({numbers[w.name]: f"{w.segment}/{w.name}" for w in workloads})
        for key in members:
            found = self._classes.get(key)
            if found is None or marks.touch_rules(key):
                ruled = rule_class(key, self._ground, ends)
                if found is None or ruled != found.ruled:
                    found = self._classes[key] = Class(ruled)
            if found.content is None or marks.touch_content(found):
                found.content = self._assembled(found.ruled, names)
        self._audiences = {
            audience: self._content_of(next(iter(hosts)))
            for audience, hosts in self._seats.audiences.items()
        }

    def _assembled(self, ruled: Ruled, names: Names) -> Content:
        assert self._common is not None, "the first update makes it"
        return assemble(ruled, self._seats.peers(ruled), names, self._common, self._hashes)

    def _content_of(self, host: str) -> Content:
        content = self._classes[self._seats.by_name[host].key].content
        assert content is not None, "every class was put together"
        return content

    def _ends(self) -> dict[int, int]:
        """When what is said of an identity on its own hosts holds no longer."""
        book, numbers = self._book, self._numbers.workloads
        segments = {name: end for name, s in book.segments.items() if (end := end_of(s))}
        ends = {int(Identity.HOST): segments.get(DEFAULT_SEGMENT)}
        for name, workload in book.workloads.items():
            both = (end_of(workload), segments.get(workload.segment))
            ends[numbers[name]] = min((end for end in both if end is not None), default=None)
        return {identity: end for identity, end in ends.items() if end is not None}
