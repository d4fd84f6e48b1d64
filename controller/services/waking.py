# SPDX-License-Identifier: Apache-2.0
"""Streams that have to look at what is new, some at a time.

A change can concern ten thousand streams. Between some of them the loop looks at what else there
is, so that heartbeats and answers are heard meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set

AT_ONCE = 100


class Waker:
    """wake: called once for each host that was added, soon; it raises nothing."""

    def __init__(self, wake: Callable[[str], None]) -> None:
        self._wake = wake
        self._waking: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, hosts: Set[str]) -> None:
        self._waking |= hosts
        if self._waking and self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._waking:
                for _ in range(min(AT_ONCE, len(self._waking))):
                    self._wake(self._waking.pop())
                await asyncio.sleep(0)
        finally:
            self._task = None
