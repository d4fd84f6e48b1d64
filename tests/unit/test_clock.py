# SPDX-License-Identifier: Apache-2.0
"""When the wall clock counts as set."""

from __future__ import annotations

import pytest

from agent.edge import clock

SECOND = 1_000_000_000


@pytest.mark.parametrize("step", [2 * SECOND, -2 * SECOND, 86_400 * SECOND])
def test_a_step_is_told_once(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    offset = 1_800_000_000 * SECOND
    monkeypatch.setattr(clock, "wall_offset_ns", lambda: offset)
    watch = clock.SettingWatch()
    assert not watch.was_set()
    offset += step
    assert watch.was_set()
    assert not watch.was_set()


def test_slewing_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    offset = 0
    monkeypatch.setattr(clock, "wall_offset_ns", lambda: offset)
    watch = clock.SettingWatch()
    for _ in range(100):
        offset += SECOND // 10
        assert not watch.was_set()
