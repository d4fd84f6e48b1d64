# SPDX-License-Identifier: Apache-2.0
"""What becomes of the kernel's flow events: told to who waits, shown to who watches, summed up for
the controller.

While only sums are wanted the kernel does not wake us for what is in order; `drain` looks for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable

from agent.core.abi import FlowEvent, FlowKind
from agent.core.flows import Names, describe
from agent.core.model import Verdict
from agent.edge import clock
from agent.edge.flow_log import FlowLog
from agent.edge.flow_shipper import FlowShipper
from agent.edge.kernel import Kernel
from agent.edge.libbpf import BpfError
from agent.edge.refuser import Refuser
from agent.edge.ringbuf import RingBuffer

DRAIN_SECONDS = 0.2
"""The ring has room for 7,000 events: 35,000 a second."""


class FlowFeed:
    """shipper: None where there is nobody to ship to."""

    def __init__(
        self, log: FlowLog, shipper: FlowShipper | None, names_under: Callable[[int], Names]
    ) -> None:
        self.log = log
        self.shipper = shipper
        self._names_under = names_under
        self._numbers = itertools.count(1)
        self._kernel: Kernel | None = None
        self._ring: RingBuffer | None = None
        self._refuser: Refuser
        self._wall_offset_ns = clock.wall_offset_ns()

    def open(self, kernel: Kernel, refuser: Refuser) -> RingBuffer:
        """The datapath is loaded: what is to be consumed whenever it is readable."""
        self._kernel, self._refuser = kernel, refuser
        self._ring = kernel.flow_events(self._seen)
        kernel.set_sum_up(on=self.shipper is not None)
        return self._ring

    def refresh_clock(self) -> None:
        """The wall clock may have been set."""
        self._wall_offset_ns = clock.wall_offset_ns()

    async def drain(self) -> None:
        """Until cancelled."""
        while self.shipper is not None:
            await asyncio.sleep(DRAIN_SECONDS)
            if self._ring is not None:
                self._ring.consume()

    async def close(self) -> None:
        """Nothing is summed up from here on, and what was goes out. Before the kernel is closed."""
        if self.shipper is None:
            return
        if self._ring is not None and self._kernel is not None:
            self._kernel.set_sum_up(on=False)
            with contextlib.suppress(BpfError):  # somebody took the pins away
                self._ring.consume()
        await self.shipper.close()

    def _seen(self, event: FlowEvent) -> None:
        if self.shipper is not None:
            self.shipper.seen(event, self._wall_offset_ns)
        if event.kind != FlowKind.JUDGED:
            return
        if event.verdict == Verdict.ALLOW and not self.log.watched:
            return  # it would drive refusals out of the history
        self._refuser.offer(event)
        names = self._names_under(event.generation)
        self.log.add(describe(event, names, self._wall_offset_ns, next(self._numbers)))
