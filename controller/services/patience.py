# SPDX-License-Identifier: Apache-2.0
"""A bound on how long something may take that happens all the time.

A timer that is set and cancelled for each message was a tenth of what a controller of ten thousand
streams spent; here one timer looks at its end whether the time is over, and is set anew if not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Patience:
    """`begin` starts the time, again too; `end` stops it. over: called once it has run out."""

    def __init__(self, over: Callable[[], None]) -> None:
        self._over = over
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = loop.call_at(self._deadline, self._look)

    def end(self) -> None:
        self._deadline = None

    def close(self) -> None:
        """For good: no timer is left."""
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._deadline:
            self._timer = loop.call_at(self._deadline, self._look)
            return
        self._deadline = None
        self._over()
