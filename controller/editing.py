# SPDX-License-Identifier: Apache-2.0
"""From one revision to the next: what files, deletions and roll-backs make of the documents that
are there. Pure.

A document is the same if its text is: another comment is a change, another file or line is not.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from controller.documents import Document, Placed, Revision, read_documents
from controller.excerpts import excerpts
from controller.fleet.book import DocumentKey, read_row
from controller.problems import InputRefused, Problem, refuse
from controller.records import DocumentRow
from controller.yamlfile import YamlDocument


@dataclass(frozen=True, slots=True)
class Item:
    """A document as it is kept, and what it says."""

    row: DocumentRow
    placed: Placed

    @property
    def key(self) -> DocumentKey:
        return self.row.kind, self.row.name


Items = Mapping[DocumentKey, Item]


@dataclass(frozen=True, slots=True)
class Edit:
    """before, after: every document. put, deleted: those that differ, by key."""

    before: Items
    after: Items
    put: tuple[Item, ...]
    deleted: tuple[DocumentKey, ...]

    @property
    def revision(self) -> Revision:
        return Revision(tuple(item.placed for item in self.after.values()))

    def __bool__(self) -> bool:
        return bool(self.put or self.deleted)


def edit(before: Items, after: Items) -> Edit:
    changed = (item for key, item in after.items() if not _same(before.get(key), item))
    return Edit(
        before=before,
        after=after,
        put=tuple(sorted(changed, key=lambda item: item.key)),
        deleted=tuple(sorted(before.keys() - after.keys())),
    )


def _same(one: Item | None, other: Item) -> bool:
    return one is not None and one.row.text == other.row.text


def with_files(before: Items, given: Iterable[Item], *, prune: bool) -> Edit:
    """prune: documents that stand in no file go."""
    found = {item.key: item for item in given}
    new = {key: item for key, item in found.items() if not _same(before.get(key), item)}
    kept = found.keys() if prune else before.keys()
    stay = {key: item for key, item in before.items() if key in kept and key not in new}
    return edit(before, {**stay, **new})  # in this order: what is wrong together, the new is


def without(before: Items, gone: Iterable[DocumentKey]) -> Edit:
    left = set(gone)
    return edit(before, {key: item for key, item in before.items() if key not in left})


def read_files(files: Sequence[tuple[str, bytes]]) -> list[Item]:
    """Raises InputRefused with what is wrong in any of them."""
    problems: list[Problem] = []
    found = []
    for name, content in files:
        try:
            found += excerpts(name, content)
        except InputRefused as error:
            problems += error.problems
    try:
        placed = read_documents([one.document for one in found]).placed
    except InputRefused as error:
        problems += error.problems
    if problems:
        raise InputRefused(problems)
    return [Item(_row(of, excerpt.text), of) for of, excerpt in zip(placed, found, strict=True)]


def _row(placed: Placed, text: str) -> DocumentRow:
    document, source = placed.document, placed.source
    return DocumentRow(document.kind, document.name, text, source.file, source.line, 0)


def check_texts(made: Edit) -> None:
    """What is stored is read again alone, and has to say what was checked. Raises InputRefused."""
    for item in made.put:
        if read_row(item.row).document != item.placed.document:
            message = "cannot be told apart from its file: put --- on a line of its own around it"
            raise refuse(item.placed.source, message)


class Shelf:
    """Documents of the store, read; what was read once is not read again. For many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: Items = {}
        self._learnt: Items = {}

    def items(self, rows: Sequence[DocumentRow]) -> Items:
        """Raises InputRefused for one that this version does not understand."""
        with self._lock:
            shelves = self._items, self._learnt
        found = {(row.kind, row.name): _item(row, shelves) for row in rows}
        with self._lock:
            self._items = found
        return found

    def read(self, row: DocumentRow) -> Placed:
        """One that is in the store or was learnt last. Raises as `items`."""
        with self._lock:
            shelves = self._items, self._learnt
        return _item(row, shelves).placed

    def learn(self, items: Iterable[Item]) -> None:
        """What was read from files is not read again when it comes back from the store. Of its
        lines only the first is kept, as of what is read there."""
        learnt = {item.key: _bare(item) for item in items}
        with self._lock:
            self._learnt = learnt

    def older(self, rows: Sequence[DocumentRow], newest: Items) -> Items:
        """Of an old revision; those that are the same now are those of now."""
        found = {}
        for row in rows:
            now = newest.get((row.kind, row.name))
            same = now is not None and now.row.text == row.text
            found[row.kind, row.name] = now if same and now else Item(row, read_row(row))
        return found


def _item(row: DocumentRow, shelves: Iterable[Items]) -> Item:
    """The row's, read if it stands on none of the shelves."""
    for known in shelves:
        item = known.get((row.kind, row.name))
        if item is None or item.row.text != row.text:
            continue
        if item.row == row:
            return item
        moved = (item.row.file, item.row.line) != (row.file, row.line)
        return Item(row, _first_line(item.placed.document, row) if moved else item.placed)
    return Item(row, read_row(row))


def _bare(item: Item) -> Item:
    return Item(item.row, _first_line(item.placed.document, item.row))


def _first_line(document: Document, row: DocumentRow) -> Placed:
    return Placed(document, YamlDocument(row.file, None, {(): row.line}))


def numbered(item: Item) -> DocumentRow:
    """The row that a new revision gets."""
    return replace(item.row, since=0)
