# SPDX-License-Identifier: Apache-2.0
"""The agent's start and end: each test is a short conversation, or one on a host made of values.

Snapshots are `test_agent_snapshots`', processes `test_agent_processes`', a controller
`test_agent_control`'s; orders of events that nobody thought of are `test_agent_any_order`'s.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core import commands, events
from agent.core.agent import Agent
from agent.core.commands import Command, Level
from agent.core.events import Source
from agent.core.interest import Interest
from agent.core.model import Action
from agent.core.standing import State
from tests.unit import snapshots
from tests.unit.agent_fakes import facts
from tests.unit.agent_talk import BY_PATH, WEB, applied, kinds, read, running, without_words
from tests.unit.agent_world import World

# ---- the order at start


def test_a_first_start_with_a_snapshot_file() -> None:
    agent = Agent()
    missing = events.SnapshotMissing(Source.CACHE, "/c")
    sound = read(7)

    def said(event: events.Event) -> list[Command]:
        return without_words(agent.handle(event))

    assert said(events.Started(1.0)) == [commands.ReadSnapshot(Source.CACHE, None)]
    assert said(missing) == [commands.ReadSnapshot(Source.FILE, None), commands.Load()]
    assert said(sound) == []
    assert said(events.Loaded(1.0, attach_pending=True)) == [commands.ApplyPolicy(sound.snapshot)]
    assert said(applied(7)) == [
        commands.WriteCache(sound.content), commands.ForgetExecutables(),
        commands.WalkProcesses(
            Interest(frozenset({"/bin/w300", "/bin/w301", "/bin/w302"}), hash_limit_bytes=256 << 20)
        ),
    ]  # fmt: skip
    nobody = events.ProcessesWalked({}, frozenset(), {}, 0)
    no_sockets = events.SocketsWalked((), {}, complete=True)
    assert said(nobody) == [commands.WalkSockets()]
    assert said(no_sockets) == [commands.Attach()]
    assert kinds(agent.handle(events.Attached())) == ["WalkProcesses"]
    assert said(nobody) == [commands.WalkSockets()]
    assert said(no_sockets) == [commands.Verify()]
    assert said(events.Verified(())) == [commands.FeedWatchdog(), commands.NotifyReady()]
    assert said(events.Verified(())) == [commands.FeedWatchdog()]
    assert said(events.Ticked(2.0)) == []


def test_what_was_there_is_adopted_before_and_after_attaching() -> None:
    world = World()
    world.exec(facts(1))
    world.publish(BY_PATH)
    world.settle()
    policy_, walk, attach = map(world.given.index, ("ApplyPolicy", "WalkProcesses", "Attach"))
    assert policy_ < walk < attach
    assert "WalkProcesses" in world.given[attach:]
    assert world.ready == 1
    assert world.kernel.maps.all()[1].identity == WEB


def test_no_policy_at_all_attaches_in_audit_and_says_so() -> None:
    world = World().settle()
    assert world.kernel.attached
    assert world.ready == 1
    assert world.agent.state is State.SYNCING
    assert world.status == (
        "No policy has been in force since the agent started; there is no snapshot file."
    )


def test_a_restart_finds_everything_in_place_and_attaches_nothing() -> None:
    world = World()
    world.publish(BY_PATH)
    world.settle()
    world.begin()
    world.settle()
    assert "Attach" not in world.given
    assert world.ready == 1
    assert world.agent.load_seconds == 0.0


@pytest.mark.parametrize("fault", ["load_fails", "attach_fails"])
def test_what_cannot_be_loaded_or_attached_ends_the_agent(fault: str) -> None:
    world = World()
    setattr(world, fault, True)
    world.settle()
    assert world.stopped == 1
    assert not world.kernel.attached
    assert world.logged[-1].level is Level.ERROR


@pytest.mark.parametrize("settled", [False, True])
def test_stop_ends_at_once_whatever_is_under_way(settled: bool) -> None:
    world = World()
    world.publish(BY_PATH)
    if settled:
        world.settle()
    world.tell(events.StopRequested("SIGTERM"))
    assert world.stopped == 0
    assert world.kernel.attached == settled, "enforcement goes on as it was"


# ---- what is asked of it as it runs


def test_observing_is_on_while_anybody_does() -> None:
    agent = Agent()
    for count, on in ((1, True), (2, True), (0, False)):
        assert agent.handle(events.ObserversChanged(count))[0] == commands.SetObserve(on)


def test_lifelines_are_named_once() -> None:
    agent = running()
    ssh = [replace(snapshots.rule(n, Action.LIFELINE), name="ssh") for n in (2, 3)]
    rules = (*ssh, snapshots.rule(1, Action.LIFELINE), snapshots.rule(4))
    agent.handle(replace(read(8), snapshot=replace(snapshots.snapshot(version=8), rules=rules)))
    agent.handle(applied(8))
    assert agent.lifelines == ("rule-1", "ssh")


def test_unknown_event_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError, match="Unexpected event"):
        Agent().handle(events.Event())
