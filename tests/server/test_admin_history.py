# SPDX-License-Identifier: Apache-2.0
"""Revisions of policy: listed, read, and gone back to, on the hosts too."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from agent.core.content import digest
from agent.pb import admin_pb2 as pb
from tests.lab.waiting import wait_until
from tests.server import client
from tests.server.administering import (
    COMMENTED,
    PATIENCE,
    POLICY,
    Administrator,
    Hosts,
    kinds,
    refusal,
    three_hosts,
)
from tests.server.served import Served
from tests.unit.policies import BASE


@pytest.fixture
def base(editor: Administrator) -> int:
    """The revision, with the base policy and nothing else."""
    editor.policy(POLICY, prune=True)
    return int(editor("ListRevisions", page_size=1).revisions[0].number)


@pytest.fixture(scope="module")
def hosts(served: Served) -> Iterator[Hosts]:
    with three_hosts(served) as made:
        yield made


@pytest.mark.usefixtures("base")
def test_rollback_is_equal_to_the_old_revision_on_hosts_too(
    editor: Administrator, hosts: Hosts
) -> None:
    web = hosts.follow(hosts.enrol("roll", "192.0.2.77", {"role": "web"}))
    old = editor.policy(COMMENTED)
    wait_until(lambda: web.rules == ["extra", "web-to-db"], "the rule to come", PATIENCE)
    documents, content = editor.documents(), digest(web.agent.held.entries)
    editor.policy(COMMENTED.replace("tcp/1", "tcp/2"))
    newest = editor.policy(BASE, prune=True)
    wait_until(lambda: web.version == newest.version, "the rules to go", PATIENCE)
    assert web.rules == []
    back = editor("Rollback", revision=old.revision, why="too much").result
    assert kinds(back) == dict.fromkeys(["Allow/extra", "Allow/web-to-db"], pb.CHANGE_KIND_CREATED)
    assert editor.documents() == documents
    wait_until(lambda: web.version == back.version, "the rules to come back", PATIENCE)
    assert digest(web.agent.held.entries) == content
    assert editor("ListRevisions").revisions[0].rollback_of == old.revision
    again = editor("Rollback", revision=old.revision, why="again").result
    assert (again.revision, again.changes_total) == (0, 0)
    assert editor.refused("Rollback", revision=10_000, why="w").reason == "UNKNOWN"
    assert editor.refused("Rollback", revision=0, why="w").reason == "BOUNDS"
    hosts.storage.revoke_host("roll", client.OPERATOR, "w", int(time.time()))


def test_history_comes_in_pages(editor: Administrator, base: int) -> None:
    seen, token = [], ""
    while True:
        page = editor("ListRevisions", page_size=2, page_token=token)
        assert len(page.revisions) <= 2
        seen += [one.number for one in page.revisions]
        if not (token := page.next_page_token):
            break
    assert seen == list(range(base, 0, -1))


@pytest.mark.usefixtures("base")
def test_documents_are_found_by_kind_name_and_revision(editor: Administrator) -> None:
    assert set(editor.documents(("Segment", ""))) == {
        "Segment/front",
        "Segment/data",
        "Segment/lone",
    }
    assert set(editor.documents(("", "web"), ("Allow", "web-to-db"))) == {
        "Workload/web",
        "Allow/web-to-db",
    }
    assert editor.documents(("Lifeline", "")) == {}
    assert refusal(lambda: editor.documents(("Allow", "none"))).reason == "UNKNOWN"
    assert refusal(lambda: editor.documents(revision=10_000)).reason == "UNKNOWN"
