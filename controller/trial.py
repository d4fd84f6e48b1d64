# SPDX-License-Identifier: Apache-2.0
"""Whom a change would touch: a fleet beside the one that is served, to which it is done and undone.

The served fleet is the loop's and its compiling thread's; this one is slow to make and cheap to
use, so it stays, and follows the store as the other does. Most of making it would be reading its
documents, which the one who asks has read already: he hands them over, and both keep the same ones.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from controller.allocations import Allocations
from controller.fleet.book import Read, read_row
from controller.fleet.compile import Fleet
from controller.records import DocumentRow, FleetPart, FleetRows
from controller.storage import FleetStorage

Documents = Mapping[tuple[str, str], DocumentRow | None]


class Trial:
    """For any thread, one at a time."""

    def __init__(self, storage: FleetStorage, read: Read = read_row) -> None:
        self._storage, self._read = storage, read
        self._lock = threading.Lock()
        self._fleet: Fleet | None = None

    def touched(
        self, rows: FleetRows, documents: Documents, numbers: Allocations, now: int
    ) -> frozenset[str]:
        """Hosts whose content would be another one. rows: the store now. documents: what is put,
        and None for what goes. Raises AllocationsError, StorageError."""
        with self._lock:
            fleet, self._fleet = self._fleet, None
            fleet = self._following(fleet, rows)
            fleet.advance(now)
            done = fleet.update(_part(rows, documents, numbers, now))
            hosts = fleet.members(done.audiences)
            before = {(row.kind, row.name): row for row in rows.documents}
            undo = {key: before.get(key) for key in documents}
            fleet.update(_part(rows, undo, numbers, now))  # whose names leave still has its number
            self._fleet = fleet  # only now: what was left half done is thrown away
            return hosts

    def _following(self, fleet: Fleet | None, rows: FleetRows) -> Fleet:
        if fleet is not None and fleet.head == rows.head:
            return fleet
        if fleet is not None and _is_behind(fleet, rows):
            changes = self._storage.changes(fleet.head.version)
            part = self._storage.fleet_part(changes)
            complete = bool(changes) and changes[-1].version == part.head.version
            if complete and not part.everything and part.head == rows.head:
                fleet.update(part)
                return fleet
        fresh = Fleet(self._read)
        fresh.load(rows)
        return fresh


def _is_behind(fleet: Fleet, rows: FleetRows) -> bool:
    same_epoch = fleet.head.store_epoch == rows.head.store_epoch
    return same_epoch and fleet.head.version < rows.head.version


def _part(rows: FleetRows, documents: Documents, numbers: Allocations, now: int) -> FleetPart:
    return FleetPart(
        head=rows.head,
        at=now,
        everything=False,
        settings=rows.settings,
        hosts={},
        documents=documents,
        allocations=numbers,
        quarantines=rows.quarantines,
    )
