# SPDX-License-Identifier: Apache-2.0
"""`FlowService`: takes flow records of hosts, many requests in one transaction.

A host is answered when its records are in the database, and not before: what is on its way is lost
to nobody if this controller is killed. What waits is bounded; beyond that hosts come again later.
"""

from __future__ import annotations

import asyncio
from collections import deque

from agent.edge import clock, logs
from agent.pb import flow_pb2 as pb
from agent.pb import flow_pb2_grpc
from controller.config import ControllerConfig
from controller.flow_records import FlowBatch, Kept
from controller.ratelimit import Buckets, Rate
from controller.services import flow_codec, metrics
from controller.services.admin_calls import within_bounds
from controller.services.callers import (
    Caller,
    Code,
    Context,
    identified,
    refuse,
    refuse_storage,
)
from controller.services.publisher import Publisher
from controller.services.serving import Service
from controller.spiffe import Kind
from controller.storage import FlowStorage, StorageError, Unavailable

GATHER_SECONDS = 0.25
"""Requests that come within this are one transaction."""
MOST_WAITING = 50_000
MOST_AT_ONCE = 20_000
"""Records."""
REQUESTS = Rate(burst=120, per_second=0.1)
"""Of one host: usual is one a minute, five where an agent's own bound is reached, after an outage
as many as it may keep."""
BUSY_SECONDS = 10.0
READY_SECONDS = 10.0
SWEEP_SECONDS = 60.0
SWEEPS_AT_ONCE = 50
DAY = 86_400
STOPPING = Unavailable("the controller is being stopped")


class Busy(Exception):
    """More waits than may."""


class Collector:
    """Between requests and the store. `run` it."""

    def __init__(self, storage: FlowStorage) -> None:
        self._storage = storage
        self._waiting: deque[tuple[FlowBatch, asyncio.Future[None]]] = deque()
        self._records = 0
        self._some = asyncio.Event()

    async def keep(self, batch: FlowBatch) -> None:
        """Returns when it is in the database. Raises Busy, StorageError."""
        if self._records + len(batch.records) > MOST_WAITING:
            raise Busy(f"{self._records} records wait to be written")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((batch, done))
        self._records += len(batch.records)
        self._some.set()
        await done

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self._some.wait()
                await asyncio.sleep(GATHER_SECONDS)
                while self._waiting:
                    await self._write(self._next())
                self._some.clear()
        finally:
            _settle([done for _, done in self._waiting], STOPPING)

    def _next(self) -> list[tuple[FlowBatch, asyncio.Future[None]]]:
        part, records = [self._waiting.popleft()], 0
        while self._waiting and records < MOST_AT_ONCE:
            records += len(self._waiting[0][0].records)
            part.append(self._waiting.popleft())
        return part

    async def _write(self, part: list[tuple[FlowBatch, asyncio.Future[None]]]) -> None:
        batches = [batch for batch, _ in part]
        error: StorageError | None = STOPPING
        try:
            kept = await asyncio.to_thread(
                self._storage.add_flows, batches, int(clock.unix_seconds())
            )
            error = None
            metrics.flow_records.inc(kept)
        except StorageError as raised:
            error = raised
        finally:
            self._records -= sum(len(batch.records) for batch in batches)
            _settle([done for _, done in part], error)


def _settle(waiting: list[asyncio.Future[None]], error: StorageError | None) -> None:
    """Who has gone meanwhile needs no answer."""
    for done in waiting:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


class FlowServicer(flow_pb2_grpc.FlowServiceServicer):
    """One per controller."""

    def __init__(self, publisher: Publisher, collector: Collector) -> None:
        self._publisher = publisher
        self._collector = collector
        self._requests = Buckets(REQUESTS)

    async def ShipFlows(
        self, request: pb.ShipFlowsRequest, context: Context
    ) -> pb.ShipFlowsResponse:
        who, host = await self._host(context)
        if wait := self._requests.take(who.name, clock.monotonic_ns() / 1e9):
            sentence = f"too many requests; try again in {wait:.0f} s"
            await refuse(context, Code.RESOURCE_EXHAUSTED, "RATE_LIMITED", sentence, wait)
        async with within_bounds(context):
            batch = flow_codec.read_batch(host, request, int(clock.unix_seconds()))
        try:
            await self._collector.keep(batch)
        except Busy as error:
            await refuse(context, Code.RESOURCE_EXHAUSTED, "RATE_LIMITED", str(error), BUSY_SECONDS)
        except StorageError as error:
            await refuse_storage(context, error)
        if request.lost:
            metrics.flows_lost.inc(request.lost)
            logs.write("warning", "a host has thrown flow records away, as nobody took them",
                       [("host", who.name), ("judgements", request.lost)])  # fmt: skip
        return pb.ShipFlowsResponse()

    async def _host(self, context: Context) -> tuple[Caller, int]:
        """Who it is and its number, by its certificate and nothing that it says."""
        who = await identified(context, Kind.HOST)
        if not await self._publisher.ready(READY_SECONDS):
            sentence = "this controller has no policy yet"
            await refuse(context, Code.UNAVAILABLE, "STORE", sentence, BUSY_SECONDS)
        record = self._publisher.desk.record(who.name)
        if record is None or who.serial in self._publisher.revoked.serials:
            sentence = f"{who.spiffe_id} is of no host of this fleet, or was revoked"
            await refuse(context, Code.PERMISSION_DENIED, "REVOKED", sentence)
        return who, record.host


def service(publisher: Publisher, collector: Collector) -> Service:
    return Service(
        "cordon.v1.FlowService",
        flow_pb2_grpc.add_FlowServiceServicer_to_server,
        FlowServicer(publisher, collector),
    )


class FlowSweeper:
    """Removes what is older than it is to be kept, or more, a part at a time: nobody waits long."""

    def __init__(self, storage: FlowStorage, config: ControllerConfig) -> None:
        self._storage = storage
        self._seconds = config.flow_days * DAY
        self._edge_seconds = config.flow_edge_days * DAY
        self._most = config.flow_rows

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.sweep(int(clock.unix_seconds()))
            except StorageError as error:
                logs.write("warning", f"cannot sweep flows, will retry in {SWEEP_SECONDS:.0f} s",
                           [("reason", error)])  # fmt: skip

    async def sweep(self, now: int) -> None:
        """Raises StorageError."""
        kept = Kept(now - self._seconds, now - self._edge_seconds, self._most)
        for _ in range(SWEEPS_AT_ONCE):
            if not await asyncio.to_thread(self._storage.sweep_flows, kept):
                return
