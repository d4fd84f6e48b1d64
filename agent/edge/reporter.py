# SPDX-License-Identifier: Apache-2.0
"""Sends reports on the policy stream: one on each new stream, and one when something has changed.

Never more often than every ten seconds, and in a large fleet as often as agents may be heard there.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from agent.core import stream
from agent.core.control import Control
from agent.edge import clock, host_facts, report
from agent.edge.listeners import Listeners
from agent.edge.local_view import LocalView
from agent.pb import policy_pb2 as pb

LEAST_SECONDS = 10.0
_JITTER = 0.2


class Reporter:
    """`run` it beside the stream."""

    def __init__(
        self,
        control: Control,
        view: LocalView,
        listeners: Listeners,
        say: Callable[[stream.Up], None],
    ) -> None:
        """view, listeners: what there is to tell; asked in a thread."""
        self._control = control
        self._view = view
        self._listeners = listeners
        self._say = say
        self._told = (0, b"")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            pause = max(LEAST_SECONDS, self._control.heartbeat_seconds)
            await asyncio.sleep(pause * random.uniform(1, 1 + _JITTER))
            await self.look()

    async def look(self) -> None:
        """Say how the host is, unless nobody hears it or all of it was said on this stream."""
        number = self._control.speaking
        if not number:
            return
        try:
            found = await asyncio.to_thread(self._compose)
        except OSError:
            return  # the pins are gone, or we lack what it takes to look: the next report tells
        told = (number, report.lasting(found))
        if told == self._told or self._control.speaking != number:
            return
        self._told = told
        self._say(stream.Report(found.SerializeToString()))

    def _compose(self) -> pb.Report:
        ahead = self._control.clock_offset(time.monotonic(), clock.unix_seconds())
        processes = self._view.tagged()
        here = report.Here(
            processes=processes,
            listeners=self._listeners.look(processes),
            addresses=host_facts.addresses(),
            kernel=host_facts.kernel(),
            clock_offset_ms=round(ahead * 1000),
        )
        return report.compose(self._view.status(), here)
