# SPDX-License-Identifier: Apache-2.0
"""The local control socket: gRPC on a Unix socket that only root can reach. Read-only.

Mode 0600 from the moment it exists (umask), in a folder of mode 0700.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import grpc
import grpc.aio

from agent.core import flow_explanation
from agent.core.flow_explanation import Asked
from agent.core.flows import Filter
from agent.edge.flow_log import FlowLog, TooManyObservers
from agent.edge.local_view import LocalView, flow_message
from agent.pb import local_pb2 as pb
from agent.pb import local_pb2_grpc

STOP_SECONDS = 0.2
_SOCKET_UMASK = 0o177
_OPTIONS = (("grpc.so_reuseport", 0),)


class LocalSocketError(Exception):
    """The socket cannot be made."""


class LocalService(local_pb2_grpc.LocalServiceServicer):
    """Answers from the view; whatever walks /proc does so in a thread."""

    def __init__(self, view: LocalView, flows: FlowLog) -> None:
        self._view = view
        self._flows = flows

    async def Status(
        self, request: pb.StatusRequest, context: grpc.aio.ServicerContext
    ) -> pb.StatusResponse:
        return await asyncio.to_thread(self._view.status)

    async def Processes(
        self, request: pb.ProcessesRequest, context: grpc.aio.ServicerContext
    ) -> pb.ProcessesResponse:
        return await asyncio.to_thread(self._view.processes, request.pid)

    async def Whois(
        self, request: pb.WhoisRequest, context: grpc.aio.ServicerContext
    ) -> pb.WhoisResponse:
        return await asyncio.to_thread(self._view.whois, request.pid)

    async def Sockets(
        self, request: pb.SocketsRequest, context: grpc.aio.ServicerContext
    ) -> pb.SocketsResponse:
        return await asyncio.to_thread(self._view.sockets, request.pid)

    async def Observe(
        self, request: pb.ObserveRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.Flow]:
        chosen = _filter(request)
        kept = self._flows.newest(chosen, request.last)
        if request.kept_only:
            for flow in kept:
                yield flow_message(flow)
            return
        try:
            observer = self._flows.watch(chosen)
        except TooManyObservers as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        try:
            await context.send_initial_metadata(())  # from now on nothing is missed
            for flow in kept:
                yield flow_message(flow)
            while True:
                yield flow_message(await observer.next())
        finally:
            self._flows.leave(observer)

    async def ExplainFlow(
        self, request: pb.ExplainFlowRequest, context: grpc.aio.ServicerContext
    ) -> pb.ExplainFlowResponse:
        flow = self._flows.find(flow_explanation.wanted(Asked(
            request.id, request.protocol, (request.address, request.port),
            (request.other_address, request.other_port),
        )))  # fmt: skip
        if flow is None:
            return pb.ExplainFlowResponse()
        return await asyncio.to_thread(self._view.explain, flow)


def _filter(request: pb.ObserveRequest) -> Filter:
    return Filter(
        workloads=frozenset(request.workloads),
        verdicts=frozenset(request.verdicts),
        reasons=frozenset(request.reasons),
        port=request.port,
        direction=request.direction,
        pid=request.pid,
    )


async def serve(path: Path, service: LocalService) -> grpc.aio.Server:
    """A running server. Raises LocalSocketError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = grpc.aio.server(options=_OPTIONS)
    local_pb2_grpc.add_LocalServiceServicer_to_server(service, server)
    before = os.umask(_SOCKET_UMASK)
    try:
        server.add_insecure_port(f"unix:{quote(str(path))}")
        await server.start()
    except (RuntimeError, OSError) as error:
        raise LocalSocketError(f"cannot listen on {path}: {error}") from error
    finally:
        os.umask(before)
    return server
