# SPDX-License-Identifier: Apache-2.0
"""The agent's rules one by one: each test is a short conversation, or one on a host made of values.

Orders of events that nobody thought of are `test_agent_any_order`'s.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core import commands, events
from agent.core.abi import Process
from agent.core.agent import Agent
from agent.core.commands import Command, Level, Log
from agent.core.events import ProcessReport, Source
from agent.core.interest import Interest
from agent.core.model import Action, Identity, Selector
from agent.core.roster import MAX_WALKS
from agent.core.snapshot import Held
from agent.core.standing import State
from tests.unit import snapshots
from tests.unit.agent_fakes import executable_key, facts
from tests.unit.agent_world import Published, World, policy

WEB, API = 300, 301
PENDING = Process(Identity.PENDING, 0, 7, 0, 0, 0, 0, 0, 1)
BY_PATH = (WEB, Selector(exe="/bin/web"))
FORGED = Published(snapshots.snapshot(version=9999), "the signature is wrong")


def read(version: int, source: Source = Source.FILE, content: bytes = b"") -> events.SnapshotRead:
    digest = content or bytes([version])
    return events.SnapshotRead(source, snapshots.snapshot(version=version), content, digest)


def applied(version: int) -> events.PolicyApplied:
    return events.PolicyApplied(version, version << 16, 5, 0.5)


def without_words(answer: list[Command]) -> list[Command]:
    """Without what is only said."""
    return [c for c in answer if not isinstance(c, Log | commands.NotifyStatus)]


def kinds(answer: list[Command]) -> list[str]:
    return [type(command).__name__ for command in without_words(answer)]


def logs(answer: list[Command], level: Level) -> list[str]:
    return [c.message for c in answer if isinstance(c, Log) and c.level is level]


def state(world: World) -> str:
    return world.agent.state.value


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


# ---- snapshots


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


# ---- processes


def running(version: int = 7) -> Agent:
    """An agent that has started, with a policy from the file in force."""
    agent = Agent()
    agent.handle(events.Started(1.0))
    agent.handle(events.SnapshotMissing(Source.CACHE, "/c"))
    agent.handle(read(version))
    agent.handle(events.Loaded(0.0, attach_pending=False))
    agent.handle(applied(version))
    return agent


def test_a_child_that_copied_an_old_tag_during_the_walk_is_found() -> None:
    world = World()
    world.publish(BY_PATH)
    world.exec(facts(1))
    world.settle()
    world.publish()
    while not isinstance(world.jobs[0], commands.WalkProcesses):
        _ = world.hear() or world.work()
        world.hear()
    world.work()
    world.fork(1, 2, started=9)  # after the walk has looked, before its result is there
    assert world.kernel.maps.all()[2].identity == WEB
    world.settle()
    assert {e.identity for e in world.kernel.maps.all().values()} == {Identity.HOST}


def test_walking_ends_under_endless_churn() -> None:
    agent = running()
    changed = events.ProcessesWalked({1: facts(1)}, frozenset({1}), {}, 0)
    answers = ["WalkProcesses" in kinds(agent.handle(changed)) for _ in range(MAX_WALKS + 3)]
    assert answers == [True] * MAX_WALKS + [False] * 3


def test_an_earlier_runs_word_stands_while_no_policy_is_at_hand() -> None:
    """The cache is lost and the file is bad: the kernel judges on, and nobody loses an identity."""
    world = World()
    made = world.publish(BY_PATH)
    for pid in (1, 2):
        world.exec(facts(pid))
    world.settle()
    world.cache = None
    world.put_file(FORGED)
    world.settle()
    world.begin()
    world.become(2, "app")  # what is asked anew nobody can answer
    world.settle()
    assert world.kernel.policy == made.snapshot
    identities = {pid: entry.identity for pid, entry in world.kernel.maps.all().items()}
    assert identities == {1: WEB, 2: Identity.HOST}
    assert world.agent.state is State.SYNCING
    assert world.status.startswith("What the last run of the agent left in force is enforced")


def test_who_asks_before_the_policy_is_applied_is_held_until_it_is() -> None:
    """The kernel asks as soon as it is listened to, also what it could ask nobody before."""
    world = World()
    world.publish(BY_PATH)
    world.settle().begin()
    world.exec(facts(1))
    while not world.loaded:
        assert world.work()
        world.hear()
    assert world.report(), "the question comes before the policy is in force"
    assert world.kernel.maps.all()[1].identity == Identity.PENDING
    world.settle()
    assert world.kernel.maps.all()[1].identity == WEB


def test_lost_questions_are_made_up_for_by_a_walk() -> None:
    agent = running()
    answer = agent.handle(events.ReportsLost(3))
    assert kinds(answer) == ["WalkProcesses"]
    assert logs(answer, Level.WARNING) == ["questions were lost, walking"]


@pytest.mark.parametrize(("group", "remembered"), [(None, [WEB]), ("root", [])])
def test_executables_are_remembered_where_identity_follows_from_them(
    group: str | None, remembered: list[int]
) -> None:
    """Two processes of one file, user and cgroup may differ in their group."""
    agent = running()
    workloads = policy((WEB, Selector(exe="/bin/web", group=group)))
    made = replace(snapshots.snapshot(version=8), workloads=workloads)
    agent.handle(replace(read(8), snapshot=made))
    agent.handle(applied(8))
    one = facts(1)
    asked = ProcessReport(1, 0, executable_key(one))
    answer = agent.handle(events.FactsRead(asked, one, PENDING, 0))
    found = [c.identity for c in answer if isinstance(c, commands.RememberExecutable)]
    assert found == remembered


def test_conflict_is_told_once_for_each_command_and_policy() -> None:
    world = World()
    tie = ((WEB, Selector(user="root")), (API, Selector(group="root")))
    world.publish(*tie)
    for pid in (1, 2):
        world.exec(facts(pid))
    world.exec(facts(3, "/bin/other"))
    world.settle()

    def told() -> int:
        return sum(log.message == "identity conflict" for log in world.logged)

    assert told() == 2
    world.publish(*tie)
    world.settle()
    assert told() == 4
    assert {e.identity for e in world.kernel.maps.all().values()} == {Identity.HOST}


def test_unreadable_process_counts_as_host_and_is_logged() -> None:
    world = World()
    world.publish(BY_PATH)
    world.settle()
    world.exec(facts(1))
    world.reader.unreadable.add(1)
    world.settle()
    assert world.kernel.maps.all()[1].identity == Identity.HOST
    assert world.logged[-1].message == "cannot attest a process, it counts as host"


def test_process_that_could_not_be_read_for_want_of_descriptors_is_read_once_there_are() -> None:
    world = World()
    world.publish(BY_PATH)
    world.settle()
    world.reader.scarce = True
    world.exec(facts(1))
    world.settle()
    assert world.kernel.maps.all()[1].identity == Identity.HOST
    for _ in range(3):
        world.tick(5.0)
        world.settle()
    assert world.kernel.maps.all()[1].identity == Identity.HOST
    told = [said.message for said in world.logged if "cannot look at processes" in said.message]
    assert len(told) == 1, "once for the whole time"
    world.reader.scarce = False
    world.tick(5.0)
    world.settle()
    assert world.kernel.maps.all()[1].identity == BY_PATH[0]
    walks = world.given.count("WalkProcesses")
    world.tick(5.0)
    world.settle()
    assert world.given.count("WalkProcesses") == walks, "nobody is left to be looked at"


def test_start_without_descriptors_goes_on_once_there_are() -> None:
    world = World()
    world.exec(facts(1))
    world.reader.scarce = True
    world.publish(BY_PATH)
    world.settle()
    assert world.ready == 0
    world.reader.scarce = False
    world.tick(5.0)
    world.settle()
    assert (world.ready, world.kernel.maps.all()[1].identity) == (1, BY_PATH[0])


def test_walk_without_descriptors_forgets_nobody() -> None:
    world = World()
    world.publish(BY_PATH)
    world.settle()
    world.exec(facts(1))
    world.settle()
    world.reader.scarce = True
    world.publish(BY_PATH)
    world.settle()
    assert world.kernel.maps.all()[1].identity == BY_PATH[0]


def test_observing_is_on_while_anybody_does() -> None:
    agent = Agent()
    for count, on in ((1, True), (2, True), (0, False)):
        assert agent.handle(events.ObserversChanged(count))[0] == commands.SetObserve(on)


# ---- what is for reading


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
