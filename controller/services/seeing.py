# SPDX-License-Identifier: Apache-2.0
"""What is heard of hosts, written to the store in batches: at once for those that answered or came
or went, once a minute for those that only live.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from agent.edge import logs
from controller.records import Seen
from controller.storage import FleetStorage, StorageError

FLUSH_SECONDS = 1.0
ALIVE_SECONDS = 60.0
MOST = 5000
"""In one transaction."""


class Watcher:
    """Streams tell it, `run` writes."""

    def __init__(self, storage: FleetStorage, controller: str) -> None:
        self._storage = storage
        self._controller = controller
        self._live: dict[str, Seen] = {}
        self._heard: dict[str, int] = {}
        self._due: dict[str, Seen] = {}

    def connected(self, host: str, at: int, agent_version: str) -> None:
        seen = Seen(at=at, controller=self._controller, agent_version=agent_version)
        self._live[host] = self._due[host] = seen

    def heard(self, host: str, at: int) -> None:
        """It lives."""
        self._heard[host] = at

    def told(self, host: str, at: int, **changed: object) -> None:
        """Fields of Seen that are others now."""
        seen = self._live.get(host)
        if seen is not None:
            self._live[host] = self._due[host] = replace(seen, at=at, **changed)  # type: ignore[arg-type]

    def refused(self, host: str, seen: Seen) -> None:
        """It was not let in, and what it said matters all the same."""
        self._due[host] = seen

    def gone(self, host: str, at: int) -> None:
        self._heard.pop(host, None)
        seen = self._live.pop(host, None)
        if seen is not None:
            self._due[host] = replace(seen, at=at, controller="")

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        full = loop.time()
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            if loop.time() - full >= ALIVE_SECONDS:
                full = loop.time()
                self._due = {**self._living(), **self._due}
            await self.flush()

    def _living(self) -> dict[str, Seen]:
        heard = self._heard
        return {
            host: replace(seen, at=max(seen.at, heard.get(host, 0)))
            for host, seen in self._live.items()
        }

    async def flush(self) -> None:
        """Write what is due; what cannot be written stays due, unless there is newer by then."""
        while self._due:
            names = list(self._due)[:MOST]
            batch: Mapping[str, Seen] = {name: self._due.pop(name) for name in names}
            newest = max(seen.at for seen in batch.values())
            try:
                await asyncio.to_thread(self._storage.note_seen, batch, newest)
            except StorageError as error:
                self._due = {**batch, **self._due}
                logs.write("warning", "cannot note who was seen, will retry in 1 s",
                           [("hosts", len(self._due)), ("reason", error)])  # fmt: skip
                return
