# SPDX-License-Identifier: Apache-2.0
"""Sums up what the kernel tells of flows and ships it to the controller, once a minute.

Requests go over the policy stream's own connection: a fleet pays for no second one, and where there
is no stream there is nobody to send to. What cannot be sent waits, bounded; nothing here makes a
verdict wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence

from agent.core.abi import FlowEvent
from agent.core.flow_outbox import Outbox, Waiting
from agent.core.flow_summary import Record, Summary
from agent.core.flows import Names
from agent.edge import clock, flow_codec, logs
from agent.edge.controller_client import AskFailed

METHOD = "/cordon.v1.FlowService/ShipFlows"
PERIOD_SECONDS = 30.0
"""A minute that is over goes out within this; hosts begin at random, so as not to come together."""
CLOSE_SECONDS = 2.0
BATCH = 500
"""Records in one request."""
MAX_PROGRAMS = 4096
INSTANCE_BYTES = 16

Ask = Callable[[str, bytes], Awaitable[bytes]]


class FlowShipper:
    """One per run. `seen` is called in the loop for every flow event of the kernel."""

    def __init__(
        self, ask: Ask, names_under: Callable[[int], Names], period: float = PERIOD_SECONDS
    ) -> None:
        """ask: a unary call; raises AskFailed."""
        self._ask = ask
        self._period = period
        self._instance = secrets.token_bytes(INSTANCE_BYTES)
        self._programs: dict[int, str] = {}
        self.summary = Summary(names_under)
        self.outbox = Outbox()

    def seen(self, event: FlowEvent, wall_offset_ns: int) -> None:
        unix_ms = (event.time_ns + wall_offset_ns) // 1_000_000
        self.summary.add(event, self._program(event.tgid), unix_ms)

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.sleep(random.uniform(0, self._period))
        while True:
            self._collect(self.summary.take(clock.unix_seconds()))
            await self._deliver()
            await asyncio.sleep(self._period)

    async def close(self) -> None:
        """The unfinished minute goes out too, if the controller takes it at once."""
        self._collect(self.summary.take_all())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._deliver()

    def _collect(self, records: Sequence[Record]) -> None:
        self._programs.clear()  # a number may be another process's by now
        for start in range(0, len(records), BATCH):
            part = records[start : start + BATCH]
            judgements = sum(record.sums.count for record in part)
            self.outbox.put(flow_codec.encode_records(part), judgements)

    async def _deliver(self) -> None:
        """All that waits, in order, until one is not taken."""
        while (waiting := self.outbox.head()) is not None:
            if not await self._send(waiting):
                return

    async def _send(self, waiting: Waiting) -> bool:
        head = flow_codec.head(self._instance, waiting.sequence, waiting.lost)
        try:
            await self._ask(METHOD, head + waiting.body)
        except AskFailed as failure:
            if not failure.final:
                return False
            self.outbox.refused(waiting.sequence)
            logs.write("warning", "the controller refuses flow records, they are lost, ignoring",
                       [("judgements", waiting.judgements), ("reason", failure)])  # fmt: skip
            return True
        self.outbox.taken(waiting.sequence)
        return True

    def _program(self, pid: int) -> str:
        """Where it is still there to be asked; empty for the kernel's own."""
        found = self._programs.get(pid)
        if found is None:
            if len(self._programs) >= MAX_PROGRAMS:
                self._programs.clear()
            found = self._programs[pid] = _executable(pid) if pid else ""
        return found


def _executable(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""
