# SPDX-License-Identifier: Apache-2.0
"""What the agent makes of the kernel's answer to "do you still run my programs?"."""

from agent.core import commands, events
from agent.core.agent import Agent
from agent.core.commands import (
    Command,
    FeedWatchdog,
    Log,
    NotifyReady,
    Repair,
    Verify,
    WalkProcesses,
)
from agent.core.guarding import Guarding

HOOK = "hook cordon_ingress"


def kinds(told: list[Command]) -> list[type[Command]]:
    return [type(command) for command in told if not isinstance(command, Log)]


def test_only_a_look_without_fault_feeds_the_watchdog() -> None:
    guarding = Guarding()
    assert kinds(guarding.on_verified(events.Verified(()))) == [FeedWatchdog]
    assert kinds(guarding.on_verified(events.Verified((HOOK,)))) == [Repair]


def test_one_repair_at_a_time_and_none_counts_before_it_is_done() -> None:
    guarding = Guarding()
    guarding.on_verified(events.Verified((HOOK,)))
    assert guarding.on_verified(events.Verified((HOOK,))) == []
    assert guarding.repairs == 0
    guarding.on_repaired(events.Repaired(0.01))
    assert guarding.repairs == 1
    assert "cordon_ingress, put back" in guarding.last


def test_a_repair_that_failed_is_tried_again_at_the_next_look_and_the_watchdog_goes_hungry() -> (
    None
):
    guarding = Guarding()
    guarding.on_verified(events.Verified((HOOK,)))
    guarding.on_not_repaired(events.NotRepaired("no such cgroup"))
    assert guarding.last.endswith("not put back: no such cgroup")
    assert kinds(guarding.on_verified(events.Verified((HOOK,)))) == [Repair]


def test_suspension_is_told_once_mended_never_and_is_no_reason_to_be_killed() -> None:
    guarding = Guarding()
    first = guarding.on_verified(events.Verified((), suspended=True))
    again = guarding.on_verified(events.Verified((), suspended=True))
    assert [type(c) for c in first] == [Log, FeedWatchdog]
    assert [type(c) for c in again] == [FeedWatchdog]
    assert guarding.suspended
    resumed = guarding.on_verified(events.Verified(()))
    assert [type(c) for c in resumed] == [Log, FeedWatchdog]


def test_what_goes_missing_beside_a_suspension_is_mended_all_the_same() -> None:
    guarding = Guarding()
    told = guarding.on_verified(events.Verified(("hook cordon_fork",), suspended=True))
    assert kinds(told) == [Repair]
    assert "cordon_fork" in guarding.last


def test_a_look_that_could_not_be_made_is_no_tampering_and_does_not_feed_the_watchdog() -> None:
    guarding = Guarding()
    guarding.on_verified(events.Verified(()))
    told = guarding.on_verified(events.Verified((), unseen="Too many open files"))
    again = guarding.on_verified(events.Verified((), unseen="Too many open files"))
    assert [type(c) for c in told] == [Log]
    assert again == [], "once"
    assert (guarding.last, guarding.repairs) == ("", 0)
    assert (guarding.unseen, guarding.verified) == ("Too many open files", False)
    back = guarding.on_verified(events.Verified(()))
    assert [type(c) for c in back] == [Log, FeedWatchdog]
    assert (guarding.unseen, guarding.verified) == ("", True)


def test_what_is_found_missing_after_a_blind_time_is_put_back() -> None:
    guarding = Guarding()
    guarding.on_verified(events.Verified((), unseen="Too many open files"))
    assert kinds(guarding.on_verified(events.Verified((HOOK,)))) == [Repair]


def test_finding_names_some_and_counts_the_rest() -> None:
    guarding = Guarding()
    guarding.on_verified(events.Verified(tuple(f"map {n}" for n in range(9))))
    assert guarding.last.endswith("map 4 and 4 more")


def started() -> Agent:
    """An agent whose programs were found attached, with no policy."""
    agent = Agent()
    for event in (
        events.Started(1.0),
        events.SnapshotMissing(events.Source.CACHE, "/cache"),
        events.SnapshotMissing(events.Source.FILE, "/file"),
        events.Loaded(0.0, attach_pending=False),
    ):
        agent.handle(event)
    return agent


def walked() -> events.ProcessesWalked:
    return events.ProcessesWalked({}, frozenset(), {}, now_ns=0)


def test_ready_waits_for_the_kernels_own_word() -> None:
    agent = started()
    agent.handle(walked())
    told = agent.handle(events.SocketsWalked((), {}, complete=True))
    assert Verify() in told
    assert NotifyReady() not in told
    assert NotifyReady() not in agent.handle(events.Verified((HOOK,)))
    assert agent.handle(events.Repaired(0.0))[-1] == Verify()
    assert NotifyReady() in agent.handle(events.Verified(()))
    assert NotifyReady() not in agent.handle(events.Verified(())), "once"


def test_suspended_is_not_ready() -> None:
    agent = started()
    agent.handle(walked())
    agent.handle(events.SocketsWalked((), {}, complete=True))
    assert NotifyReady() not in agent.handle(events.Verified((), suspended=True))
    assert NotifyReady() in agent.handle(events.Verified(()))


def walks(told: list[Command]) -> bool:
    return any(isinstance(command, WalkProcesses) for command in told)


def test_processes_and_sockets_are_looked_at_once_after_a_suspension_and_after_each_repair() -> (
    None
):
    agent = started()
    assert not walks(agent.handle(events.Verified(())))
    assert not walks(agent.handle(events.Verified((), suspended=True)))
    assert walks(agent.handle(events.Verified(())))
    assert not walks(agent.handle(events.Verified(())))
    agent.handle(events.Verified((HOOK,)))
    assert walks(agent.handle(events.Repaired(0.0)))


def test_looks_before_the_attach_say_nothing() -> None:
    agent = Agent()
    agent.handle(events.Started(1.0))
    assert agent.handle(events.Verified((HOOK,))) == []


def test_suspension_is_a_state() -> None:
    agent = started()
    told = agent.handle(events.Verified((), suspended=True))
    assert agent.state.value == "suspended"
    assert any(
        isinstance(c, commands.NotifyStatus) and "all traffic passes" in c.text for c in told
    )
