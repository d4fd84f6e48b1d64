# SPDX-License-Identifier: Apache-2.0
"""What administrators read: documents, history, audit, and whether a connection would pass."""

from __future__ import annotations

from collections.abc import AsyncIterator

from agent.pb import admin_pb2 as pb
from controller import bounds
from controller.records import AuditRow, DocumentRow, RevisionRow
from controller.services.admin_calls import Calls, person, within_bounds
from controller.services.admin_explain import NotThere, ask, explained, sent
from controller.services.admin_pages import shrunk
from controller.services.callers import Code, Context, refuse

MOST_NAMES = 1000


class ViewCalls(Calls):
    """Part of `AdminService`."""

    async def GetDocuments(
        self, request: pb.GetDocumentsRequest, context: Context
    ) -> AsyncIterator[pb.GetDocumentsResponse]:
        await self._enter(context, "GetDocuments")
        async with within_bounds(context):
            bounds.number(len(request.documents), 0, MOST_NAMES, "documents")
            bounds.number(request.revision, 0, bounds.MAX_NUMBER, "revision")
        rows = await self._ask(context, self._storage.documents, request.revision or None)
        asked = [(one.kind, one.name) for one in request.documents]
        there = {(row.kind, row.name) for row in rows}
        missing = [key for key in asked if all(key) and key not in there]
        if missing:
            sentence = f"there is no {missing[0][0]} {missing[0][1]!r}"
            await refuse(context, Code.NOT_FOUND, "UNKNOWN", sentence)
        wanted = frozenset(asked)
        for row in rows:
            if not wanted or _is_asked(row, wanted):
                yield pb.GetDocumentsResponse(
                    kind=row.kind, name=row.name, text=row.text, since=row.since
                )

    async def ListRevisions(
        self, request: pb.ListRevisionsRequest, context: Context
    ) -> pb.ListRevisionsResponse:
        await self._enter(context, "ListRevisions")
        async with within_bounds(context):
            page = bounds.page(request.page_size, request.page_token)

        async def answer(size: int) -> pb.ListRevisionsResponse:
            found = await self._ask(context, self._storage.revisions, page.of(size))
            shown = map(_revision, found.items)
            return pb.ListRevisionsResponse(revisions=shown, next_page_token=found.next)

        return await shrunk(page.size, answer)

    async def ListAudit(
        self, request: pb.ListAuditRequest, context: Context
    ) -> pb.ListAuditResponse:
        await self._enter(context, "ListAudit")
        async with within_bounds(context):
            page = bounds.page(request.page_size, request.page_token)
            since = bounds.number(request.since, 0, bounds.MAX_NUMBER, "since")

        async def answer(size: int) -> pb.ListAuditResponse:
            found = await self._ask(context, self._storage.audit, since, page.of(size))
            return pb.ListAuditResponse(
                entries=map(_entry, found.items), next_page_token=found.next
            )

        return await shrunk(page.size, answer)

    async def Explain(self, request: pb.ExplainRequest, context: Context) -> pb.ExplainResponse:
        await self._enter(context, "Explain")
        async with within_bounds(context):
            for text in (request.source, request.target, request.port):
                bounds.number(len(text.encode()), 1, MOST_NAMES, "a party or port")
        await self._ready(context)
        fleet = sent(self._tools.publisher.desk)
        question = (request.source, request.target, request.port)
        try:
            found = await self._ask(context, ask, fleet, *question, on=self._reader)
        except NotThere as error:
            await refuse(context, Code.NOT_FOUND, "UNKNOWN", str(error))
        except ValueError as error:
            await refuse(context, Code.INVALID_ARGUMENT, "BOUNDS", str(error))
        return explained(found, fleet.version)


def _is_asked(row: DocumentRow, wanted: frozenset[tuple[str, str]]) -> bool:
    """An empty part of a name means every one."""
    keys = {(row.kind, row.name), (row.kind, ""), ("", row.name), ("", "")}
    return not wanted.isdisjoint(keys)


def _revision(row: RevisionRow) -> pb.Revision:
    return pb.Revision(
        number=row.number,
        version=row.version,
        at=row.at,
        who=person(row.who),
        why=row.why,
        documents=row.documents,
        changes=row.changes,
        rollback_of=row.rollback_of,
    )


def _entry(row: AuditRow) -> pb.AuditEntry:
    entry = pb.AuditEntry(
        number=row.number,
        at=row.at,
        who=row.who,
        what=row.what,
        object=row.object,
        why=row.why,
        refused=row.refused,
        version=row.version,
    )
    setattr(entry, "from", row.address)  # a word of this language
    return entry
