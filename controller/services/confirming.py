# SPDX-License-Identifier: Apache-2.0
"""Confirmations wait while a crowd answers.

A change that concerns thousands of hosts is still on its way to some when others answer. Confirming
each answer at once would take its time from hosts that have no new policy yet, and from answers
that nobody has heard. So confirmations of such a change are kept until no more answers come, but
for no longer than a part of the time that agents wait for them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

CROWD = 100
"""Hosts that a change concerns, from which on it is one of a crowd."""
SHARE = 0.25
"""Of the confirm time, at the most: what is left has to do for the way there."""
QUIET_SECONDS = 0.05
"""Without an answer: no more come."""
AT_ONCE = 100
"""Confirmations between which the loop looks at what else there is."""


class Kept(Protocol):
    """A stream with something to say that can wait."""

    def release(self) -> None:
        """Say it, if it was not said meanwhile."""


class Confirmations:
    """`expect` a crowd; then `keep` says whether a confirmation is to wait, and takes it if so."""

    def __init__(self) -> None:
        self._until = float("-inf")
        self._heard = float("-inf")
        self._kept: deque[tuple[float, Kept]] = deque()
        self._task: asyncio.Task[None] | None = None

    def expect(self, hosts: int, confirm_seconds: float) -> None:
        """A change goes out to so many."""
        if hosts >= CROWD:
            self._until = asyncio.get_running_loop().time() + SHARE * confirm_seconds

    def keep(self, one: Kept) -> bool:
        self._heard = now = asyncio.get_running_loop().time()
        if now >= self._until:
            return False
        self._kept.append((self._until, one))  # a later change gives it no more time
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return True

    async def _run(self) -> None:
        try:
            while self._kept:
                await asyncio.sleep(QUIET_SECONDS)
                while due := self._due():
                    for one in due:
                        one.release()
                    await asyncio.sleep(0)
        finally:
            self._task = None

    def _due(self) -> list[Kept]:
        """All where no answer came of late, else those whose time is over; AT_ONCE at the most."""
        now = asyncio.get_running_loop().time()
        quiet = now >= self._heard + QUIET_SECONDS
        found: list[Kept] = []
        while self._kept and len(found) < AT_ONCE and (quiet or self._kept[0][0] <= now):
            found.append(self._kept.popleft()[1])
        return found
