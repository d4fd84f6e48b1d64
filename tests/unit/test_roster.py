# SPDX-License-Identifier: Apache-2.0
"""What the kernel's questions and walks lead to."""

from dataclasses import replace

from agent.core.abi import EXECUTABLE_KEY, ExecutableKey, Process, ProcessFlag
from agent.core.attest import Facts
from agent.core.commands import (
    Command,
    HashExecutable,
    Log,
    ReadFacts,
    RememberExecutable,
    TagProcess,
    WalkProcesses,
    WalkSockets,
)
from agent.core.events import ExecutableHashed, FactsRead, ProcessesWalked, ProcessReport
from agent.core.model import Identity, Selector, Snapshot, Workload
from agent.core.roster import MAX_WALKS, Roster
from tests.unit.snapshots import snapshot

FACTS = Facts(
    pid=42, started=1000, command="api", uid=1001, gid=1002, user="payments", group="pay",
    cgroup="/system.slice/api.service", cgroup_id=77, exe="/opt/api", exe_vouched=True,
    inode=5, device=1 << 20, ctime_ns=7, links=1,
)  # fmt: skip
KEY = EXECUTABLE_KEY.pack(ExecutableKey(5, 0, 77, 7, 1 << 20, 1001))
REPORT = ProcessReport(42, 3, KEY)
BEFORE = Process(
    identity=int(Identity.PENDING), uid=1001, cgroup=77, since_ns=10, inode=5, device=1 << 20,
    flags=0, generation=3, stamp=9,
)  # fmt: skip
HASH = "ab" * 32


def policy(*selectors: Selector) -> Snapshot:
    workloads = tuple(Workload(300 + i, f"w{i}", "s", (s,)) for i, s in enumerate(selectors))
    return replace(snapshot(), workloads=workloads)


def roster(*selectors: Selector) -> Roster:
    made = Roster()
    made.put_in_force(policy(*selectors))
    return made


def read(facts: Facts, before: Process | None = BEFORE) -> FactsRead:
    return FactsRead(REPORT, facts, before, now_ns=50)


def kinds(commands: list[Command]) -> list[type[Command]]:
    return [type(command) for command in commands]


def test_answer_is_written_with_the_questions_generation_and_remembered() -> None:
    commands = roster(Selector(exe="/opt/api")).on_facts(read(FACTS))
    tag, remember, sockets = commands
    assert isinstance(tag, TagProcess)
    assert (tag.after.identity, tag.after.generation, tag.after.stamp) == (300, 3, 9)
    assert tag.after.flags == ProcessFlag.ATTESTED
    assert remember == RememberExecutable(KEY, 300)
    assert sockets == WalkSockets(42), "those that it was started with"


def test_process_that_hangs_on_a_hash_stays_pending_and_is_not_remembered() -> None:
    commands = roster(Selector(sha256=HASH)).on_facts(read(FACTS))
    limit = snapshot().settings.hash_limit_mib << 20
    assert commands == [HashExecutable(REPORT, FACTS, limit)]


def test_process_that_was_somebody_is_pending_while_its_hash_is_read() -> None:
    before = BEFORE._replace(identity=300, flags=int(ProcessFlag.ATTESTED))
    tag, _ = roster(Selector(sha256=HASH)).on_facts(read(FACTS, before))
    assert isinstance(tag, TagProcess)
    assert (tag.after.identity, tag.after.flags) == (Identity.PENDING, 0)


def test_hash_that_is_there_decides_and_is_remembered() -> None:
    commands = roster(Selector(sha256=HASH)).on_facts(read(replace(FACTS, sha256=HASH)))
    assert kinds(commands) == [TagProcess, RememberExecutable, WalkSockets]


def test_executable_without_a_hash_is_not_remembered() -> None:
    commands = roster(Selector(sha256=HASH)).on_facts(read(replace(FACTS, sha256="")))
    assert kinds(commands) == [TagProcess]


def test_everyone_who_waited_is_looked_at_again() -> None:
    made = roster(Selector(sha256=HASH))
    reports = (REPORT, ProcessReport(43, 0))
    commands = made.on_hashed(ExecutableHashed(reports, "/opt/api", HASH))
    assert commands == [ReadFacts(report, made.interest) for report in reports]


def test_hash_that_cannot_be_had_is_told_once_and_not_asked_for_again() -> None:
    made = roster(Selector(sha256=HASH))
    event = ExecutableHashed((REPORT,), "/opt/api", "", "too large")
    first, second = made.on_hashed(event), made.on_hashed(event)
    assert kinds(first) == [Log, ReadFacts]
    assert second == [ReadFacts(REPORT, replace(made.interest, hashes=False))]


def test_executable_that_the_kernel_did_not_see_is_not_believed() -> None:
    """In a user namespace /proc/PID/exe can be pointed at any program."""
    made = roster(Selector(exe="/opt/api"), Selector(unit="api.service"))
    commands = made.on_facts(read(FACTS, BEFORE._replace(inode=6)))
    tag = commands[0]
    assert kinds(commands) == [TagProcess, WalkSockets]
    assert isinstance(tag, TagProcess)
    assert tag.after.identity == 301, "by its unit, not by the path"
    assert tag.after.inode == 6, "what the kernel saw stays"


def test_answer_to_an_older_question_is_thrown_away() -> None:
    newer = BEFORE._replace(generation=4)
    assert roster(Selector(exe="/opt/api")).on_facts(read(FACTS, newer)) == []


def test_walk_tags_asks_for_hashes_and_walks_again_until_nothing_changes() -> None:
    made = roster(Selector(sha256=HASH), Selector(user="payments"))
    other = replace(FACTS, pid=43, sha256="cd" * 32)
    event = ProcessesWalked({42: FACTS, 43: other}, frozenset({42, 43}), {}, 50)
    commands, last = made.on_walked(event)
    assert kinds(commands) == [TagProcess, TagProcess, HashExecutable, WalkProcesses]
    assert not last
    actual = {c.facts.pid: c.after for c in commands if isinstance(c, TagProcess)}
    assert [actual[pid].identity for pid in (42, 43)] == [Identity.PENDING, 301]
    commands, last = made.on_walked(replace(event, actual=actual))
    assert (kinds(commands), last) == ([HashExecutable], True)


def test_walks_under_endless_churn_come_to_an_end() -> None:
    made = roster(Selector(user="payments"))
    event = ProcessesWalked({42: FACTS}, frozenset({42}), {}, 50)
    assert [made.on_walked(event)[1] for _ in range(MAX_WALKS + 1)] == [False] * MAX_WALKS + [True]
