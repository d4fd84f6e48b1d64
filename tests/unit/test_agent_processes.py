# SPDX-License-Identifier: Apache-2.0
"""Which identity the agent gives its processes: while policies change, questions are lost, and
nobody can be looked at.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core import commands, events
from agent.core.abi import Process
from agent.core.commands import Level
from agent.core.events import ProcessReport
from agent.core.model import Identity, Selector
from agent.core.roster import MAX_WALKS
from agent.core.standing import State
from tests.unit import snapshots
from tests.unit.agent_fakes import executable_key, facts
from tests.unit.agent_talk import API, BY_PATH, FORGED, WEB, applied, kinds, logs, read, running
from tests.unit.agent_world import World, policy

PENDING = Process(Identity.PENDING, 0, 7, 0, 0, 0, 0, 0, 1)


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


def test_sockets_that_could_not_be_looked_at_are_looked_at_once_there_are_descriptors() -> None:
    world = World()
    world.exec(facts(1))
    world.sockets_scarce = True
    world.publish(BY_PATH)
    for _ in range(3):
        world.settle()
        assert (world.ready, world.stopped) == (0, None), "their sockets may be anybody's"
        world.tick(5.0)
    told = [said.message for said in world.logged if "cannot look at processes" in said.message]
    assert len(told) == 1, "once for the whole time"
    world.sockets_scarce = False
    world.settle()
    assert world.ready == 1
    walks = world.given.count("WalkSockets")
    world.tick(5.0)
    world.settle()
    assert world.given.count("WalkSockets") == walks, "nobody is left to be looked at"


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
