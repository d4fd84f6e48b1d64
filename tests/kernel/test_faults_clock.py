# SPDX-License-Identifier: Apache-2.0
"""A host's wall clock is set wrong, and right again, while its agent runs: nothing is ever opened.

Key epochs of the lab last a day, and their neighbours are always good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from agent.edge.control_page import ControlPage
from agent.edge.hooks import Pins
from tests.kernel.world import BASE, PORT, QUIET, World
from tests.lab import wait_until
from tests.lab.cordon import CordonHost, cordon
from tests.lab.wallclock import WallClock

DAY = 86_400
HEEDED = 20.0
"""The kernel is told every five seconds how far the wall clock is from its own."""


@dataclass
class Victim:
    """Host b, whose agent believes `clock`, and one connection that was there before."""

    world: World
    clock: WallClock
    client: int
    server: int

    @property
    def host(self) -> CordonHost:
        return self.world.cordon["b"]

    def reaches(self) -> bool:
        reply = self.world.web.connect(self.world.b.v4, PORT, timeout=QUIET)
        self.world.web.close(reply.handle, reset=True)
        return reply.ok

    def holds(self) -> None:
        """What was refused is refused, and what was open is open."""
        world = self.world
        assert world.loner.connect(world.b.v4, PORT, timeout=QUIET).error == "TIMEOUT"
        assert world.other.connect(world.b.v4, PORT).error == "EPERM"
        assert world.web.send(self.client, b"x").ok
        assert world.db.recv(self.server, 1).data == b"x"
        assert self.host.agent is not None
        assert self.host.agent.alive, self.host.agent.output()

    def heeded(self, before: int) -> None:
        """Until the kernel has the agent's new idea of the time."""
        wait_until(lambda: self.offset() != before, "the kernel is told", timeout=HEEDED)

    def offset(self) -> int:
        page = ControlPage(Pins(self.host.pins).maps)
        try:
            return page.read("wall_offset_ns") // 10**9 // 3600
        finally:
            page.close()


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    with cordon(BASE) as running:
        world, host = World.build(running), running["b"]
        clock = WallClock(host.lab.folder)
        host.kill9()
        host.start(clock.env)
        host.wait_ready()
        wait_until(lambda: host.status().state == "in_sync", "it is in sync")
        listener = world.listen()
        client = world.web.connect(world.b.v4, PORT, timeout=5.0)
        server = world.db.accept(listener.handle)
        assert client.ok
        assert server.ok
        yield Victim(world, clock, client.handle, server.handle)


@pytest.fixture
def step(victim: Victim) -> Iterator[Callable[[float], None]]:
    """Sets the clock; it is right again afterwards, and so is everything else."""

    def set_(seconds: float) -> None:
        before = victim.offset()
        victim.clock.set(seconds)
        victim.heeded(before)

    yield set_
    set_(0)
    wait_until(victim.reaches, "all is well under the right time", timeout=HEEDED, interval=0.2)
    synced = lambda: victim.host.status().state == "in_sync"  # noqa: E731
    wait_until(synced, "it is in sync", timeout=HEEDED)
    victim.holds()


@pytest.mark.parametrize("seconds", [DAY, -DAY], ids=["ahead", "behind"])
def test_a_day_is_no_loss(victim: Victim, step: Callable[[float], None], seconds: int) -> None:
    """The neighbouring epochs' keys are there: both ends prove themselves as before."""
    step(seconds)
    victim.holds()
    assert victim.reaches()


@pytest.mark.parametrize("seconds", [3 * DAY, -3 * DAY], ids=["ahead", "behind"])
def test_where_no_key_is_of_this_time_nobody_is_proven_and_that_is_told(
    victim: Victim, step: Callable[[float], None], seconds: int
) -> None:
    before = victim.world.refused_at_server("tag_epoch")
    step(seconds)
    wait_until(lambda: not victim.reaches(), "what needs proof is refused", interval=0.2)
    assert victim.world.refused_at_server("tag_epoch") > before
    victim.holds()


def test_start_under_a_clock_that_is_behind_goes_on_from_the_cache_and_names_the_time(
    victim: Victim, step: Callable[[float], None]
) -> None:
    """To it the file is from the future; the cache was good when it was written. When the clock is
    right, the file is read again, though nobody has touched it."""
    host = victim.host
    version = host.status().policy_version
    victim.clock.set(-3 * DAY)
    host.kill9()
    host.start(victim.clock.env)
    host.wait_ready()
    wait_until(lambda: host.status().state == "cached", "the cache is in force")
    assert "which is in the future here" in host.status().summary
    assert host.status().policy_version == version
    victim.holds()
    step(-2.9 * DAY)
    assert host.status().state == "cached"
