# SPDX-License-Identifier: Apache-2.0
"""The two gRPC servers: their options, health, reflection, and the table of who serves what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from controller.services import failures

STOP_SECONDS = 5.0
MAIN_BYTES = 4 * 1024 * 1024
ENROLMENT_BYTES = 64 * 1024
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_concurrent_streams", 64),
    ("grpc.server_handshake_timeout_ms", 30_000),
    # From 1,000 calls that wait for the loop on, grpc would turn some away at random as CANCELLED.
    # A fleet that comes back is more, and is better served late than sent to try again.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
    # The same for calls that have waited for longer than this, which is 30 s unless it is said.
    ("grpc.server.max_unrequested_time_in_server", 300),
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class PortError(Exception):
    """A port cannot be opened; the sentence names it."""


@dataclass(frozen=True, slots=True)
class Service:
    """One line of a server's table.

    name: "cordon.v1.PolicyService". add: the generated add_..._to_server. stop: called before the
    server stops, so that open streams hear it.
    """

    name: str
    add: Callable[[Any, grpc.aio.Server], None]
    servicer: Any
    stop: Callable[[], Awaitable[None]] | None = None


class Server:
    """A port and what it serves."""

    def __init__(self, services: Sequence[Service], max_bytes: int, *, reflects: bool) -> None:
        failures.tell()
        options = (*_OPTIONS, ("grpc.max_receive_message_length", max_bytes))
        self._server = grpc.aio.server(options=options)
        self._services = services
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for service in services:
            service.add(service.servicer, self._server)
        if reflects:
            names = [service.name for service in services]
            shown = (*names, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(shown, self._server)
        self.port = 0

    async def start(self, address: str, credentials: grpc.ServerCredentials) -> int:
        """The port, which the system chose if `address` says 0. Raises PortError."""
        try:
            self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise PortError(f"cannot listen on {address}: {error}") from error
        await self._server.start()
        await self.set_serving(self._names, serving=True)
        return self.port

    @property
    def _names(self) -> Sequence[str]:
        return ("", *(service.name for service in self._services))

    async def set_serving(self, names: Sequence[str], *, serving: bool) -> None:
        """What the health service answers. "" stands for the server."""
        for name in names:
            await self._health.set(name, SERVING if serving else NOT_SERVING)

    async def stop(self) -> None:
        """New calls are refused, streams are told, and after a while cut."""
        await self._health.enter_graceful_shutdown()
        for service in self._services:
            if service.stop:
                await service.stop()
        await self._server.stop(STOP_SECONDS)
