# SPDX-License-Identifier: Apache-2.0
"""Hosts, as administrators see and change them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import cast

from agent.pb import admin_pb2 as pb
from controller import bounds
from controller.bounds import OutOfBounds
from controller.records import (
    Actor,
    HostChange,
    HostQuery,
    HostRow,
    HostState,
    LabelsJudged,
    Target,
)
from controller.services import admin_facts
from controller.services.admin_calls import (
    TRIES,
    Calls,
    Reasons,
    now,
    person,
    refuse_error,
    within_bounds,
)
from controller.services.admin_pages import shrunk
from controller.services.callers import Code, Context
from controller.storage import Conflict, Moved, NotFound, StorageError

_TAKEN: Reasons = {Conflict: (Code.FAILED_PRECONDITION, "ADDRESS_TAKEN")}


class HostCalls(Calls):
    """Part of `AdminService`."""

    async def ListHosts(
        self, request: pb.ListHostsRequest, context: Context
    ) -> pb.ListHostsResponse:
        await self._enter(context, "ListHosts")
        async with within_bounds(context):
            page = bounds.page(request.page_size, request.page_token)
            query = HostQuery(bounds.labels(request.labels), _states(request.states), now())
        shown = await self._shown(context)

        async def answer(size: int) -> pb.ListHostsResponse:
            found = await self._ask(context, self._storage.hosts, query, page.of(size))
            return pb.ListHostsResponse(
                hosts=map(shown, found.items), next_page_token=found.next, total=found.total
            )

        return await shrunk(page.size, answer)

    async def _shown(self, context: Context) -> Callable[[HostRow], pb.Host]:
        """Rows as lines, as of this moment."""
        moment, desk = now(), self._tools.publisher.desk
        quarantines = await self._ask(context, self._storage.quarantines)
        lone = {row.target for row in quarantines}

        def line(row: HostRow) -> pb.Host:
            seen, newest = row.seen, desk.newest(row.name)
            held = (seen.store_epoch, seen.version)
            return pb.Host(
                name=row.name,
                number=row.number,
                labels=row.labels,
                addresses=map(str, row.addresses),
                state=cast(pb.HostState, row.state(moment).value),
                quarantined=not row.revoked and Target(host=row.name) in lone,
                version=seen.version,
                current=newest is not None and not row.revoked and held >= newest,
                refused=seen.refused if seen.refused_version > seen.version else "",
                last_seen=seen.at,
                agent_version=seen.agent_version,
                trouble=seen.trouble,
            )

        return line

    async def GetHost(self, request: pb.GetHostRequest, context: Context) -> pb.GetHostResponse:
        await self._enter(context, "GetHost", request.name)
        async with within_bounds(context):
            name = bounds.name(request.name, "name")
        row = await self._ask(context, self._host, name)
        facts = await self._ask(context, self._storage.host_facts, name)
        line = (await self._shown(context))(row)
        entries = self._tools.publisher.desk.entries(name)
        said = await asyncio.to_thread(admin_facts.read, row, facts, entries)
        taken = await self._ask(context, self._storage.taken, said.addresses)
        return pb.GetHostResponse(
            host=line,
            networks=map(str, row.networks),
            addresses_fixed=row.fixed,
            addresses_refused=admin_facts.refused(row, said, taken),
            tags_off=not row.tags,
            nat=row.nat,
            enrolled=row.enrolled_at,
            enrolled_by=person(row.enrolled_by),
            certificate_expires=row.certificate_expires,
            kernel=said.kernel,
            workloads=said.workloads,
            running=said.running,
            listeners=said.listeners,
            agent_state=said.state,
            controller=row.seen.controller if row.seen.streams(now()) else "",
        )

    def _host(self, name: str) -> HostRow:
        row = self._storage.host(name)
        if row is None:
            raise NotFound(f"no host {name!r} is known")
        return row

    async def RevokeHost(
        self, request: pb.RevokeHostRequest, context: Context
    ) -> pb.RevokeHostResponse:
        who = await self._enter(context, "RevokeHost", request.name)
        async with within_bounds(context):
            name, why = bounds.name(request.name, "name"), bounds.why(request.why)
        version = await self._change(context, self._storage.revoke_host, who.actor, why, name)
        # Its stream ends now, and not when all that follows from it has been compiled.
        await self._tools.publisher.note_revoked()
        return pb.RevokeHostResponse(version=version)

    async def UpdateHost(
        self, request: pb.UpdateHostRequest, context: Context
    ) -> pb.UpdateHostResponse:
        who = await self._enter(context, "UpdateHost", request.name)
        async with within_bounds(context):
            name = bounds.name(request.name, "name")
            why = bounds.why(request.why, required=False)
            change = _host_change(request)
        version = await self._updated(context, name, change, who.actor, why)
        row = await self._ask(context, self._host, name)
        return pb.UpdateHostResponse(host=(await self._shown(context))(row), version=version)

    async def _updated(
        self, context: Context, name: str, change: HostChange, who: Actor, why: str
    ) -> int:
        """Judged again if policy or the host's labels have changed meanwhile."""
        for left in reversed(range(TRIES)):
            judged = await self._judged(context, name, change)
            arguments = (name, replace(change, judged=judged), who, why, now())
            try:
                return await asyncio.to_thread(self._storage.update_host, *arguments)
            except Moved as error:
                if not left:
                    await refuse_error(context, error)
            except StorageError as error:
                await refuse_error(context, error, _TAKEN)
        raise AssertionError("the last attempt returns or ends the call")

    async def _judged(self, context: Context, name: str, change: HostChange) -> LabelsJudged | None:
        """Of the labels that it will have, if they are asked to be others, also if they are so by
        now: they may not be any more when it is written. Ends the call if they may not be."""
        if not change.set_labels and not change.remove_labels:
            return None
        row = await self._ask(context, self._host, name)
        async with within_bounds(context):
            kept = {k: v for k, v in row.labels.items() if k not in change.remove_labels}
            labels = bounds.labels({**kept, **change.set_labels})
        return await self._refuse_ties(context, name, row.labels, labels)


def _states(values: object) -> frozenset[HostState]:
    try:
        return frozenset(map(HostState, values))  # type: ignore[call-overload]
    except ValueError:
        raise OutOfBounds("states: expected enrolled, connected, silent, lost, revoked") from None


def _host_change(request: pb.UpdateHostRequest) -> HostChange:
    """Raises OutOfBounds."""

    def given(field: str) -> bool:
        return bool(request.HasField(field))

    return HostChange(
        set_labels=bounds.labels(request.set_labels),
        remove_labels=bounds.names(request.remove_labels, "remove_labels"),
        networks=bounds.networks(request.networks.items) if given("networks") else None,
        addresses=bounds.addresses(request.addresses.items) if given("addresses") else None,
        tags=not request.tags_off if given("tags_off") else None,
        nat=request.nat if given("nat") else None,
    )
