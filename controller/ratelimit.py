# SPDX-License-Identifier: Apache-2.0
"""How often somebody may try: token buckets by key, of bounded number. Pure; time comes in."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

MAX_KEYS = 65_536


@dataclass(frozen=True, slots=True)
class Rate:
    """burst: tries at once; per_second: how fast they come back."""

    burst: int
    per_second: float


class Buckets:
    """One bucket per key. Too many keys: the one that was longest unused is forgotten, which lets
    its owner try again and costs nobody else anything."""

    def __init__(self, rate: Rate, max_keys: int = MAX_KEYS) -> None:
        self._rate = rate
        self._max_keys = max_keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, now: float) -> float:
        """0, or after how many seconds there is something to take. `now` is monotonic."""
        level = self._level(key, now)
        wait = self._missing(level)
        self._put(key, level if wait else level - 1, now)
        return wait

    def look(self, key: str, now: float) -> float:
        """As `take`, without taking."""
        return self._missing(self._level(key, now))

    def _level(self, key: str, now: float) -> float:
        level, at = self._buckets.get(key, (float(self._rate.burst), now))
        return min(float(self._rate.burst), level + max(0.0, now - at) * self._rate.per_second)

    def _missing(self, level: float) -> float:
        return max(0.0, (1.0 - level) / self._rate.per_second)

    def _put(self, key: str, level: float, now: float) -> None:
        self._buckets[key] = (level, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
