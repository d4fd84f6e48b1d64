# SPDX-License-Identifier: Apache-2.0
"""Policy, as administrators change and read it: files in, revisions out, all or nothing.

What takes long is done in threads, a few at a time: a revision may be 64 MiB of YAML.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from agent.pb import admin_pb2 as pb
from controller import bounds
from controller.bounds import OutOfBounds
from controller.records import Actor
from controller.revising import Decided, Way
from controller.services import admin_changes
from controller.services.admin_calls import TRIES, Calls, Tools, now, refuse_error, within_bounds
from controller.services.admin_upload import Upload, receive
from controller.services.callers import Code, Context, refuse
from controller.storage import Conflict, StorageError

AT_ONCE = 2
"""Uploads that are held at one time, of those who change and of those who only ask."""


@dataclass(frozen=True, slots=True)
class Change:
    """How the next revision is made. expected: the revision that it has to start from, or 0."""

    decide: Callable[[], Decided]
    expected: int = 0


class PolicyCalls(Calls):
    """Part of `AdminService`: what makes revisions."""

    def __init__(self, tools: Tools) -> None:
        super().__init__(tools)
        self._applies, self._reads = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE)

    async def Apply(
        self, requests: AsyncIterator[pb.ApplyRequest], context: Context
    ) -> pb.ApplyResponse:
        who = await self._enter(context, "Apply")
        async with self._applies:
            upload: Upload[pb.ApplyHead] = await receive(context, requests)
            head = upload.head
            async with within_bounds(context):
                why = bounds.why(head.why, required=not head.dry_run)
            change = Change(
                lambda: self._reviser.with_files(
                    upload.files, Way(force=head.force), now(), prune=head.prune
                ),
                head.expected_revision,
            )
            if head.dry_run:
                decided = await self._decided(context, change, self._writer)
                return await self._ask(context, admin_changes.answer, decided, on=self._writer)
            return await self._revise(context, change, who.actor, why)

    async def Diff(
        self, requests: AsyncIterator[pb.DiffRequest], context: Context
    ) -> pb.DiffResponse:
        await self._enter(context, "Diff")
        async with self._reads:
            upload: Upload[pb.DiffHead] = await receive(context, requests)
            prune = upload.head.prune
            change = Change(
                lambda: self._reviser.with_files(upload.files, Way(force=True), now(), prune=prune)
            )
            decided = await self._decided(context, change, self._reader)
            return await self._ask(context, admin_changes.difference, decided, on=self._reader)

    async def DeleteDocuments(
        self, request: pb.DeleteDocumentsRequest, context: Context
    ) -> pb.DeleteDocumentsResponse:
        who = await self._enter(context, "DeleteDocuments", _names_of(request))
        async with within_bounds(context):
            why = bounds.why(request.why)
            bounds.number(len(request.documents), 1, 1000, "documents")
            if any(not (one.kind and one.name) for one in request.documents):
                raise OutOfBounds("documents: expected a kind and a name for each")
        gone = sorted({(one.kind, one.name) for one in request.documents})
        way = Way(what="DeleteDocuments")
        change = Change(lambda: self._reviser.without(gone, way, now()), request.expected_revision)
        result = await self._revise(context, change, who.actor, why)
        return pb.DeleteDocumentsResponse(result=result)

    async def Rollback(self, request: pb.RollbackRequest, context: Context) -> pb.RollbackResponse:
        who = await self._enter(context, "Rollback", f"revision {request.revision}")
        async with within_bounds(context):
            why = bounds.why(request.why)
            revision = bounds.number(request.revision, 1, bounds.MAX_NUMBER, "revision")
        way = Way(force=True, rollback_of=revision)
        change = Change(
            lambda: self._reviser.as_before(revision, way, now()), request.expected_revision
        )
        result = await self._revise(context, change, who.actor, why)
        return pb.RollbackResponse(result=result)

    async def _decided(self, context: Context, change: Change, on: Executor) -> Decided:
        decided = await self._ask(context, change.decide, on=on)
        if change.expected and decided.base != change.expected:
            sentence = f"the newest revision is {decided.base}, not {change.expected}; read again"
            await refuse(context, Code.ABORTED, "CONFLICT", sentence)
        return decided

    async def _revise(
        self, context: Context, change: Change, who: Actor, why: str
    ) -> pb.ApplyResponse:
        """Decided again if somebody else came first, unless a revision was expected."""
        tries = 1 if change.expected else TRIES
        for left in reversed(range(tries)):
            decided, head = await self._decided(context, change, self._writer), None
            if decided.changes is not None:
                arguments = (decided.changes, decided.base, who, why, now())
                try:
                    head = await asyncio.to_thread(self._storage.apply, *arguments)
                except Conflict as error:
                    if left:
                        continue
                    await refuse_error(context, error)
                except StorageError as error:
                    await refuse_error(context, error)
            return await self._ask(context, admin_changes.answer, decided, head, on=self._writer)
        raise AssertionError("the last attempt returns or ends the call")


def _names_of(request: pb.DeleteDocumentsRequest) -> str:
    return ", ".join(f"{one.kind}/{one.name}" for one in request.documents[:10])
