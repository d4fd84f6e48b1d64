# SPDX-License-Identifier: Apache-2.0
"""The kernel's per-CPU counters, summed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.core.abi import HELD_TIMES, Outcome, counter_of
from agent.core.model import Reason
from agent.edge.maps import BpfMap

HELD_UNIT_NS = 1024


@dataclass(frozen=True, slots=True)
class Count:
    """kind: "verdict", "outcome", or "held": how long connections waited for their process.

    Names are as people read them, in lower case.
    """

    kind: str
    direction: str
    verdict: str
    reason: str
    value: int


def read_counters(folder: Path) -> list[Count]:
    """Those that are not zero."""
    found: list[Count] = []
    for index, value in _sums(folder / "counters"):
        direction, verdict, reason = counter_of(index)
        name = _name(Reason, reason)
        found.append(Count("verdict", direction.name.lower(), verdict.name.lower(), name, value))
    for index, value in _sums(folder / "outcomes"):
        found.append(Count("outcome", "", "", _name(Outcome, index), value))
    for place, value in _sums(folder / "held_times"):
        found.append(Count("held", "", "", _held_time(place), value))
    return found


def _held_time(place: int) -> str:
    """How long connections of this place of the histogram were held at most."""
    if place == HELD_TIMES - 1:
        return "longer"
    microseconds = (2 << place) * HELD_UNIT_NS // 1000
    return f"under_{microseconds}us"


def outcome(folder: Path, which: Outcome) -> int:
    with BpfMap.open_pinned(folder / "outcomes") as counters:
        values = counters.get_percpu(int(which).to_bytes(4, "little"))
        return sum(int.from_bytes(value, "little") for value in values)


def _sums(path: Path) -> Iterator[tuple[int, int]]:
    with BpfMap.open_pinned(path) as counters:
        for key, values in counters.items_percpu():
            total = sum(int.from_bytes(value, "little") for value in values)
            if total:
                yield int.from_bytes(key, "little"), total


def _name(names: type[Reason] | type[Outcome], number: int) -> str:
    """A number that we do not know is of a newer kernel side; it is shown as it is."""
    try:
        return names(number).name.lower()
    except ValueError:
        return str(number)
