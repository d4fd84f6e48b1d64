# SPDX-License-Identifier: Apache-2.0
"""How many agents are brought in step at one time, and when the others' turn will be. Pure.

Only those who need something are counted: an agent that holds the newest is in step by one message
each way. Who comes too early is told a time, one after the other, so that all of them come back
spread over the time that serving them takes.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_GUESS_SECONDS = 0.5
"""What bringing one in step takes, before any has been measured."""
MOST_WAIT_SECONDS = 300.0
SHARE = 0.1
"""Of a new measurement in the mean."""


@dataclass(slots=True)
class Admission:
    """`enter`, and `leave` for each that was let in."""

    max_syncing: int
    syncing: int = 0
    _mean: float = FIRST_GUESS_SECONDS
    _next: float = 0.0

    def enter(self, now: float) -> float:
        """0: come in. Else the seconds after which to come again. now: of a steady clock."""
        if self.syncing < self.max_syncing:
            self.syncing += 1
            return 0.0
        self._next = max(self._next, now + self._mean) + self._mean / self.max_syncing
        self._next = min(self._next, now + MOST_WAIT_SECONDS)
        return self._next - now

    def leave(self, seconds: float) -> None:
        """One that was let in is in step or gone, after so long."""
        assert self.syncing > 0, "more left than came"
        self.syncing -= 1
        if seconds >= 0:
            self._mean += (min(seconds, 30.0) - self._mean) * SHARE
