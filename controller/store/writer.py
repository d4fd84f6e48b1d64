# SPDX-License-Identifier: Apache-2.0
"""What a writing transaction has in its hand: the locked head, and the two books it writes into."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, update

from controller.records import Actor, Cause, Head
from controller.store import tables

CONTROLLER = Actor("controller")
"""Who does what happens by itself."""


class Writer:
    """at: the time of what is written; never before that of an earlier version, whatever the
    clocks of the controllers say."""

    def __init__(self, connection: Connection, row: Any, now: int) -> None:
        self.connection = connection
        self.head = Head(row.store_epoch, row.version, row.revision)
        self.trust_domain: str = row.trust_domain
        self.settings: dict[str, int] = row.settings
        self.at = max(now, row.at)
        self.versions: list[dict[str, object]] = []
        self._next_host: int = row.next_host
        self._audit: int = row.audit
        self._entries: list[dict[str, object]] = []
        self._changed: dict[str, object] = {}

    def version(self, cause: Cause, object_: str = "") -> int:
        """The next one."""
        head = self.head
        self.head = Head(head.store_epoch, head.version + 1, head.revision)
        self.versions.append(
            {"version": self.head.version, "at": self.at, "cause": cause.value, "object": object_}
        )
        return self.head.version

    def revision(self) -> int:
        """The next one."""
        head = self.head
        self.head = Head(head.store_epoch, head.version, head.revision + 1)
        return self.head.revision

    def raise_epoch(self, epoch: int, skipped_hosts: int) -> None:
        head = self.head
        self.head = Head(epoch, head.version, head.revision)
        self._next_host += skipped_hosts

    def host_number(self) -> int:
        """The next one, which nobody ever had."""
        self._next_host += 1
        return self._next_host - 1

    def set_settings(self, settings: dict[str, int]) -> None:
        self._changed["settings"] = settings

    def note(
        self, actor: Actor, what: str, object_: str, why: str = "", refused: str = ""
    ) -> dict[str, object]:
        """An audit entry, of the newest version if this transaction made one."""
        self._audit += 1
        entry: dict[str, object] = {
            "number": self._audit,
            "at": self.at,
            "who": actor.who,
            "address": actor.address,
            "what": what,
            "object": object_,
            "why": why,
            "refused": refused,
            "version": self.head.version if self.versions else 0,
        }
        self._entries.append(entry)
        return entry

    def flush(self) -> None:
        """Write the books and the head; the last statements before COMMIT."""
        if self.versions:
            self.connection.execute(insert(tables.versions), self.versions)
            self._changed["at"] = self.at
        if self._entries:
            self.connection.execute(insert(tables.audit), self._entries)
        self.connection.execute(
            update(tables.fleet).values(
                store_epoch=self.head.store_epoch,
                version=self.head.version,
                revision=self.head.revision,
                audit=self._audit,
                next_host=self._next_host,
                **self._changed,
            )
        )
