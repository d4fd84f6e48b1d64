# SPDX-License-Identifier: Apache-2.0
"""The last flow events, and those who watch.

Everything is bounded: the history by the configuration, each observer's queue by `QUEUE`. An
observer who reads too slowly loses events, and the next one that he gets says how many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from agent.core.flows import Filter, Flow

QUEUE = 4096
MAX_OBSERVERS = 16


class TooManyObservers(Exception):
    """As many watch as may."""


class Observer:
    """One who watches. Iterate over it; it never ends by itself."""

    def __init__(self, chosen: Filter) -> None:
        self._chosen = chosen
        self._queue: asyncio.Queue[Flow] = asyncio.Queue(QUEUE)
        self._lost = 0

    def offer(self, flow: Flow) -> None:
        if not self._chosen.passes(flow):
            return
        if self._queue.full():
            self._lost += 1 + flow.suppressed
            return
        if self._lost:
            flow = replace(flow, suppressed=flow.suppressed + self._lost)
            self._lost = 0
        self._queue.put_nowait(flow)

    async def next(self) -> Flow:
        return await self._queue.get()


class FlowLog:
    """on_change: told how many watch, whenever that changes."""

    def __init__(self, history: int, on_change: Callable[[int], None]) -> None:
        self._history: deque[Flow] = deque(maxlen=history)
        self._observers: set[Observer] = set()
        self._on_change = on_change

    @property
    def watched(self) -> bool:
        """Whether somebody watches."""
        return bool(self._observers)

    def newest(self, chosen: Filter, count: int) -> list[Flow]:
        """At most `count` of the kept ones that pass, oldest first."""
        passed = (flow for flow in reversed(self._history) if chosen.passes(flow))
        return list(islice(passed, count))[::-1]

    def find(self, wanted: Callable[[Flow], bool]) -> Flow | None:
        """The newest kept one that is wanted."""
        return next(filter(wanted, reversed(self._history)), None)

    def add(self, flow: Flow) -> None:
        self._history.append(flow)
        for observer in self._observers:
            observer.offer(flow)

    def watch(self, chosen: Filter) -> Observer:
        """Raises TooManyObservers."""
        if len(self._observers) >= MAX_OBSERVERS:
            raise TooManyObservers(f"{MAX_OBSERVERS} observers watch already, end one of them")
        observer = Observer(chosen)
        self._observers.add(observer)
        self._on_change(len(self._observers))
        return observer

    def leave(self, observer: Observer) -> None:
        self._observers.discard(observer)
        self._on_change(len(self._observers))
