# SPDX-License-Identifier: Apache-2.0
"""Two machines with one identity: seen by their ending each other's streams in turn. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

WITHIN_SECONDS = 60.0
TURNS = 3
WAIT_SECONDS = 60.0
MOST = 4096
"""Hosts that are remembered; the oldest are forgotten first."""


@dataclass(slots=True)
class Clones:
    """Asked whenever an agent with another instance_id takes over from one that has a stream."""

    _turns: dict[str, tuple[float, int]] = field(default_factory=dict)

    def turn(self, host: str, now: float) -> float:
        """Seconds that both have to wait; 0: it may have been a restart."""
        since, count = self._turns.pop(host, (now, 0))
        if now - since > WITHIN_SECONDS:
            since, count = now, 0
        self._turns[host] = (since, count + 1)
        if len(self._turns) > MOST:
            del self._turns[next(iter(self._turns))]
        return WAIT_SECONDS if count + 1 >= TURNS else 0.0
