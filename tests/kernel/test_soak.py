# SPDX-License-Identifier: Apache-2.0
"""Some rounds of the soak: its fleet stands, what it does comes out right, and it would see else.

`make soak` goes on for an hour; this holds that it can be trusted to.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import wait_until
from tests.soak.__main__ import troubles, watch
from tests.soak.disturb import RESTARTS, Disturber
from tests.soak.samples import INTERVAL
from tests.soak.scene import DB, Scene, scene


@pytest.fixture(scope="module")
def soaked() -> Iterator[Scene]:
    with scene() as built:
        yield built


def test_rounds_come_out_right_and_everything_is_read(soaked: Scene) -> None:
    sampler, disturber = watch(soaked), Disturber(soaked)
    for _ in range(2 * RESTARTS):
        disturber.round()
    wait_until(lambda: len(sampler.series()) > 20, "all series have begun", 10 * INTERVAL)
    sampler.stop()
    assert troubles(soaked, sampler) == []
    names = {series.name for series in sampler.series()}
    assert {"agent of b: memory", "controller: descriptors", "b: map processes"} <= names
    assert "agent of a: memory, by lives" in names
    assert disturber.done["agents killed"] == disturber.done["agents restarted"] == 1


def test_what_goes_wrong_is_seen(soaked: Scene) -> None:
    """A refusal of what policy allows, and a metric that should not move."""
    sampler = watch(soaked)
    served = soaked.loads["db"].process
    served.kill9()  # web finds nobody there
    address = soaked.b.lab.v4
    wait_until(lambda: soaked.loads["web"].report().odd, f"nobody serves {address}:{DB}", 30.0)
    b = soaked.b
    assert b.agent is not None
    b.agent.kill9()
    wait_until(lambda: sampler.unexpected, "the host gives no readings", 10 * INTERVAL)
    sampler.stop()
    del soaked.loads["db"]  # it does not answer any more
    told = "\n".join(troubles(soaked, sampler))
    assert "ECONNREFUSED" in told
    assert "b: metrics: cannot be read" in told
