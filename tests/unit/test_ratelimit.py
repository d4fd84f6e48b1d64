# SPDX-License-Identifier: Apache-2.0
"""Token buckets: a burst, then so many a second, for a bounded number of keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.ratelimit import Buckets, Rate

RATE = Rate(burst=3, per_second=0.5)


def test_a_burst_passes_and_then_one_every_two_seconds() -> None:
    buckets = Buckets(RATE)
    assert [buckets.take("a", 0) for _ in range(4)] == [0, 0, 0, 2]
    assert buckets.take("a", 1) == pytest.approx(1)
    assert buckets.take("a", 2) == 0
    assert buckets.take("a", 2) == pytest.approx(2)
    assert buckets.take("b", 2) == 0, "keys are apart"


def test_looking_takes_nothing() -> None:
    buckets = Buckets(RATE)
    assert [buckets.look("a", 0) for _ in range(9)] == [0] * 9
    assert len(buckets) == 0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    buckets = Buckets(RATE)
    for _ in range(3):
        buckets.take("a", 100)
    assert buckets.take("a", 0) > 0


def test_the_number_of_keys_is_bounded_and_the_longest_unused_goes() -> None:
    buckets = Buckets(RATE, max_keys=2)
    for _ in range(3):
        buckets.take("a", 0)
        buckets.take("b", 0)
    buckets.take("a", 0)
    buckets.take("c", 0)
    assert len(buckets) == 2
    assert buckets.take("a", 0) > 0, "it was used last, so it is remembered"
    assert buckets.take("b", 0) == 0


@given(st.lists(st.floats(0, 5), max_size=60))
def test_never_more_than_the_rate_allows(pauses: list[float]) -> None:
    buckets, now, passed = Buckets(RATE), 0.0, 0
    for pause in pauses:
        now += pause
        passed += buckets.take("a", now) == 0
    assert passed <= RATE.burst + now * RATE.per_second + 1e-6
