# SPDX-License-Identifier: Apache-2.0
"""`FlowQueryService`: what administrators ask of flow records. Reads only."""

from __future__ import annotations

from agent.pb import flow_pb2 as pb
from agent.pb import flow_pb2_grpc
from controller.records import Page
from controller.services import flow_codec
from controller.services.admin_calls import Calls, Tools, within_bounds
from controller.services.callers import Context
from controller.services.serving import Service

USUAL_PAGE = 100
USUAL_TALKERS = 20


class FlowQueryServicer(Calls, flow_pb2_grpc.FlowQueryServiceServicer):
    """One per controller."""

    async def ListFlows(
        self, request: pb.ListFlowsRequest, context: Context
    ) -> pb.ListFlowsResponse:
        await self._enter(context, "ListFlows")
        async with within_bounds(context):
            chosen = flow_codec.read_filter(request.filter)
            size = flow_codec.size_of(request.page_size, USUAL_PAGE)
            page = Page(size, flow_codec.page_token("flows", request.page_token))
        found = await self._ask(context, self._storage.flows, chosen, page, on=self._reader)
        return pb.ListFlowsResponse(
            flows=map(flow_codec.stored_flow, found.items), next_page_token=found.next
        )

    async def ListTalkers(
        self, request: pb.ListTalkersRequest, context: Context
    ) -> pb.ListTalkersResponse:
        await self._enter(context, "ListTalkers")
        async with within_bounds(context):
            chosen = flow_codec.read_filter(request.filter)
            limit = flow_codec.size_of(request.limit, USUAL_TALKERS)
        found = await self._ask(
            context,
            lambda: self._storage.talkers(chosen, limit, by_bytes=request.by_bytes),
            on=self._reader,
        )
        return pb.ListTalkersResponse(talkers=map(flow_codec.talker, found))

    async def ListEdges(
        self, request: pb.ListEdgesRequest, context: Context
    ) -> pb.ListEdgesResponse:
        await self._enter(context, "ListEdges")
        async with within_bounds(context):
            chosen = flow_codec.read_filter(request.filter)
            size = flow_codec.size_of(request.page_size, USUAL_PAGE)
            page = Page(size, flow_codec.page_token("edges", request.page_token))
            since = flow_codec.moment(request.new_since)
        found = await self._ask(context, self._storage.edges, chosen, since, page, on=self._reader)
        return pb.ListEdgesResponse(
            edges=map(flow_codec.seen_edge, found.items), next_page_token=found.next
        )


def service(tools: Tools) -> Service:
    servicer = FlowQueryServicer(tools)
    add = flow_pb2_grpc.add_FlowQueryServiceServicer_to_server
    return Service("cordon.v1.FlowQueryService", add, servicer, servicer.stop)
