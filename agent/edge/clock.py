# SPDX-License-Identifier: Apache-2.0
"""The clocks, and what lies between them: the kernel side has only CLOCK_MONOTONIC."""

from __future__ import annotations

import time


def unix_seconds() -> float:
    return time.time()


def monotonic_ns() -> int:
    """What bpf_ktime_get_ns() answers."""
    return time.monotonic_ns()


def wall_offset_ns() -> int:
    """Unix time minus CLOCK_MONOTONIC; moves when the wall clock is set."""
    return time.time_ns() - time.monotonic_ns()


def boot_ticks() -> float:
    """CLOCK_BOOTTIME in the ticks of /proc/PID/stat."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) * 100
