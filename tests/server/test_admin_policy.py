# SPDX-License-Identifier: Apache-2.0
"""Policy by administrators: all or nothing, and an answer that says what it changes.

What an upload may be is `test_admin_upload`'s, what comes of old revisions `test_admin_history`'s.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from agent.pb import admin_pb2 as pb
from controller.records import Page
from controller.store import SqlStorage
from tests.lab.waiting import wait_until
from tests.server.administering import (
    ALLOW,
    COMMENTED,
    PATIENCE,
    POLICY,
    Administrator,
    Hosts,
    file,
    kinds,
    problems,
    refusal,
    three_hosts,
)
from tests.server.served import Served
from tests.unit.policies import BASE, WEB_TO_DB


@pytest.fixture
def base(editor: Administrator) -> int:
    """The revision, with the base policy and nothing else."""
    editor.policy(POLICY, prune=True)
    return int(editor("ListRevisions", page_size=1).revisions[0].number)


@pytest.fixture(scope="module")
def hosts(served: Served) -> Iterator[Hosts]:
    with three_hosts(served) as made:
        yield made


@pytest.mark.usefixtures("hosts")
def test_what_is_applied_is_kept_word_for_word(editor: Administrator, base: int) -> None:
    applied = editor.policy(COMMENTED, why="more")
    assert applied.revision == base + 1
    assert kinds(applied) == {"Allow/extra": pb.CHANGE_KIND_CREATED}
    assert applied.hosts_touched == 2
    assert editor.documents(("Allow", "")) == {
        "Allow/extra": COMMENTED,
        "Allow/web-to-db": WEB_TO_DB.removesuffix("---\n"),
    }
    assert "Allow/extra" not in editor.documents(revision=base)
    changed = editor.policy(COMMENTED.replace("tcp/1", "tcp/2"))
    assert kinds(changed) == {"Allow/extra": pb.CHANGE_KIND_UPDATED}
    assert changed.changes[0].diff == (
        "@@ -3,5 +3,5 @@\n name: extra\n from: {workload: web}\n to: {workload: db}\n"
        "-ports: [tcp/1]\n+ports: [tcp/2]\n # end\n"
    )
    newest = editor("ListRevisions", page_size=2).revisions
    assert [(r.number, r.who, r.why, r.documents, r.changes) for r in newest] == [
        (base + 2, "editor", "test", 8, 1),
        (base + 1, "editor", "more", 8, 1),
    ]


def test_the_same_again_is_no_revision(
    editor: Administrator, base: int, storage: SqlStorage
) -> None:
    head, entries = storage.head(), storage.audit(0, Page(1)).items[0].number
    for text in (POLICY, WEB_TO_DB, "\n" + WEB_TO_DB + "\n---\n---\n"):
        again = editor.policy(text)
        assert (again.revision, again.version, again.changes_total) == (0, 0, 0)
    assert editor.apply().revision == 0
    assert storage.head() == head
    assert storage.audit(0, Page(1)).items[0].number == entries
    assert base == head.revision


@pytest.mark.usefixtures("hosts", "base")
@pytest.mark.parametrize("prune", [False, True])
def test_a_dry_run_and_a_diff_tell_all_and_change_nothing(
    editor: Administrator, storage: SqlStorage, prune: bool
) -> None:
    text = BASE + COMMENTED
    head, entries = storage.head(), storage.audit(0, Page(1)).items[0].number
    dry = editor.apply(file(text), prune=prune, dry_run=True, why="")
    diff = editor.diff(file(text), prune=prune)
    assert storage.head() == head
    assert storage.audit(0, Page(1)).items[0].number == entries
    assert (dry.revision, dry.version, diff.revision) == (0, 0, head.revision)
    done = editor.policy(text, prune=prune)
    assert dry.changes == diff.changes == done.changes
    assert dry.hosts_touched == diff.hosts_touched == done.hosts_touched == 2
    gone = {"Allow/web-to-db": pb.CHANGE_KIND_DELETED} if prune else {}
    assert kinds(done) == {"Allow/extra": pb.CHANGE_KIND_CREATED, **gone}
    assert ("Allow/web-to-db" in editor.documents()) is not prune


WRONG = [
    ("not yaml", "a: [", (2, "", "not valid YAML")),
    ("not a document", "kind: Allwo\nname: x", (1, "kind", "expected one of Workload")),
    ("a field", WEB_TO_DB.replace("tcp/6379", "tcp/x"), (5, "ports[0]", "expected a port")),
    ("twice", WEB_TO_DB + WEB_TO_DB, (8, "name", "expected a new name")),
    ("a name", WEB_TO_DB.replace("workload: db", "workload: dbx"), (4, "to.workload", "there is")),
    ("a tie", BASE.replace("redis", "nginx").replace("db}", "web}"), (23, "match[0]", "a tie")),
]


@pytest.mark.usefixtures("hosts", "base")
@pytest.mark.parametrize(("what", "text", "expected"), WRONG, ids=[w[0] for w in WRONG])
def test_what_is_wrong_is_said_with_its_place_and_nothing_of_it_is_done(
    editor: Administrator, storage: SqlStorage, what: str, text: str, expected: tuple[int, str, str]
) -> None:
    head, (line, field, words) = storage.head(), expected
    good = file(ALLOW.format(name="fine", port="tcp/9"), "good.yaml")
    answer = editor.apply(good, file(text, "bad.yaml"))
    found = problems(answer)
    there = [m for *place, m in found if place == ["bad.yaml", line, field]]
    assert any(message.startswith(words) for message in there), found
    assert (answer.revision, answer.version, answer.changes_total) == (0, 0, 0)
    assert answer.problems_total == len(answer.problems)
    assert problems(editor.diff(good, file(text, "bad.yaml"))) == found
    assert storage.head() == head


def test_a_problem_of_a_document_that_was_applied_long_ago_names_its_place(
    editor: Administrator, base: int
) -> None:
    text = "kind: Segment\nname: later\nmode: audit\n---\n" + ALLOW.format(name="x", port="tcp/1")
    editor.policy(text)
    names = [pb.DocumentName(kind="Workload", name="web")]
    refused = editor("DeleteDocuments", documents=names, why="w").result
    assert (refused.revision, refused.problems_total) == (0, 2)
    assert ("p.yaml", 5, "from.workload") in {p[:3] for p in problems(refused)}
    assert base + 1 == editor("ListRevisions").revisions[0].number


def test_many_problems_are_counted(editor: Administrator) -> None:
    text = "---\n".join(f"kind: Allow\nname: n{n}\n" for n in range(600))
    answer = editor.apply(file(text))
    assert len(answer.problems) == 1000
    assert answer.problems_total == 600 * 3
    assert answer.ByteSize() < 4 * 1024 * 1024


def test_who_expects_another_revision_is_told_of_the_conflict(
    editor: Administrator, base: int, storage: SqlStorage
) -> None:
    editor.policy(COMMENTED, expected_revision=base)
    text = ALLOW.format(name="late", port="tcp/3")
    names = [pb.DocumentName(kind="Allow", name="extra")]
    head = storage.head()
    for refused in (
        refusal(lambda: editor.apply(file(text), expected_revision=base)),
        refusal(lambda: editor.apply(file(text), expected_revision=base, dry_run=True)),
        editor.refused("DeleteDocuments", documents=names, why="w", expected_revision=base),
        editor.refused("Rollback", revision=base, why="w", expected_revision=base),
    ):
        assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "CONFLICT")
    assert storage.head() == head


def test_of_many_at_once_each_has_its_revision_and_nothing_is_lost(
    editor: Administrator, base: int
) -> None:
    texts = [ALLOW.format(name=f"n{n}", port=f"tcp/{n + 1}") for n in range(3)]
    with ThreadPoolExecutor(len(texts)) as pool:
        answers = list(pool.map(editor.policy, texts))
    assert sorted(a.revision for a in answers) == [base + 1, base + 2, base + 3]
    assert {f"Allow/n{n}" for n in range(3)} <= set(editor.documents())


@pytest.mark.usefixtures("base")
def test_documents_are_deleted_by_name(editor: Administrator) -> None:
    def delete(*names: tuple[str, str], why: str = "w") -> dict[str, Any]:
        documents = [pb.DocumentName(kind=kind, name=name) for kind, name in names]
        return {"documents": documents, "why": why}

    result = editor("DeleteDocuments", **delete(("Allow", "web-to-db"))).result
    assert kinds(result) == {"Allow/web-to-db": pb.CHANGE_KIND_DELETED}
    entry = editor("ListAudit", page_size=1).entries[0]
    assert (entry.what, entry.version) == ("DeleteDocuments", result.version)
    assert editor.refused("DeleteDocuments", **delete(("Allow", "web-to-db"))).reason == "UNKNOWN"
    for wrong in (delete(), delete(("Allow", "")), delete(("Allow", "x"), why="")):
        assert editor.refused("DeleteDocuments", **wrong).reason == "BOUNDS"


@pytest.mark.usefixtures("base")
def test_what_may_lock_administrators_out_has_to_be_forced(
    editor: Administrator, storage: SqlStorage
) -> None:
    closed = file("kind: Segment\nname: default\nmode: enforce\n", "closed.yaml")
    lifeline = file(
        "kind: Lifeline\nname: ssh\ndirection: in\npeer: {cidr: 198.51.100.0/24}\nports: [tcp/22]\n"
    )
    words = "no lifeline covers administration"
    head = storage.head()
    refused = editor.apply(closed)
    assert [p[:3] for p in problems(refused)] == [("closed.yaml", 3, "mode")]
    assert words in refused.problems[0].message
    assert storage.head() == head
    assert any(words in w.message for w in editor.diff(closed).warnings)
    assert editor.apply(closed, lifeline, dry_run=True).problems_total == 0
    forced = editor.apply(closed, force=True)
    assert forced.revision
    assert any(words in w.message for w in forced.warnings)
    later = editor.apply(file(COMMENTED))  # it is so already
    assert later.revision
    assert not later.problems
    editor.policy(lifeline.content.decode())
    names = [pb.DocumentName(kind="Lifeline", name="ssh")]
    kept = editor("DeleteDocuments", documents=names, why="w").result
    assert words in kept.problems[0].message
    assert "Lifeline/ssh" in editor.documents()
    back = editor("Rollback", revision=later.revision, why="w").result  # a way back is never shut
    assert back.revision
    assert any(words in w.message for w in back.warnings)


@pytest.mark.usefixtures("hosts", "base")
def test_warnings_do_not_stand_in_the_way(editor: Administrator) -> None:
    text = ALLOW.format(name="net", port="tcp/1").replace("workload: db", "cidr: 192.0.2.0/24")
    answer = editor.apply(file(text))
    assert answer.revision
    assert [w.message.partition(",")[0] for w in answer.warnings] == [
        "192.0.2.0/24 holds an address of host a"
    ]


@pytest.mark.usefixtures("base")
def test_what_is_wrong_because_time_is_over_does_not_stand_in_the_way(
    editor: Administrator,
) -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    brief = f"kind: Workload\nname: brief\nsegment: front\nuntil: {soon}\nmatch: [{{exe: /x}}]\n"
    rule = ALLOW.format(name="to-brief", port="tcp/1").replace("workload: db", "workload: brief")
    editor.policy(f"{brief}---\n{rule}")

    def over() -> bool:
        answer = editor.diff(file(COMMENTED))
        return any("its time is over" in w.message for w in answer.warnings)

    wait_until(over, "the workload's time to be over", PATIENCE)
    answer = editor.apply(file(COMMENTED))
    assert answer.revision
    assert any("there is no Workload brief" in w.message for w in answer.warnings)
    newly = editor.apply(file(rule.replace("name: to-brief", "name: again")))
    assert newly.revision  # its author is warned likewise
    assert [p.field for p in editor.apply(file(rule.replace("brief", "none"))).problems] == [
        "to.workload"
    ]


def test_a_store_that_cannot_be_written_refuses_changes_and_is_read_all_the_same(
    editor: Administrator, base: int, served: Served, storage: SqlStorage
) -> None:
    head = storage.head()
    path = served.site.folder / "state" / "cordon.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        names = [pb.DocumentName(kind="Allow", name="web-to-db")]
        for refused in (
            refusal(lambda: editor.apply(file(COMMENTED))),
            editor.refused("DeleteDocuments", documents=names, why="w"),
        ):
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE")
            assert refused.retry is not None
        assert editor("ListRevisions", page_size=1).revisions[0].number == base
        assert kinds(editor.diff(file(COMMENTED))) == {"Allow/extra": pb.CHANGE_KIND_CREATED}
        other.execute("ROLLBACK")
    assert storage.head() == head
    assert editor.policy(COMMENTED).revision == base + 1
