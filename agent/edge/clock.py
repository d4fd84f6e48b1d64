# SPDX-License-Identifier: Apache-2.0
"""The clocks, and what lies between them: the kernel side has only CLOCK_MONOTONIC."""

from __future__ import annotations

import os
import time

_MONOTONIC_COARSE = 6
"""CLOCK_MONOTONIC_COARSE, include/uapi/linux/time.h."""
_SECOND_NS = 1_000_000_000
_TICKS = os.sysconf("SC_CLK_TCK")


def unix_seconds() -> float:
    return time.time()


def monotonic_ns() -> int:
    """What bpf_ktime_get_ns() answers."""
    return time.monotonic_ns()


def wall_offset_ns() -> int:
    """Unix time minus CLOCK_MONOTONIC; moves when the wall clock is set."""
    return time.time_ns() - time.monotonic_ns()


class SettingWatch:
    """Whether the wall clock was set since it was last asked: by more than a second, for it is
    always being corrected a little. A suspended machine counts, for its other clock stands still.
    """

    def __init__(self) -> None:
        self._offset = wall_offset_ns()

    def was_set(self) -> bool:
        before, self._offset = self._offset, wall_offset_ns()
        return abs(self._offset - before) > _SECOND_NS


def age_seconds(start_ticks: int) -> float:
    """Since a start time of /proc/PID/stat, which counts in CLOCK_BOOTTIME."""
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - start_ticks / _TICKS)


def jiffies(seconds: float) -> int:
    """At least 1. The coarse clock's resolution is the length of a jiffy."""
    return max(1, round(seconds / time.clock_getres(_MONOTONIC_COARSE)))
