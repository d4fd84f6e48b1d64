# SPDX-License-Identifier: Apache-2.0
"""From the store's versions to what streams send: hears the bell, compiles in a thread, signs,
wakes whom it touches. Renewals and documents whose time is over come by the same way.

It holds nothing that the store does not have, but for what its own streams answered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from agent.edge import clock, logs
from agent.pb import signed_pb2
from controller import heap, signing
from controller.access_records import Revoked, Secrets
from controller.board import Batch, Desk, batch_of
from controller.fleet.changes import Touched
from controller.fleet.compile import Fleet
from controller.records import Cause, HostRow
from controller.releases import Releases, Sealing
from controller.rollout import Rollout
from controller.rotation import ACTIVE
from controller.storage import FleetStorage, StorageError

LOOK_SECONDS = 5.0
"""How often the store is looked at though no bell rang."""
SECRETS_SECONDS = 15.0
RETRY_SECONDS = 2.0
_TRIES = 3
"""To read what has changed while nothing does."""


class Bell(Protocol):
    async def wait(self, after_version: int, seconds: float) -> None: ...


class Streams(Protocol):
    """Who is to be told."""

    def changed(self, hosts: frozenset[str]) -> None:
        """There may be something new for these."""

    def check_revoked(self) -> None:
        """Revocations are others than before."""

    def end_all(self, why: str) -> None:
        """What they were told is no longer so."""


class Publisher:
    """One per controller. `run` it; streams read `desk`, `revoked` and `key_set`."""

    def __init__(self, storage: FleetStorage, bell: Bell) -> None:
        self.desk = Desk()
        self.rollout = Rollout()
        self.revoked = Revoked(frozenset(), frozenset(), frozenset())
        self.key_set = b""
        self.streams: Streams | None = None
        self._storage = storage
        self._bell = bell
        self._fleet = Fleet()
        self._lock = asyncio.Lock()
        self._secrets_at = float("-inf")
        self._ready = asyncio.Event()

    async def ready(self, seconds: float) -> bool:
        """Whether the fleet is loaded, waiting for it so long."""
        if not self._ready.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), seconds)
        return self._ready.is_set()

    def row(self, name: str) -> HostRow | None:
        """The host as the newest version has it; None also while just that is being compiled."""
        seat = self._fleet.hosts.get(name)
        return seat.row if seat is not None else None

    def tick(self) -> float:
        """Let the desk know the time. Returns the loop's, by which streams measure theirs."""
        self.desk.unix_ms = int(clock.unix_seconds() * 1000)
        return asyncio.get_running_loop().time()

    async def run(self) -> None:
        while True:
            try:
                await self.catch_up()
                await self._time_goes_on()
                self._ready.set()
                await self._bell.wait(self.desk.head.version, self._pause())
            except StorageError as error:
                logs.write("warning", f"no store, will retry in {RETRY_SECONDS:.0f} s",
                           [("reason", error)])  # fmt: skip
                await asyncio.sleep(RETRY_SECONDS)

    def _pause(self) -> float:
        """Until there is something to do by the time alone, but no longer than a look."""
        end = self.desk.next_end
        soon = LOOK_SECONDS if end is None else max(0.1, end - clock.unix_seconds())
        return min(LOOK_SECONDS, soon)

    async def catch_up(self) -> None:
        """Be at the store's newest version. Raises StorageError."""
        async with self._lock:
            self.tick()
            await self._look_at_secrets()
            head = await asyncio.to_thread(self._storage.head)
            before = self.desk.head
            if head == before:
                return
            back = (head.store_epoch, head.version) < (before.store_epoch, before.version)
            if back or head.store_epoch != before.store_epoch:
                await self._load(afresh=back)
            else:
                await self._follow(before.version)

    async def _look_at_secrets(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._secrets_at < SECRETS_SECONDS:
            return
        secrets = await asyncio.to_thread(self._storage.secrets)
        self._secrets_at = now
        self._take_secrets(secrets)

    def _take_secrets(self, secrets: Secrets) -> None:
        active = next(row for row in secrets.signing_keys if row.stage == ACTIVE)
        key = signing.load_private(active.private)
        self.desk.sealing = Sealing(key, self.desk.settings.validity_seconds)
        self.desk.use_root(secrets.root)
        self.key_set = secrets.key_set
        envelope = signed_pb2.Signed.FromString(secrets.key_set)
        self.desk.key_set_serial = signed_pb2.PolicyKeySet.FromString(envelope.payload).serial

    async def _load(self, *, afresh: bool) -> None:
        """Everything. afresh: the store is at an older version than it was."""
        rows = await asyncio.to_thread(self._storage.fleet)
        if afresh and self.streams is not None:
            logs.write("error", "the store went back",
                       [("from", self.desk.head.version), ("to", rows.head.version)])  # fmt: skip
            self.desk.releases = Releases()
            self.streams.end_all("the controller's store went back to an older version")
        self._seal_for(rows.settings.validity_seconds)
        await self._compile(lambda: self._fleet.load(rows), rows.head.version, everything=True)
        heap.settle(len(self.desk.records))
        await self._look_at_revoked()

    async def _follow(self, version: int) -> None:
        for _ in range(_TRIES):
            changes = await asyncio.to_thread(self._storage.changes, version)
            if not changes:
                return
            part = await asyncio.to_thread(self._storage.fleet_part, changes)
            if part.everything or part.head.version == changes[-1].version:
                break
        # What a part has is what the listed versions touched: where there are newer ones by now,
        # or more than are listed at once, theirs would be lost.
        if part.everything or part.head.version != changes[-1].version:
            await self._load(afresh=False)
            return
        self._seal_for(part.settings.validity_seconds)
        await self._compile(lambda: self._fleet.update(part), part.head.version)
        if any(row.cause is Cause.HOST for row in changes):
            await self._look_at_revoked()

    def _seal_for(self, validity_seconds: int) -> None:
        sealing = self.desk.sealing
        assert sealing is not None, "secrets were read first"
        self.desk.sealing = Sealing(sealing.key, validity_seconds)

    async def _compile(
        self, step: Callable[[], Touched], version: int, *, everything: bool = False
    ) -> None:
        sealing, now = self.desk.sealing, self.desk.unix
        assert sealing is not None, "secrets were read first"

        def work() -> Batch:
            return batch_of(self._fleet, step(), sealing, now, everything=everything)

        batch = await asyncio.to_thread(work)
        moved = self.desk.moved(batch)
        hosts = self.desk.apply(batch)
        self.rollout.note_version(version, self.desk.members(batch.changed) | moved)
        if self.streams is not None:
            self.streams.changed(hosts)

    async def note_revoked(self) -> None:
        """Somebody was revoked just now: end what is open. Others hear of it by the version; if
        the store does not answer, so does this controller."""
        with contextlib.suppress(StorageError):
            await self._look_at_revoked()

    async def _look_at_revoked(self) -> None:
        self.revoked = await asyncio.to_thread(self._storage.revoked)
        if self.streams is not None:
            self.streams.check_revoked()

    async def _time_goes_on(self) -> None:
        """Documents that end, then releases of which half the time is over."""
        async with self._lock:
            self.tick()
            end = self.desk.next_end
            if end is not None and end <= self.desk.unix:
                now = self.desk.unix
                await self._compile(lambda: self._fleet.advance(now), self.desk.head.version)
            due = self.desk.renewals()
            if not due:
                return
            desk = self.desk
            for release in await asyncio.to_thread(lambda: [desk.renewed(a) for a in due]):
                desk.releases.renew(release)
            if self.streams is not None:
                self.streams.changed(desk.members(due))
