# SPDX-License-Identifier: Apache-2.0
"""Addresses that hosts report, made theirs: looked at when a host reports and when the fleet
changes, so that an address that one host gives up comes to the one that has it now.

Each change is a version of the fleet, and a host decides how often its addresses change: so each
has a few at once and then one a minute. What comes faster waits, and the newest that the host said
counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from agent.core.model import IPAddress
from agent.edge import logs
from controller.ratelimit import Buckets, Rate
from controller.services.publisher import Publisher
from controller.storage import Conflict, FleetStorage, NotFound, Refused, StorageError
from controller.wishes import Found, Wishes, holders

LOOK_SECONDS = 1.0
FLEET_SECONDS = 5.0
"""How often all wishes are looked at, at most, while the fleet changes all the time."""
CHANGES = Rate(burst=3, per_second=1 / 60)
"""Of each host."""
LINES = Rate(burst=3, per_second=1 / 60)
_MOST_SENTENCES = 4
_AT_ONCE = 100
"""Looks before others have their turn: 10,000 are half a second where all of the fleet is new."""


class Claims:
    """One per controller. Streams tell it, `run` writes."""

    def __init__(self, storage: FleetStorage, publisher: Publisher, rate: Rate = CHANGES) -> None:
        self._storage = storage
        self._publisher = publisher
        self._wishes = Wishes()
        self._due: set[str] = set()
        self._changes = Buckets(rate)
        self._lines = Buckets(LINES)
        self._version = 0
        self._fleet_at = float("-inf")
        self._taken: tuple[int, dict[IPAddress, str]] = (-1, {})

    def reported(self, name: str, host: int, addresses: Sequence[IPAddress]) -> None:
        """host: the number of the one whose stream says so. No addresses: it does not say."""
        if addresses:
            self._wishes.say(name, host, addresses)
            self._due.add(name)

    def gone(self, name: str) -> None:
        """Its stream has ended, or another one has begun."""
        self._wishes.forget(name)
        self._due.discard(name)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look(asyncio.get_running_loop().time())

    async def look(self, now: float) -> None:
        """At what was reported since; at all if the fleet has changed. now: monotonic."""
        version = self._publisher.desk.head.version
        if version != self._version and now - self._fleet_at >= FLEET_SECONDS:
            self._version, self._fleet_at = version, now
            self._due.update(self._wishes.names())
        due, self._due = self._due, set()
        while due:
            if len(due) % _AT_ONCE == 0:
                await asyncio.sleep(0)
            name = due.pop()
            try:
                await self._look_at(name, now)
            except StorageError as error:
                self._wishes.again(name)
                self._due |= {name, *due}
                logs.write("warning", "addresses of hosts cannot be noted, will retry in 1 s",
                           [("hosts", len(self._due)), ("reason", error)])  # fmt: skip
                return

    async def _look_at(self, name: str, now: float) -> None:
        """Raises StorageError where the store does not answer."""
        if name not in self._wishes:
            return
        row = self._publisher.row(name)
        if row is None or self._changes.look(name, now):
            self._due.add(name)  # it is just being compiled, or it has changed too often: later
            return
        found = self._wishes.look(row, self._holders())
        if found is not None:
            self._tell(found, now)
            if found.addresses is not None:
                await self._claim(name, found.addresses, now)

    def _holders(self) -> dict[IPAddress, str]:
        version, desk = self._taken[0], self._publisher.desk
        if version != desk.head.version:
            hosts = ((record.name, record.addresses) for record in desk.records.values())
            self._taken = (desk.head.version, holders(hosts))
        return self._taken[1]

    async def _claim(self, name: str, addresses: Sequence[IPAddress], now: float) -> None:
        try:
            version = await asyncio.to_thread(
                self._storage.claim_addresses, name, addresses, self._publisher.desk.unix
            )
        except (Conflict, NotFound, Refused) as error:
            # The store knows newer than we do. Its version is on its way here, and then we look.
            logs.write("warning", "addresses of a host were not taken",
                       [("host", name), ("reason", error)])  # fmt: skip
            return
        if version:
            self._changes.take(name, now)
            logs.write("info", "a host has other addresses",
                       [("host", name), ("addresses", ", ".join(map(str, addresses))),
                        ("version", version)])  # fmt: skip

    def _tell(self, found: Found, now: float) -> None:
        """A host decides how often there is something to tell, so that is bounded too."""
        if not found.refused or self._lines.take(found.name, now):
            return
        more = len(found.refused) - _MOST_SENTENCES
        sentences = [*found.refused[:_MOST_SENTENCES], *([f"and {more} more"] if more > 0 else [])]
        logs.write("warning", "an address that a host reports is not taken",
                   [("host", found.name), ("why", "; ".join(sentences))])  # fmt: skip
