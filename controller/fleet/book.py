# SPDX-License-Identifier: Apache-2.0
"""The documents that hold at a moment, and the statements that they resolve to.

Kept between changes: a changed rule resolves anew alone, a changed workload with the rules whose
selectors could mean it. Documents were checked when they were applied; what has become wrong since
(a rule names a workload whose time is over) means nobody and is no error here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.documents import (
    KINDS,
    Allow,
    Deny,
    Document,
    Placed,
    Revision,
    Segment,
    Workload,
)
from controller.problems import InputRefused
from controller.records import DocumentRow
from controller.rules import Statement, statements
from controller.selectors import Resolver
from controller.validation import validate
from controller.yamlfile import YamlDocument, parse

DocumentKey = tuple[str, str]
Mention = tuple[str, str]
Read = Callable[[DocumentRow], Placed]
_ANY_LABELS: Mention = ("labels", "")


@dataclass(frozen=True, slots=True)
class Edited:
    """What a change of documents has touched. statements: as they were and as they are."""

    statements: tuple[Statement, ...] = ()
    workloads: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Change:
    key: DocumentKey
    old: Placed | None
    new: Placed | None


@dataclass(slots=True)
class Book:
    """`put` what has changed, then `settle`. What is public is for reading.

    read: what a document of the store says. statements: by the key of their number, of documents
    that hold.
    """

    read: Read
    workloads: dict[str, Workload] = field(default_factory=dict)
    segments: dict[str, Segment] = field(default_factory=dict)
    statements: dict[str, Statement] = field(default_factory=dict)
    _all: dict[DocumentKey, Placed] = field(default_factory=dict)
    _active: dict[DocumentKey, Placed] = field(default_factory=dict)
    _made: dict[DocumentKey, list[Statement]] = field(default_factory=dict)
    _mentions: dict[Mention, set[DocumentKey]] = field(default_factory=lambda: defaultdict(set))
    _dirty: set[DocumentKey] = field(default_factory=set)
    _ends: dict[DocumentKey, int] = field(default_factory=dict)
    """Of documents that hold and have one: few."""

    def put(self, key: DocumentKey, row: DocumentRow | None) -> None:
        """row None: it is gone."""
        self._dirty.add(key)
        if row is None:
            self._all.pop(key, None)
        else:
            self._all[key] = self.read(row)

    def next_end(self) -> int | None:
        """When the next document that holds will do so no longer."""
        return min(self._ends.values(), default=None)

    def settle(self, moment: int, numbers: Mapping[str, int]) -> Edited:
        """Bring everything in step. numbers: of workloads. moment: unix seconds."""
        self._dirty |= {key for key, end in self._ends.items() if end <= moment}
        changes = [change for key in self._dirty if (change := self._change(key, moment))]
        self._dirty.clear()
        rules: set[DocumentKey] = set()
        for change in changes:
            self._take(change)
            rules |= self._affected(change)
        return Edited(
            statements=tuple(self._resolve(rules, numbers)),
            workloads=frozenset(c.key[1] for c in changes if c.key[0] == "Workload"),
            segments=frozenset(c.key[1] for c in changes if c.key[0] == "Segment"),
        )

    def _change(self, key: DocumentKey, moment: int) -> _Change | None:
        old, new = self._active.get(key), self._all.get(key)
        if new is not None and not _holds(new, moment):
            new = None
        if old is new:
            return None
        same = old is not None and new is not None and old.document == new.document
        return None if same else _Change(key, old, new)

    def _take(self, change: _Change) -> None:
        kind, name = change.key
        self._ends.pop(change.key, None)
        if change.new is None:
            self._active.pop(change.key)
        else:
            self._active[change.key] = change.new
            if (end := end_of(change.new.document)) is not None:
                self._ends[change.key] = end
        named: dict[str, Any] = {"Workload": self.workloads, "Segment": self.segments}
        if kind not in named:
            for mention in _mentions(change.old):
                self._mentions[mention].discard(change.key)
            for mention in _mentions(change.new):
                self._mentions[mention].add(change.key)
        elif change.new is None:
            named[kind].pop(name)
        else:
            named[kind][name] = change.new.document

    def _affected(self, change: _Change) -> set[DocumentKey]:
        """Rules that may mean somebody else now."""
        kind, name = change.key
        if kind == "Segment":
            return set()
        if kind != "Workload":
            return {change.key}
        found = self._mentions["workload", name] | self._mentions[_ANY_LABELS]
        for placed in (change.old, change.new):
            if placed is not None and isinstance(placed.document, Workload):
                found |= self._mentions["segment", placed.document.segment]
        return found

    def _resolve(
        self, rules: Iterable[DocumentKey], numbers: Mapping[str, int]
    ) -> Iterator[Statement]:
        """Statements that are no more, then those that are new."""
        resolver = Resolver(self.workloads, self.segments, numbers)
        for key in rules:
            placed = self._active.get(key)
            new = statements(Revision((placed,)), resolver) if placed is not None else []
            old = self._made.pop(key, [])
            if new:
                self._made[key] = new
            for statement in old:
                del self.statements[statement.key]
            self.statements |= {statement.key: statement for statement in new}
            yield from (s for s in old if s not in new)
            yield from (s for s in new if s not in old)


def read_row(row: DocumentRow) -> Placed:
    """A stored document; of its lines only the first is kept, for a fleet has many."""
    (document,) = parse(row.file, row.text.encode())
    model, problems = validate(KINDS[row.kind], document)
    if model is None:
        raise InputRefused(problems)
    return Placed(model, YamlDocument(row.file, None, {(): row.line}))


def end_of(document: Document) -> int | None:
    """Unix seconds from which on it does not hold."""
    until = document.until
    return None if until is None else int(until.timestamp())


def _holds(placed: Placed, moment: int) -> bool:
    end = end_of(placed.document)
    return end is None or end > moment


def _mentions(placed: Placed | None) -> set[Mention]:
    """By what a rule's selectors mean workloads."""
    if placed is None or not isinstance(placed.document, Allow | Deny):
        return set()  # a lifeline goes by address
    found: set[Mention] = set()
    for peer in (*placed.document.from_, *placed.document.to):
        if peer.segment is not None:
            found.add(("segment", peer.segment))
        if peer.workload is not None:
            found.add(("workload", peer.workload))
        if peer.labels is not None:
            found.add(_ANY_LABELS)
    return found
