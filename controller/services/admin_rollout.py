# SPDX-License-Identifier: Apache-2.0
"""How far a version has come, told for as long as it goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace

from agent.pb import admin_pb2 as pb
from controller.records import Seen
from controller.rollout import Counts
from controller.services.admin_calls import Calls, now
from controller.services.callers import (
    Caller,
    Code,
    Context,
    has_ended,
    is_revoked,
    refuse,
    refuse_ended,
    refuse_revoked,
    stored,
)

EVERY_SECONDS = 0.2
STORE_SECONDS = 2.0
"""How often the store is asked for hosts whose streams are elsewhere, and for revocations. Whether
somebody is absent is believed when it was asked twice: what another controller hears of its streams
is there a second later."""


class RolloutCalls(Calls):
    """Part of `AdminService`."""

    async def WatchRollout(
        self, request: pb.WatchRolloutRequest, context: Context
    ) -> AsyncIterator[pb.WatchRolloutResponse]:
        who = await self._enter(context, "WatchRollout")
        await self._ready(context)
        head = self._tools.publisher.desk.head
        version = request.version or head.version
        if version > head.version:
            sentence = f"there is no version {version}; the newest is {head.version}"
            await refuse(context, Code.NOT_FOUND, "UNKNOWN", sentence)
        shown: pb.WatchRolloutResponse | None = None
        async for told in self._told(context, who, version):
            if told != shown:
                shown = told
                yield told
            if told.done:
                return

    async def _told(
        self, context: Context, who: Caller, version: int
    ) -> AsyncIterator[pb.WatchRolloutResponse]:
        """As it is now and after each pause; ends the call of who may not watch any more."""
        rollout, loop = self._tools.publisher.rollout, asyncio.get_running_loop()
        seen: Mapping[str, Seen] = {}
        elsewhere: frozenset[str] | None = None
        asked, looked = float("-inf"), -1
        wanted: Mapping[str, tuple[int, int]] = {}
        while True:
            settled = False
            if due := loop.time() - asked >= STORE_SECONDS:
                wanted = self._wanted(version)
                asked, before, elsewhere = loop.time(), elsewhere, rollout.elsewhere(wanted)
                await self._still_admitted(context, who)
                seen = await self._seen(context, elsewhere)
                settled = before == elsewhere
            if due or looked != rollout.changes:
                looked = rollout.changes
                counts = rollout.count(version, wanted, seen)
                yield _message(counts, done=counts.done and (settled or not counts.absent))
            if await self._told_to_stop():
                await refuse(context, Code.UNAVAILABLE, "SHUTDOWN", "this controller stops", 1.0)

    async def _told_to_stop(self) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), EVERY_SECONDS)
        return self._stopping.is_set()

    async def _still_admitted(self, context: Context, who: Caller) -> None:
        revoked = await stored(context, self._storage.revoked)
        if is_revoked(who, revoked):
            await refuse_revoked(context, who)
        if has_ended(who):
            await refuse_ended(context, who)

    def _wanted(self, version: int) -> Mapping[str, tuple[int, int]]:
        """What hosts have to hold whose policy the version changes, of those that are there. Of a
        version that nobody here remembers: those whose newest release is not older."""
        desk = self._tools.publisher.desk
        order = (desk.head.store_epoch, version)
        known = self._tools.publisher.rollout.hosts(version)
        if known is None:
            newer = (a for a, r in desk.releases.current.items() if r.order[:2] >= order)
            known = desk.members(newer)
        newest = {name: desk.newest(name) for name in known}
        return {name: min(order, one) for name, one in newest.items() if one is not None}

    async def _seen(self, context: Context, hosts: Iterable[str]) -> Mapping[str, Seen]:
        found = await self._ask(context, self._storage.seen, hosts) if hosts else {}
        moment = now()
        return {
            name: one if one.streams(moment) else replace(one, controller="")
            for name, one in found.items()
        }


def _message(counts: Counts, *, done: bool) -> pb.WatchRolloutResponse:
    return pb.WatchRolloutResponse(
        version=counts.version,
        hosts=counts.hosts,
        enforced=counts.enforced,
        pending=counts.pending,
        refused=counts.refused,
        absent=counts.absent,
        refusals=(pb.HostRefusal(host=host, message=message) for host, message in counts.refusals),
        done=done,
    )
