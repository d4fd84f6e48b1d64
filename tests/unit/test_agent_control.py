# SPDX-License-Identifier: Apache-2.0
"""An agent that has joined a controller: the order of its start, and what it says of itself."""

from __future__ import annotations

from agent.core import commands, events, stream
from agent.core.agent import Agent
from agent.core.commands import ApplyPolicy, BeginControl, Load, ReadSnapshot
from agent.core.control import Control, Enrolled
from agent.core.held import KeySet, NackReason
from agent.core.stream import Timer
from tests.unit import snapshots

CACHE, CONTROLLER = events.Source.CACHE, events.Source.CONTROLLER


def agent() -> Agent:
    return Agent(Control(Enrolled(1, "a", ("c:1",), KeySet(1, (bytes(32),)), 2e9)))


def handle(made: Agent, *told: events.Event) -> list[commands.Command]:
    return [command for event in told for command in made.handle(event)]


def test_the_cache_is_in_force_before_a_controller_is_looked_for() -> None:
    made = agent()
    assert handle(made, events.Started(1.0))[0] == ReadSnapshot(CACHE, None)
    read = events.SnapshotRead(CACHE, snapshots.snapshot(), b"", b"d")
    assert Load() in handle(made, read)
    told = handle(made, events.Loaded(0.0, attach_pending=False))
    assert any(isinstance(command, ApplyPolicy) for command in told)
    assert BeginControl() not in told
    assert BeginControl() in handle(made, events.PolicyApplied(1, 1, 1, 0.0))
    assert made.state.value == "cached"


def test_no_controller_is_looked_for_before_everything_is_attached() -> None:
    made = agent()
    missing = events.SnapshotMissing(CACHE, "/cache")
    told = handle(made, events.Started(1.0), missing, events.Loaded(0.0, attach_pending=True))
    assert BeginControl() not in told
    assert BeginControl() in handle(made, events.Attached())


def test_a_policy_of_the_controllers_that_is_refused_leaves_what_was_and_is_said() -> None:
    made = agent()
    missing = events.SnapshotMissing(CACHE, "/cache")
    handle(made, events.Started(1.0), missing, events.Loaded(0.0, attach_pending=False))
    handle(made, events.ControlMayBegin(1.0, 1.7e9, 0.0))
    release = None
    bad = stream.BadCame(3, NackReason.SIGNATURE, "it is signed by nobody", release)
    welcome = stream.Welcome("ctl", 1, 1, 1.7e9, 15, 10, False, None, ())
    handle(made, stream.StreamSaid(1, welcome, 1.0))
    told = handle(made, stream.StreamSaid(1, bad, 1.0))
    nack = stream.Nack(3, NackReason.SIGNATURE, "it is signed by nobody")
    assert stream.Say(nack) in told


def test_standing_follows_the_stream() -> None:
    made = agent()
    read = events.SnapshotRead(CACHE, snapshots.snapshot(), b"", b"d")
    handle(made, events.Started(1.0), read, events.Loaded(0.0, attach_pending=False))
    handle(made, events.PolicyApplied(1, 1, 1, 0.0), events.ControlMayBegin(1.0, 1.7e9, 0.0))
    assert "no controller is heard" in made.standing.summary
    welcome = stream.Welcome("ctl", 1, 1, 1.7e9, 15, 10, False, None, ())
    handle(made, stream.StreamSaid(1, welcome, 1.0), stream.StreamSaid(1, stream.InSync(1), 1.0))
    assert made.state.value == "in_sync"
    ended = stream.StreamEnded(1, "UNAVAILABLE", "gone", 0.0, 2.0, 0.5)
    told = handle(made, ended)
    assert any(
        isinstance(command, stream.SetTimer) and command.timer is Timer.CONNECT for command in told
    )
    assert made.state.value == "stale"
