# SPDX-License-Identifier: Apache-2.0
"""From facts and the kernel's entry to the entry that should be there."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from agent.core.abi import EXECUTABLE_KEY, ExecutableKey, Process, ProcessFlag
from agent.core.attest import Facts
from agent.core.commands import (
    Command,
    ForgetProcess,
    Log,
    RememberExecutable,
    TagProcess,
    TagUnreadable,
)
from agent.core.events import FactsNotRead, FactsRead, ProcessesWalked, ProcessReport
from agent.core.model import Identity
from agent.core.tagging import (
    entry_of,
    holds,
    is_key_of,
    reconcile,
    same_tag,
    tag_reported,
    tag_unreadable,
)
from tests.unit.agent_fakes import executable_key, facts

WEB = 300
FACTS = facts(42)
PENDING = Process(
    identity=Identity.PENDING, uid=0, cgroup=7, since_ns=10, inode=1, device=2, flags=0,
    generation=3, stamp=99,
)  # fmt: skip
TAGGED = entry_of(FACTS, WEB, PENDING, 3, 20)


def answer(
    asked: int, before: Process | None, executable: bytes = b"", cacheable: bool = True
) -> list[Command]:
    event = FactsRead(ProcessReport(42, asked, executable), FACTS, before, 50)
    return tag_reported(event, WEB, cacheable)


# ---- one question


def test_answer_is_written_over_the_entry_that_was_asked_about() -> None:
    (tag,) = answer(3, PENDING)
    assert tag == TagProcess(FACTS, PENDING, TAGGED._replace(since_ns=50))
    assert isinstance(tag, TagProcess)
    assert (tag.after.generation, tag.after.stamp) == (3, 99), "it is the same image's"
    assert tag.after.flags == ProcessFlag.ATTESTED


def test_answer_to_an_older_question_is_thrown_away() -> None:
    assert answer(2, PENDING) == []


def test_answer_to_a_newer_question_than_the_entry_shows_has_the_questions_number() -> None:
    """The daemon's own write has covered the kernel's."""
    (tag,) = answer(4, PENDING)
    assert isinstance(tag, TagProcess)
    assert tag.after.generation == 4


def test_process_without_an_entry_has_ended() -> None:
    assert answer(3, None) == []


def test_entry_that_says_so_already_is_not_written() -> None:
    assert answer(3, TAGGED) == []


@pytest.mark.parametrize(
    "change", [{"identity": 1}, {"uid": 5}, {"cgroup": 8}, {"flags": 0}, {"stamp": 5}]
)
def test_tags_differ_by_what_they_say(change: dict[str, int]) -> None:
    assert not same_tag(TAGGED, TAGGED._replace(**change))


@pytest.mark.parametrize("change", [{"since_ns": 1}, {"inode": 5}, {"device": 8}])
def test_tags_do_not_differ_by_how_they_came_about(change: dict[str, int]) -> None:
    assert same_tag(TAGGED, TAGGED._replace(**change))


# ---- what the kernel may remember


def test_executable_is_remembered_with_the_answer() -> None:
    key = executable_key(FACTS)
    assert answer(3, PENDING, key)[1:] == [RememberExecutable(key, WEB)]
    assert answer(3, TAGGED, key) == [RememberExecutable(key, WEB)]
    assert len(answer(3, PENDING, key, cacheable=False)) == 1


def test_no_key_is_no_executable() -> None:
    assert not is_key_of(b"", FACTS)
    assert not is_key_of(bytes(EXECUTABLE_KEY.size), FACTS)


def test_file_of_several_paths_is_not_remembered() -> None:
    assert is_key_of(executable_key(FACTS), FACTS)
    assert not is_key_of(executable_key(FACTS), replace(FACTS, links=2))


@pytest.mark.parametrize(
    "change", [{"inode": 1}, {"ctime_sec": 1}, {"ctime_nsec": 1}, {"cgroup": 1}, {"uid": 1}]
)
def test_key_of_another_file_user_or_cgroup_is_not_remembered(change: dict[str, int]) -> None:
    """The process has been executed anew between question and answer."""
    key = ExecutableKey(FACTS.inode, 0, FACTS.cgroup_id, 0, FACTS.device, FACTS.uid)
    assert not is_key_of(EXECUTABLE_KEY.pack(key._replace(**change)), FACTS)


# ---- what cannot be read


def not_read(asked: int, before: Process | None) -> list[Command]:
    return tag_unreadable(FactsNotRead(ProcessReport(42, asked), before, "why", 50))


def test_unreadable_process_is_host() -> None:
    said, tag = not_read(3, PENDING)
    assert isinstance(said, Log)
    assert said.fields == (("pid", 42), ("reason", "why"))
    after = PENDING._replace(identity=1, since_ns=50, flags=int(ProcessFlag.ATTESTED))
    assert tag == TagUnreadable(42, PENDING, after)


def test_unreadable_answer_to_an_older_question_is_thrown_away() -> None:
    assert not_read(2, PENDING) == []
    assert not_read(3, None) == []


# ---- a walk


def walked(
    seen: dict[int, Facts], actual: dict[int, Process], living: set[int] | None = None
) -> ProcessesWalked:
    return ProcessesWalked(seen, frozenset(seen if living is None else living), actual, 50)


def test_walk_adopts_whom_the_kernel_does_not_know() -> None:
    assert reconcile(walked({42: FACTS}, {}), {42: WEB}) == [
        TagProcess(FACTS, None, entry_of(FACTS, WEB, None, 0, 50))
    ]


def test_walk_forgets_whoever_has_ended() -> None:
    assert reconcile(walked({}, {42: TAGGED}), {}) == [ForgetProcess(42, TAGGED)]


def test_walk_leaves_a_living_process_that_cannot_be_read_as_it_is() -> None:
    assert reconcile(walked({}, {42: PENDING}, living={42}), {}) == []


def test_walk_answers_a_question_that_was_never_heard() -> None:
    (tag,) = reconcile(walked({42: FACTS}, {42: PENDING}), {42: WEB})
    assert tag == TagProcess(FACTS, PENDING, TAGGED._replace(since_ns=50))


def test_walk_leads_from_any_entries_to_those_that_should_be() -> None:
    """Any entries before, any processes now; what is written is done to a dictionary."""
    people = {pid: replace(FACTS, pid=pid, started=pid) for pid in (1, 2, 3)}
    choices = (None, PENDING, TAGGED, TAGGED._replace(identity=301))
    for entries in itertools.product(choices, repeat=3):
        for count in range(4):
            actual = {pid: e for pid, e in zip((1, 2, 3), entries, strict=True) if e is not None}
            seen = {pid: people[pid] for pid in range(1, count + 1)}
            after = dict(actual)
            for command in reconcile(walked(seen, actual), dict.fromkeys(seen, WEB)):
                if isinstance(command, TagProcess):
                    after[command.facts.pid] = command.after
                elif isinstance(command, ForgetProcess):
                    del after[command.pid]
            assert {pid: e.identity for pid, e in after.items()} == dict.fromkeys(seen, WEB)
            assert reconcile(walked(seen, after), dict.fromkeys(seen, WEB)) == []


@pytest.mark.parametrize(
    ("entry", "stands"),
    [
        (TAGGED, True),
        (TAGGED._replace(uid=5), False),
        (TAGGED._replace(cgroup=8), False),
        (PENDING, False),
    ],
)
def test_entry_holds_for_the_user_and_cgroup_that_were_attested(
    entry: Process, stands: bool
) -> None:
    assert holds(entry, FACTS) == stands


# ---- conflicts
