# SPDX-License-Identifier: Apache-2.0
"""What is heard of hosts, written to the store in batches: within a second for those that came or
went or answered, once a minute for those that only live.

Where a crowd answers, as it does to a change that concerns thousands of hosts, answers are written
when no more of them come, or after some seconds: writing takes its time from hearing the others.
This controller itself knows of each answer at once.
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
CROWD = 100
"""Answers within one look, from which on more are expected."""
ANSWER_LOOKS = 5
"""Looks that an answer waits for the rest of its crowd, at the most."""


class Watcher:
    """Streams tell it, `run` writes."""

    def __init__(self, storage: FleetStorage, controller: str) -> None:
        self._storage = storage
        self._controller = controller
        self._live: dict[str, Seen] = {}
        self._heard: dict[str, int] = {}
        self._due: dict[str, Seen] = {}
        self._waiting: set[str] = set()
        """Of `_due`, those of whom an answer is all that is new."""
        self._answers = 0
        self._looks = 0

    def connected(self, host: str, at: int, agent_version: str) -> None:
        seen = Seen(at=at, controller=self._controller, agent_version=agent_version)
        self._live[host] = seen
        self._put(host, seen)

    def heard(self, host: str, at: int) -> None:
        """It lives."""
        self._heard[host] = at

    def told(self, host: str, at: int, **changed: object) -> None:
        """Fields of Seen that are others now."""
        seen = self._live.get(host)
        if seen is not None:
            self._live[host] = now = replace(seen, at=at, **changed)  # type: ignore[arg-type]
            self._put(host, now)

    def enforced(self, host: str, at: int, order: tuple[int, int]) -> None:
        """It has answered a policy. order: (store_epoch, version)."""
        seen = self._live.get(host)
        if seen is None:
            return
        if host not in self._due:
            self._waiting.add(host)
        now = replace(seen, at=at, store_epoch=order[0], version=order[1])
        self._live[host] = self._due[host] = now
        self._answers += 1

    def refused(self, host: str, seen: Seen) -> None:
        """It was not let in, and what it said matters all the same."""
        self._put(host, seen)

    def gone(self, host: str, at: int) -> None:
        self._heard.pop(host, None)
        seen = self._live.pop(host, None)
        if seen is not None:
            self._put(host, replace(seen, at=at, controller=""))

    def _put(self, host: str, seen: Seen) -> None:
        self._waiting.discard(host)
        self._due[host] = seen

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        full = loop.time()
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            if loop.time() - full >= ALIVE_SECONDS:
                full = loop.time()
                self._due = {**self._living(), **self._due}
            await self.look()

    async def look(self) -> None:
        """Write what is due by now; every FLUSH_SECONDS."""
        if self._crowd_is_over():
            self._waiting.clear()
        await self._write()

    def _crowd_is_over(self) -> bool:
        """Whether answers are to be written now."""
        few, self._answers = self._answers < CROWD, 0
        self._looks = 0 if few or self._looks >= ANSWER_LOOKS else self._looks + 1
        return self._looks == 0

    def _living(self) -> dict[str, Seen]:
        heard = self._heard
        return {
            host: replace(seen, at=max(seen.at, heard.get(host, 0)))
            for host, seen in self._live.items()
        }

    async def flush(self) -> None:
        """Write all that is due."""
        self._waiting.clear()
        await self._write()

    async def _write(self) -> None:
        """What does not wait; what cannot be written stays due, unless there is newer by then."""
        while names := [name for name in self._due if name not in self._waiting][:MOST]:
            batch: Mapping[str, Seen] = {name: self._due.pop(name) for name in names}
            newest = max(seen.at for seen in batch.values())
            try:
                await asyncio.to_thread(self._storage.note_seen, batch, newest)
            except StorageError as error:
                self._due = {**batch, **self._due}
                logs.write("warning", "cannot note who was seen, will retry in 1 s",
                           [("hosts", len(self._due)), ("reason", error)])  # fmt: skip
                return
