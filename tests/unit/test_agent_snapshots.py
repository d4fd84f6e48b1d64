# SPDX-License-Identifier: Apache-2.0
"""Which snapshot the agent puts in force: the newest that is sound, one at a time, and what it says
of one that is refused, older or expired.
"""

from __future__ import annotations

from dataclasses import replace

from agent.core import commands, events
from agent.core.agent import Agent
from agent.core.commands import Level
from agent.core.events import Source
from agent.core.snapshot import Held
from agent.core.standing import State
from tests.unit.agent_fakes import facts
from tests.unit.agent_talk import (
    BY_PATH,
    FORGED,
    applied,
    kinds,
    logs,
    read,
    running,
    without_words,
)
from tests.unit.agent_world import World


def state(world: World) -> str:
    return world.agent.state.value


def test_refused_file_changes_nothing_in_force() -> None:
    world = World()
    world.publish(BY_PATH)
    world.exec(facts(1))
    world.settle()
    before = (world.kernel.policy, world.cache, world.kernel.maps.all())
    world.put_file(FORGED)
    world.settle()
    assert (world.kernel.policy, world.cache, world.kernel.maps.all()) == before
    assert world.agent.state is State.STALE
    assert world.status == (
        "Policy version 1 is in force; the snapshot file is not: the signature is wrong"
    )


def test_status_follows_the_reason_also_where_the_state_stays() -> None:
    world = World().settle()
    for reason in ("the first reason", "the second reason"):
        world.put_file(replace(FORGED, reason=reason))
        world.settle()
        assert world.status.endswith(reason)


def test_newest_is_taken_first_and_the_older_one_only_if_that_fails() -> None:
    agent = Agent()
    agent.handle(events.Started(1.0))
    agent.handle(read(5, Source.CACHE))
    agent.handle(read(6))
    (first,) = without_words(agent.handle(events.Loaded(0.0, attach_pending=False)))
    assert isinstance(first, commands.ApplyPolicy)
    assert first.snapshot.version == 6
    answer = agent.handle(events.PolicyNotApplied(6, "the map is full"))
    (second,) = without_words(answer)
    assert isinstance(second, commands.ApplyPolicy)
    assert second.snapshot.version == 5
    agent.handle(applied(5))
    assert agent.state is State.STALE
    assert agent.standing.refused == "the map is full"
    assert logs(answer, Level.ERROR) == ["policy not applied, what was in force stays"]


def test_one_policy_at_a_time_and_none_twice() -> None:
    agent = running()
    assert kinds(agent.handle(read(8))) == ["ApplyPolicy"]
    assert kinds(agent.handle(read(8))) == [], "it is at hand already"
    assert kinds(agent.handle(read(9))) == [], "one is being applied"
    assert kinds(agent.handle(applied(8)))[:3] == ["WriteCache", "ForgetExecutables", "ApplyPolicy"]
    assert "ApplyPolicy" not in kinds(agent.handle(applied(9)))
    assert kinds(agent.handle(read(9))) == []


def test_what_is_measured_by_a_newer_one_is_told_apart() -> None:
    """The command to read says what is at hand; what came meanwhile counts, too."""
    agent = running(7)
    (reading,) = agent.handle(events.SnapshotChanged())
    assert reading == commands.ReadSnapshot(Source.FILE, Held(0, 7, bytes([7])))
    agent.handle(read(9))
    assert kinds(agent.handle(read(8))) == []
    assert agent.standing.refused == "revision 8 is older than 9, which came meanwhile"
    assert kinds(agent.handle(read(9, content=b"other"))) == []
    assert agent.standing.refused == "revision 9 came meanwhile with other content"


def test_file_is_read_again_if_what_it_was_measured_by_fails() -> None:
    agent = running(7)
    agent.handle(read(9))
    agent.handle(events.SnapshotRefused(Source.FILE, "older than 9", held=(0, 9)))
    answer = agent.handle(events.PolicyNotApplied(9, "the map is full"))
    again = commands.ReadSnapshot(Source.FILE, Held(0, 7, bytes([7])))
    assert without_words(answer)[-1] == again
    late = events.SnapshotRefused(Source.FILE, "older than 9", held=(0, 9))
    assert agent.handle(late) == [again], "it was under way when the other failed"
    assert kinds(agent.handle(read(8))) == ["ApplyPolicy"]


def test_failure_of_an_older_one_is_not_the_files() -> None:
    agent = running(7)
    agent.handle(read(8))
    agent.handle(read(9))
    agent.handle(events.PolicyNotApplied(8, "the map is full"))
    agent.handle(applied(9))
    assert (agent.state, agent.standing.refused) == (State.IN_SYNC, "")


def test_a_newer_file_is_in_sync_once_it_is_in_force_and_that_is_no_warning() -> None:
    agent = running(7)
    assert agent.state is State.IN_SYNC
    told = agent.handle(read(9))
    assert (agent.state, agent.standing.version) == (State.STALE, 7)
    told += agent.handle(applied(9))
    assert (agent.state, agent.standing.version) == (State.IN_SYNC, 9)
    assert {said.level for said in told if isinstance(said, commands.Log)} == {commands.Level.INFO}


def test_only_what_came_by_the_file_is_written_to_the_cache() -> None:
    agent = Agent()
    agent.handle(events.Started(1.0))
    agent.handle(read(5, Source.CACHE))
    agent.handle(events.Loaded(0.0, attach_pending=False))
    assert "WriteCache" not in kinds(agent.handle(applied(5)))
    agent.handle(read(6, content=b"signed"))
    assert commands.WriteCache(b"signed") in agent.handle(applied(6))


def test_expired_policy_goes_on_and_says_so() -> None:
    world = World()
    made = world.publish(BY_PATH)
    world.settle()
    world.tick(4000)
    assert state(world) == "expired"
    assert "it has expired and goes on being enforced" in world.status
    assert world.kernel.policy == made.snapshot
    world.publish(BY_PATH)
    world.settle()
    assert state(world) == "in_sync"


def test_expired_cache_is_in_force_after_a_restart() -> None:
    world = World()
    made = world.publish(BY_PATH)
    world.settle()
    world.now += 4000
    world.begin()
    world.settle()
    assert (world.agent.snapshot, world.agent.state) == (made.snapshot, State.EXPIRED)


def test_reading_and_applying_are_one_figure() -> None:
    agent = running()
    agent.handle(replace(read(8), seconds=0.25))
    agent.handle(applied(8))
    assert agent.apply_seconds == 0.75
