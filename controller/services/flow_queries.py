# SPDX-License-Identifier: Apache-2.0
"""`FlowQueryService`: what administrators ask of flow records. Reads only."""

from __future__ import annotations

from agent.edge import clock
from agent.pb import flow_pb2 as pb
from agent.pb import flow_pb2_grpc
from controller.records import Page
from controller.roles import REQUIRED, may
from controller.services import flow_codec
from controller.services.callers import Code, Context, admitted, refuse, stored
from controller.spiffe import Kind
from controller.storage import Storage

USUAL_PAGE = 100
USUAL_TALKERS = 20


class FlowQueryServicer(flow_pb2_grpc.FlowQueryServiceServicer):
    """One per controller."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def ListFlows(
        self, request: pb.ListFlowsRequest, context: Context
    ) -> pb.ListFlowsResponse:
        await self._enter(context, "ListFlows")
        try:
            chosen = flow_codec.read_filter(request.filter)
            size = flow_codec.size_of(request.page_size, USUAL_PAGE)
            page = Page(size, flow_codec.page_token("flows", request.page_token))
        except flow_codec.OutOfBounds as error:
            await refuse(context, Code.INVALID_ARGUMENT, "BOUNDS", str(error))
        found = await stored(context, self._storage.flows, chosen, page)
        return pb.ListFlowsResponse(
            flows=map(flow_codec.stored_flow, found.items), next_page_token=found.next
        )

    async def ListTalkers(
        self, request: pb.ListTalkersRequest, context: Context
    ) -> pb.ListTalkersResponse:
        await self._enter(context, "ListTalkers")
        try:
            chosen = flow_codec.read_filter(request.filter)
            limit = flow_codec.size_of(request.limit, USUAL_TALKERS)
        except flow_codec.OutOfBounds as error:
            await refuse(context, Code.INVALID_ARGUMENT, "BOUNDS", str(error))
        found = await stored(
            context,
            lambda: self._storage.talkers(chosen, limit, by_bytes=request.by_bytes),
        )
        return pb.ListTalkersResponse(talkers=map(flow_codec.talker, found))

    async def ListEdges(
        self, request: pb.ListEdgesRequest, context: Context
    ) -> pb.ListEdgesResponse:
        await self._enter(context, "ListEdges")
        try:
            chosen = flow_codec.read_filter(request.filter)
            size = flow_codec.size_of(request.page_size, USUAL_PAGE)
            page = Page(size, flow_codec.page_token("edges", request.page_token))
            since = flow_codec.moment(request.new_since)
        except flow_codec.OutOfBounds as error:
            await refuse(context, Code.INVALID_ARGUMENT, "BOUNDS", str(error))
        found = await stored(context, self._storage.edges, chosen, since, page)
        return pb.ListEdgesResponse(
            edges=map(flow_codec.seen_edge, found.items), next_page_token=found.next
        )

    async def _enter(self, context: Context, method: str) -> None:
        """A viewer at least; else the call ends here and is in the audit log."""
        who = await admitted(context, self._storage, Kind.ADMINISTRATOR)
        if may(who.role, method):
            return
        now = int(clock.unix_seconds())
        await stored(
            context, self._storage.note_refused, who.actor, method, "", "ROLE_TOO_LOW", now
        )
        needed = REQUIRED[method].name.lower()
        sentence = f"{method} needs the role {needed}"
        await refuse(context, Code.PERMISSION_DENIED, "ROLE_TOO_LOW", sentence, needed=needed)
