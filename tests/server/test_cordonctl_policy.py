# SPDX-License-Identifier: Apache-2.0
"""`cordonctl` against a real controller: policy tried, compared and applied, and its rollout
followed until every host enforces it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli.output import Exit
from controller.access_records import Role
from controller.store import SqlStorage
from tests.server.administering import PATIENCE, POLICY, Hosts
from tests.server.commanding import OTHER, Ctl, following, logged_in, pair
from tests.server.served import Served
from tests.unit.policies import WEB_TO_DB


@pytest.fixture
def operator(served: Served, storage: SqlStorage, tmp_path: Path) -> Ctl:
    return logged_in(served, storage, tmp_path, Role.OPERATOR)


@pytest.fixture
def hosts(served: Served, storage: SqlStorage) -> Iterator[Hosts]:
    with following(served, storage) as made:
        yield made


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A folder with the base policy."""
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "base.yaml").write_text(POLICY)
    return folder


def test_problems_are_shown_with_file_line_and_source_and_nothing_is_changed(
    operator: Ctl, storage: SqlStorage, policy: Path
) -> None:
    before = storage.fleet().head
    bad = policy / "bad.yaml"
    bad.write_text("kind: Segment\nname: x\nmode: maybe\n")
    message = operator.refused(Exit.BAD_INPUT, "apply", "-f", policy, "-m", "x")
    assert message == (
        f"cordonctl: {bad}:3: mode: expected off, audit or enforce, got 'maybe'\n"
        "     3 | mode: maybe\n"
    )
    answer = operator.json("apply", "-f", policy, "-m", "x", status=Exit.BAD_INPUT)
    assert (answer["revision"], answer["problems_total"]) == (0, 1)
    assert answer["problems"][0] == {
        "file": str(bad), "line": 3, "field": "mode",
        "message": "expected off, audit or enforce, got 'maybe'",
    }  # fmt: skip
    assert message in operator.refused(Exit.BAD_INPUT, "diff", "-f", policy)
    assert storage.fleet().head == before


def test_a_policy_is_tried_compared_applied_and_pruned(
    operator: Ctl, storage: SqlStorage, policy: Path
) -> None:
    tried = operator.good("apply", "-f", policy, "--dry-run")
    assert "created  Allow     web-to-db\n" in tried
    assert "dry run, nothing was changed: 7 documents on 0 hosts\n" in tried
    before = storage.fleet().head.revision
    compared = operator("diff", "-f", policy)
    assert compared.exit_code == Exit.REFUSED
    assert f"against revision {before}: 7 documents on 0 hosts\n" in compared.stdout
    assert "web-to-db" in compared.stdout
    applied = operator.json("apply", "-f", policy, "-m", "the first")
    assert (applied["revision"], applied["changes_total"]) == (before + 1, 7)
    assert {one["change"] for one in applied["changes"]} == {"created"}
    assert operator.good("diff", "-f", policy).endswith("0 documents on 0 hosts\n")
    again = operator.good("apply", "-f", policy, "-m", "the same")
    assert again == "nothing to change: the newest revision says all of it\n"
    text = (policy / "base.yaml").read_text().replace("6379", "6380")
    updated = operator.json("apply", "-f", "-", "-m", "moved", stdin=text)
    assert [(one["change"], one["name"]) for one in updated["changes"]] == [
        ("updated", "web-to-db")
    ]
    without = text.replace(WEB_TO_DB.replace("6379", "6380"), "")
    assert without != text
    kept = operator.good("apply", "-f", "-", "-m", "less", stdin=without)
    assert kept.startswith("nothing to change")
    pruned = operator.json("apply", "-f", "-", "-m", "less", "--prune", stdin=without)
    assert [(one["change"], one["name"]) for one in pruned["changes"]] == [("deleted", "web-to-db")]


def test_somebody_who_was_faster_is_a_conflict(
    operator: Ctl, storage: SqlStorage, policy: Path
) -> None:
    operator.good("apply", "-f", policy, "-m", "x")
    newest = storage.fleet().head.revision
    message = operator.refused(
        Exit.REFUSED, "apply", "-f", "-", "-m", "x", "--expected-revision", newest + 7, stdin=OTHER
    )
    assert "`cordonctl history`" in message
    assert storage.fleet().head.revision == newest


# Rollouts.


def test_waiting_ends_when_every_host_enforces_it(
    operator: Ctl, hosts: Hosts, policy: Path
) -> None:
    web, db = pair(hosts)
    operator.good("apply", "-f", policy, "-m", "x")
    told = operator.good("apply", "-f", "-", "-m", "x", "--wait", stdin=OTHER)
    assert told.splitlines()[-1].endswith("2 of 2 hosts enforce it")
    assert web.version == db.version
    shown = operator.json("rollout")
    assert (shown["version"], shown["enforced"], shown["done"]) == (web.version, 2, True)
    assert operator.json("rollout", web.version, "--watch")["enforced"] == 2


def test_a_host_that_refuses_is_named_with_its_reason_and_status_1(
    operator: Ctl, hosts: Hosts, policy: Path
) -> None:
    pair(hosts, refuses=True)
    text = OTHER.replace("6380", "6381")
    operator.good("apply", "-f", policy, "-m", "x")
    result = operator("apply", "-f", "-", "-m", "x", "--wait", stdin=text)
    assert result.exit_code == Exit.REFUSED, (result.stdout, result.stderr)
    version = result.stdout.split("version ")[1].split(":")[0]
    assert f"cordonctl: b refused version {version}: the kernel is full\n" in result.stderr
    assert result.stdout.splitlines()[-1] == (
        f"version {version}: 1 of 2 hosts enforce it, 1 refused"
    )
    again = operator("rollout")
    assert again.exit_code == Exit.REFUSED
    assert "b     the kernel is full\n" in again.stdout
    answer = operator.json(
        "apply", "-f", "-", "-m", "x", "--wait", status=Exit.REFUSED,
        stdin=text.replace("6381", "6382"),
    )  # fmt: skip
    assert answer["rollout"]["refusals"] == [{"host": "b", "message": "the kernel is full"}]


def test_a_wait_that_is_over_or_broken_off_takes_nothing_back(
    operator: Ctl, hosts: Hosts, policy: Path, storage: SqlStorage
) -> None:
    _, db = pair(hosts)
    operator.good("apply", "-f", policy, "-m", "x")
    hosts.mute(db)
    text = OTHER.replace("6380", "6383")
    late = operator("apply", "-f", "-", "-m", "x", "--wait", "--timeout", "2s", stdin=text)
    assert late.exit_code == Exit.REFUSED, (late.stdout, late.stderr)
    assert "after 2 s 1 host has not answered" in late.stderr
    version = storage.fleet().head.version
    assert f"`cordonctl rollout {version} --watch`" in late.stderr
    child = operator.start("rollout", version, "--watch")
    assert child.stderr is not None
    first = child.stderr.readline()
    assert "1 on its way" in first
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=PATIENCE)
    assert child.returncode == Exit.REFUSED
    assert "it goes on without you" in said
    assert "Traceback" not in said
