# SPDX-License-Identifier: Apache-2.0
"""Can these claims be true of a number that never falls? The heart of the history's checker.

Each claim says: at some moment between `began` and `ended` the number was one of `values`. For a
number that only grows it is enough to look at pairs: of two claims, one of which ended before the
other began, the earlier must be able to have the smaller value or the same. So claims are taken in
the order of their beginning, and each takes the least value that those which ended before it leave
to it: a larger one could only be in the way of later ones.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """values: in ascending order. what: for people, where it comes from."""

    began: float
    ended: float
    values: tuple[int, ...]
    what: str


def contradictions(claims: Iterable[Claim]) -> list[str]:
    """A sentence for each claim that cannot be true beside those before it."""
    running: list[tuple[float, int, str]] = []
    """Claims that had not ended when the last one began: the first to end is on top."""
    least, because = 0, "nothing"
    found: list[str] = []
    for claim in sorted(claims, key=lambda claim: claim.began):
        while running and running[0][0] < claim.began:
            _, value, what = heapq.heappop(running)
            if value > least:
                least, because = value, what
        value_or_none = _at_least(claim.values, least)
        if value_or_none is None:
            found.append(f"{claim.what} says {_shown(claim.values)}; before it {because}: {least}")
            continue
        heapq.heappush(running, (claim.ended, value_or_none, claim.what))
    return found


def _at_least(values: Sequence[int], least: int) -> int | None:
    place = bisect.bisect_left(values, least)
    return values[place] if place < len(values) else None


def _shown(values: Sequence[int]) -> str:
    if len(values) <= 6:
        return f"one of {list(values)}"
    return f"one of {len(values)} from {values[0]} to {values[-1]}"
