# SPDX-License-Identifier: Apache-2.0
"""Numbers behind names, as the store has them: rows are only ever added.

So what was read once is kept in memory and only newer rows are read: a change of one rule must not
cost a reading of a hundred thousand numbers. Numbers of hosts are those of the living.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, insert, select

from controller.allocations import Allocations
from controller.storage import Conflict
from controller.store.tables import allocations, hosts

KINDS = tuple(
    field.name for field in fields(Allocations) if field.name not in ("revision", "hosts")
)


class Allocated:
    """Shared by the threads of one process; its mappings are replaced and never changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._revision = 0
        self._numbers: Mapping[str, Mapping[str, int]] = {kind: {} for kind in KINDS}

    def read(self, connection: Connection, revision: int) -> Allocations:
        """As of `revision`, which is the newest that this transaction sees."""
        numbers: dict[str, Any] = dict(self.numbers(connection, revision))
        query = select(hosts.c.name, hosts.c.number).where(~hosts.c.revoked)
        living = {row.name: row.number for row in connection.execute(query)}
        return Allocations(revision=revision, hosts=living, **numbers)

    def numbers(self, connection: Connection, revision: int) -> Mapping[str, Mapping[str, int]]:
        """By kind, hosts left out."""
        with self._lock:
            known, numbers = self._revision, self._numbers
        if known > revision:  # an older moment than another thread has read
            known, numbers = 0, {kind: {} for kind in KINDS}
        if known == revision:
            return numbers
        numbers = _with_rows(connection, numbers, known)
        with self._lock:
            if revision > self._revision:
                self._revision, self._numbers = revision, numbers
        return numbers


def _with_rows(
    connection: Connection, numbers: Mapping[str, Mapping[str, int]], known: int
) -> Mapping[str, Mapping[str, int]]:
    added: dict[str, dict[str, int]] = {}
    for row in connection.execute(select(allocations).where(allocations.c.revision > known)):
        added.setdefault(row.kind, {})[row.name] = row.number
    return {kind: {**old, **added[kind]} if kind in added else old for kind, old in numbers.items()}


def add(
    connection: Connection,
    stored: Mapping[str, Mapping[str, int]],
    wanted: Allocations,
    revision: int,
) -> None:
    """Write what is new. Raises Conflict if `wanted` does not start from what is stored."""
    new = []
    for kind in KINDS:
        given: Mapping[str, int] = getattr(wanted, kind)
        if any(given.get(name) != number for name, number in stored[kind].items()):
            raise Conflict(f"numbers of {kind} were given out meanwhile; read again")
        new += [
            {"kind": kind, "name": name, "number": given[name], "revision": revision}
            for name in given.keys() - stored[kind].keys()
        ]
    if new:
        connection.execute(insert(allocations), new)
