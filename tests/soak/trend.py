# SPDX-License-Identifier: Apache-2.0
"""Does a series of measurements grow, or is that its noise? Pure.

The slope is Theil's and Sen's: the median of the slopes of all pairs of points. One sample in four
may be wild (a compile, a collection of garbage) without moving it.

How sure it is comes from Kendall's statistic, as Sen has it: with n points and no trend, the number
of pairs that rise less the number that fall varies by n(n-1)(2n+5)/18. That holds for independent
points, and samples of memory are nothing less than that: what a process has taken it keeps for a
while. So the points are not the samples but the medians of BLOCKS equal spans of time, long against
any such while.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist, median

BLOCKS = 16
MIN_POINTS = 8
"""Below, even points in perfect order are no proof at the confidence that is asked for."""

Point = tuple[float, float]
"""Seconds, and the value then."""


@dataclass(frozen=True)
class Trend:
    """level: the median. slope and its bounds: units per second. span: seconds from first to last
    point. points: how many the slope is from.
    """

    level: float
    slope: float
    low: float
    high: float
    span: float
    points: int

    @property
    def growth(self) -> float:
        """Over the span."""
        return self.slope * self.span

    @property
    def sure_growth(self) -> float:
        """What it has grown by at least; negative or 0 if it may not have grown at all."""
        return self.low * self.span


def trend(points: Sequence[Point], confidence: float) -> Trend | None:
    """confidence: that a series without a trend has 0 within its bounds; between 0 and 1.

    Returns None for fewer than MIN_POINTS points in different spans of time.
    """
    blocks = block_medians(points)
    if len(blocks) < MIN_POINTS:
        return None
    pairs = combinations(blocks, 2)
    slopes = sorted((later[1] - at[1]) / (later[0] - at[0]) for at, later in pairs)
    count, n = len(slopes), len(blocks)
    deviation = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * deviation
    first = max(0, math.floor((count - reach) / 2))
    last = min(count - 1, math.ceil((count + reach) / 2))
    return Trend(
        level=median(value for _, value in points),
        slope=median(slopes),
        low=slopes[first],
        high=slopes[last],
        span=blocks[-1][0] - blocks[0][0],
        points=n,
    )


def block_medians(points: Sequence[Point], blocks: int = BLOCKS) -> list[Point]:
    """The medians of equal spans of time, as many as there are points in."""
    if not points:
        return []
    begin, end = min(at for at, _ in points), max(at for at, _ in points)
    width = (end - begin) / blocks or 1.0
    sorted_in: dict[int, list[Point]] = {}
    for point in points:
        sorted_in.setdefault(min(blocks - 1, int((point[0] - begin) / width)), []).append(point)
    return [
        (median(at for at, _ in inside), median(value for _, value in inside))
        for _, inside in sorted(sorted_in.items())
    ]
