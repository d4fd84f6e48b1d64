# SPDX-License-Identifier: Apache-2.0
"""Policy, as administrators change and read it: files in, revisions out, all or nothing.

What takes long is done in threads, a few at a time: a revision may be 64 MiB of YAML.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from agent.pb import admin_pb2 as pb
from controller import bounds
from controller.bounds import OutOfBounds
from controller.records import Actor
from controller.revising import Decided, Reviser, Way
from controller.services import admin_changes
from controller.services.admin_calls import Calls, Tools, now, within_bounds
from controller.services.admin_upload import Upload, receive
from controller.services.callers import Code, Context, refuse
from controller.storage import Conflict

AT_ONCE = 2
"""Revisions that are read or decided at one time."""
_TRIES = 3
"""For who does not care which revision was the newest."""


class PolicyCalls(Calls):
    """Part of `AdminService`: what makes revisions."""

    def __init__(self, tools: Tools) -> None:
        super().__init__(tools)
        self._reviser = Reviser(tools.storage)
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def Apply(
        self, requests: AsyncIterator[pb.ApplyRequest], context: Context
    ) -> pb.ApplyResponse:
        who = await self._enter(context, "Apply")
        async with self._turn:
            upload: Upload[pb.ApplyHead] = await receive(context, requests)
            head = upload.head
            async with within_bounds(context):
                why = bounds.why(head.why, required=not head.dry_run)

            def decide() -> Decided:
                way = Way(force=head.force)
                return self._reviser.with_files(upload.files, way, now(), prune=head.prune)

            if head.dry_run:
                decided = await self._decided(context, decide, head.expected_revision)
                return admin_changes.answer(decided)
            return await self._revise(context, decide, who.actor, why, head.expected_revision)

    async def Diff(
        self, requests: AsyncIterator[pb.DiffRequest], context: Context
    ) -> pb.DiffResponse:
        await self._enter(context, "Diff")
        async with self._turn:
            upload: Upload[pb.DiffHead] = await receive(context, requests)
            prune = upload.head.prune
            way = Way(force=True)
            decide = lambda: self._reviser.with_files(upload.files, way, now(), prune=prune)  # noqa: E731
            decided = await self._decided(context, decide, 0)
            return admin_changes.difference(decided)

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
        async with self._turn:
            result = await self._revise(
                context,
                lambda: self._reviser.without(gone, way, now()),
                who.actor,
                why,
                request.expected_revision,
            )
        return pb.DeleteDocumentsResponse(result=result)

    async def Rollback(self, request: pb.RollbackRequest, context: Context) -> pb.RollbackResponse:
        who = await self._enter(context, "Rollback", f"revision {request.revision}")
        async with within_bounds(context):
            why = bounds.why(request.why)
            revision = bounds.number(request.revision, 1, bounds.MAX_NUMBER, "revision")
        way = Way(force=True, rollback_of=revision)
        async with self._turn:
            result = await self._revise(
                context,
                lambda: self._reviser.as_before(revision, way, now()),
                who.actor,
                why,
                request.expected_revision,
            )
        return pb.RollbackResponse(result=result)

    async def _decided(
        self, context: Context, decide: Callable[[], Decided], expected: int
    ) -> Decided:
        decided = await self._ask(context, decide)
        if expected and decided.base != expected:
            sentence = f"the newest revision is {decided.base}, not {expected}; read again"
            await refuse(context, Code.ABORTED, "CONFLICT", sentence)
        return decided

    async def _revise(
        self,
        context: Context,
        decide: Callable[[], Decided],
        who: Actor,
        why: str,
        expected: int,
    ) -> pb.ApplyResponse:
        """Decided again if somebody else came first, unless a revision was expected."""
        for attempt in range(1, _TRIES + 1):
            decided = await self._decided(context, decide, expected)
            changes = decided.changes
            if changes is None:
                return admin_changes.answer(decided)
            apply = self._storage.apply
            try:
                head = await asyncio.to_thread(apply, changes, decided.base, who, why, now())
            except Conflict:
                if attempt < _TRIES and not expected:
                    continue
                sentence = "somebody else changed policy meanwhile; read again"
                await refuse(context, Code.ABORTED, "CONFLICT", sentence)
            return admin_changes.answer(decided, head)
        raise AssertionError("the last attempt returns or ends the call")


def _names_of(request: pb.DeleteDocumentsRequest) -> str:
    return ", ".join(f"{one.kind}/{one.name}" for one in request.documents[:10])
