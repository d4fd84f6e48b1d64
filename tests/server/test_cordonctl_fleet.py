# SPDX-License-Identifier: Apache-2.0
"""`cordonctl` against a real controller: documents, hosts, quarantine, settings, who did what."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent.cli.output import Exit
from controller.access_records import Role
from controller.store import SqlStorage
from tests.lab.waiting import wait_until
from tests.server.administering import PATIENCE, POLICY, Follower, Hosts
from tests.server.commanding import Ctl, following, logged_in, pair
from tests.server.served import Served
from tests.unit.policies import WEB_TO_DB

WHY = ("-m", "because of a test")


@pytest.fixture(scope="module")
def operator(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Ctl:
    with served.site.store() as storage:
        return logged_in(served, storage, tmp_path_factory.mktemp("ctl"), Role.OPERATOR)


@pytest.fixture
def hosts(served: Served, storage: SqlStorage) -> Iterator[Hosts]:
    with following(served, storage) as made:
        yield made


@pytest.fixture
def web(hosts: Hosts, policy: None) -> Follower:
    """One of two hosts that enforce the base policy; the other one is b, of db."""
    one, other = pair(hosts)
    wait_until(lambda: (one.rules, other.rules) == (["web-to-db"],) * 2, "both hosts", PATIENCE)
    return one


@pytest.fixture
def policy(operator: Ctl) -> None:
    """The base policy and nothing else."""
    operator.good("apply", "-f", "-", *WHY, "--prune", stdin=POLICY)


# Documents.


def test_documents_come_back_as_they_were_applied(operator: Ctl, policy: None) -> None:
    listed = operator.json("get")
    assert {(one["kind"], one["name"]) for one in listed} >= {
        ("Allow", "web-to-db"), ("Segment", "front"), ("Workload", "hermit"),
    }  # fmt: skip
    (allow,) = operator.json("get", "allows", "web-to-db")
    assert allow["document"] == yaml.safe_load(WEB_TO_DB.replace("---", ""))
    whole = operator.good("get", "-o", "yaml")
    again = operator.good("apply", "-f", "-", *WHY, "--prune", stdin=whole)
    assert again.startswith("nothing to change")
    table = operator.good("get", "allow")
    assert table.splitlines()[0].split() == ["KIND", "NAME", "SINCE"]
    assert table.splitlines()[1].split()[:2] == ["Allow", "web-to-db"]


def test_a_document_that_is_not_there_is_status_1(operator: Ctl, policy: None) -> None:
    message = operator.refused(Exit.REFUSED, "get", "allow", "nope")
    assert "nope" in message
    assert "`cordonctl get` shows what there is" in message


def test_what_is_deleted_comes_back_by_a_rollback(operator: Ctl, web: Follower) -> None:
    before = operator.json("history", "-n", 1)[0]["number"]
    gone = operator.json("delete", "allow", "web-to-db", *WHY, "--wait")
    assert (gone["revision"], gone["rollout"]["enforced"]) == (before + 1, 2)
    assert web.rules == []
    told = operator.good("rollback", before, *WHY, "--wait")
    assert "created  Allow  web-to-db\n" in told
    assert web.rules == ["web-to-db"]
    newest, deleted = operator.json("history", "-n", 2)
    assert (newest["rollback_of"], deleted["rollback_of"]) == (before, 0)
    assert (newest["who"], newest["why"]) == ("operator", WHY[1])
    old = operator.good("get", "allow", "-o", "yaml", "--revision", deleted["number"])
    assert "web-to-db" not in old
    message = operator.refused(Exit.REFUSED, "rollback", 9999, *WHY)
    assert "`cordonctl history`" in message


def test_history_and_audit_say_who_did_what_when_and_why(operator: Ctl, policy: None) -> None:
    history = operator.good("history")
    assert history.splitlines()[0].split()[:3] == ["REVISION", "VERSION", "AT"]
    assert WHY[1] in history
    operator.refused(Exit.REFUSED, "hosts", "show", "nobody")
    entries = operator.json("audit", "-n", 1000)
    numbers = [one["number"] for one in entries]
    assert numbers == sorted(numbers, reverse=True)
    assert {"Apply", "Login"} <= {one["what"] for one in entries}
    assert operator.json("audit", "--since", "2999-01-01") == []
    assert len(operator.json("audit", "-n", 2)) == 2
    recent = operator.json("audit", "--since", "10m", "-n", 1000)
    assert min(one["at"] for one in recent) >= time.time() - 660


def test_what_was_refused_for_its_role_is_in_the_audit_log(
    served: Served, storage: SqlStorage, operator: Ctl, tmp_path: Path
) -> None:
    viewer = logged_in(served, storage, tmp_path, Role.VIEWER, "vera")
    viewer.refused(Exit.NOT_PERMITTED, "settings", "set", "lease=2h", *WHY)
    newest = operator.json("audit", "-n", 1)[0]
    assert newest["what"] == "UpdateSettings"
    assert newest["who"].endswith("/vera")
    assert newest["refused"]


# Hosts.


def test_hosts_are_shown_with_what_they_enforce(operator: Ctl, web: Follower) -> None:
    wait_until(
        lambda: all(one["current"] for one in operator.json("hosts", "list")),
        "the hosts' versions to be written down", PATIENCE,
    )  # fmt: skip
    found = {one["name"]: one for one in operator.json("hosts", "list", "--state", "connected")}
    assert set(found) == {"a", "b"}
    assert found["a"]["addresses"] == ["192.0.2.1"]
    table = operator.good("hosts", "list", "--label", "role=db")
    (row,) = table.splitlines()[1:]
    assert row.split()[:3] == ["b", str(found["b"]["number"]), "connected"]
    shown = operator.good("hosts", "show", "a")
    assert f"policy       version {found['a']['version']}, the newest for it\n" in shown
    assert "addresses    192.0.2.1, as it reports\n" in shown
    assert "controller   ctl-1\n" in shown
    assert operator.json("hosts", "show", "a")["host"]["state"] == "connected"


def test_labels_are_set_and_removed(operator: Ctl, web: Follower) -> None:
    answer = operator.json("hosts", "label", "a", "zone=x,tier=1", "--wait")
    assert answer["host"]["labels"] == {"role": "web", "zone": "x", "tier": "1"}
    told = operator.good("hosts", "label", "a", "zone-", "tier-", *WHY)
    assert told == "host a: role=web; 192.0.2.1\n"
    message = operator.refused(Exit.REFUSED, "hosts", "label", "nobody", "a=b")
    assert "`cordonctl hosts list`" in message


def test_the_network_of_a_host_is_set(operator: Ctl, web: Follower) -> None:
    operator.good(
        "hosts", "set", "b", "--address", "192.0.2.22", "--network", "192.0.2.0/24", "--no-tags",
        "--nat", *WHY,
    )  # fmt: skip
    shown = operator.json("hosts", "show", "b")
    assert (shown["host"]["addresses"], shown["networks"]) == (["192.0.2.22"], ["192.0.2.0/24"])
    assert (shown["addresses_fixed"], shown["tags_off"], shown["nat"]) == (True, True, True)
    operator.good(
        "hosts", "set", "b", "--reported-addresses", "--any-network", "--tags", "--no-nat", *WHY
    )
    shown = operator.json("hosts", "show", "b")
    assert (shown["networks"], shown["addresses_fixed"]) == ([], False)
    assert (shown["tags_off"], shown["nat"]) == (False, False)
    operator.refused(Exit.BAD_INPUT, "hosts", "set", "b", "--network", "everything", *WHY)


def test_a_host_that_is_revoked_is_known_to_nobody(
    operator: Ctl, hosts: Hosts, web: Follower
) -> None:
    lost = hosts.follow(hosts.enrol("c", "192.0.2.3", {"role": "db"}))
    wait_until(lambda: "c" in web.peers, "a to know c", PATIENCE)
    told = operator.good("hosts", "revoke", "c", *WHY, "--wait")
    assert told.startswith("host c is revoked; ")
    assert "c" not in web.peers
    wait_until(lambda: lost.ended is not None, "its stream to end", PATIENCE)
    revoked = {one["name"] for one in operator.json("hosts", "list", "--state", "revoked")}
    assert "c" in revoked
    assert [one["name"] for one in operator.json("hosts", "list")] == ["a", "b"]
    assert "c" in operator.refused(Exit.REFUSED, "hosts", "revoke", "c", *WHY)


# Quarantine.


def test_a_host_is_cut_off_until_it_is_lifted(operator: Ctl, web: Follower) -> None:
    before = time.time()
    answer = operator.json("quarantine", "host", "b", "--until", "2h", *WHY, "--wait")
    assert before + 7_199 <= answer["until"] <= time.time() + 7_200
    assert answer["rollout"]["refused"] == 0
    assert "b" not in web.peers
    (entry,) = operator.json("quarantine", "list")
    assert (entry["host"], entry["who"], entry["why"]) == ("b", "operator", WHY[1])
    assert operator.json("hosts", "show", "b")["host"]["quarantined"] is True
    told = operator.good("quarantine", "lift", "host", "b", *WHY, "--wait")
    assert told.startswith("host b is free again, where version ")
    assert "b" in web.peers
    assert operator.json("quarantine", "list") == []
    message = operator.refused(Exit.REFUSED, "quarantine", "lift", "host", "b", *WHY)
    assert "`cordonctl quarantine list`" in message


def test_a_workload_is_cut_off_on_every_host(operator: Ctl, web: Follower) -> None:
    question = ["explain", "--fleet", "--from", "web", "--to", "db", "--port", "tcp/6379"]
    assert operator.json(*question)["result"] == "allowed"
    told = operator.good("quarantine", "workload", "web", "--until", "1d", *WHY)
    assert told.startswith("workload web is in quarantine until ")
    listed = operator.good("quarantine", "list")
    assert listed.splitlines()[1].split()[:2] == ["workload", "web"]
    wait_until(
        lambda: operator(*question).exit_code == Exit.REFUSED, "the quarantine to hold", PATIENCE
    )
    operator.good("quarantine", "lift", "workload", "web", *WHY)
    assert operator.json("quarantine", "list") == []


# Would it pass?


def test_explain_answers_for_the_fleet(operator: Ctl, web: Follower) -> None:
    words = ["explain", "--fleet", "--from", "web", "--to", "db", "--port"]
    wait_until(
        lambda: operator(*words, "tcp/6379").exit_code == Exit.OK, "the policy to hold", PATIENCE
    )
    told = operator.good(*words, "tcp/6379")
    assert told.startswith("web -> db tcp/6379: allowed (version ")
    assert "egress at a" in told
    assert "ingress at b" in told
    assert "Allow/web-to-db" in told
    refused = operator(*words, "tcp/6380")
    assert refused.exit_code == Exit.REFUSED
    missing = yaml.safe_load(refused.stdout.partition("missing:\n")[2])
    assert (missing["kind"], missing["ports"]) == ("Allow", ["tcp/6380"])
    answer = operator.json(*words, "tcp/6380", status=Exit.REFUSED)
    assert (answer["from"], answer["result"]) == ("web", "refused")
    assert {end["direction"] for end in answer["ends"]} == {"egress", "ingress"}
    assert {end["mode"] for end in answer["ends"]} == {"enforce"}


@pytest.mark.parametrize(("party", "port"), [("nobody", "tcp/1"), ("web", "tcp/nonsense")])
def test_a_question_about_nobody_is_status_2(
    operator: Ctl, web: Follower, party: str, port: str
) -> None:
    words = ["explain", "--fleet", "--from", party, "--to", "db", "--port", port]
    assert operator.refused(Exit.BAD_INPUT, *words).startswith("cordonctl: ")


# Settings and administrators.


def test_settings_are_read_and_changed(operator: Ctl, policy: None) -> None:
    before = operator.json("settings", "get")
    answer = operator.json("settings", "set", "lease=2h", "hold_limit_ms=1500", *WHY)
    assert answer["settings"] == {**before, "lease_seconds": 7_200, "hold_limit_ms": 1500}
    assert "lease                      2h\n" in operator.good("settings", "get")
    back = f"lease_seconds={before['lease_seconds']}"
    told = operator.good("settings", "set", back, f"hold_limit_ms={before['hold_limit_ms']}", *WHY)
    assert "lease 1h" in told
    assert operator.json("settings", "get") == before
    assert operator.refused(Exit.BAD_INPUT, "settings", "set", "lease=1s", *WHY)


def test_administrators_are_listed_and_revoked_but_for_the_last_operator(
    served: Served, storage: SqlStorage, operator: Ctl, tmp_path: Path
) -> None:
    erika = logged_in(served, storage, tmp_path, Role.EDITOR, "erika")
    found = {one["name"]: one for one in operator.json("admins", "list")}
    assert (found["erika"]["role"], found["erika"]["revoked"]) == ("editor", False)
    assert operator.good("admins", "revoke", "erika", *WHY) == "administrator erika is revoked\n"
    assert "`cordonctl login`" in erika.refused(Exit.NOT_PERMITTED, "whoami")
    table = operator.good("admins", "list")
    assert any(line.split()[0] == "erika" and "revoked" in line for line in table.splitlines())
    last = operator.refused(Exit.REFUSED, "admins", "revoke", "operator", *WHY)
    assert "`cordonctl token create --admin NAME --role operator`" in last
    assert "`cordonctl admins list`" in operator.refused(
        Exit.REFUSED, "admins", "revoke", "nobody", *WHY
    )


# Bounds.


@pytest.mark.parametrize(
    "arguments",
    [
        ["rollback", "1", "-m", "x" * 1001],
        ["rollback", "1", "-m", "two\nlines"],
        ["quarantine", "host", "a", "--until", "2999-01-01", *WHY],
        ["token", "create", "--host", "No_Name"],
        ["token", "create", "--host", "x", "--network", "everywhere"],
    ],
)
def test_what_is_over_a_bound_is_status_2_and_named(operator: Ctl, arguments: list[str]) -> None:
    message = operator.refused(Exit.BAD_INPUT, *arguments)
    assert message.startswith("cordonctl: controller localhost:")
    assert "BOUNDS" not in message


def test_every_answer_in_json_is_one_document(operator: Ctl, web: Follower) -> None:
    for words in (
        ["whoami"], ["get"], ["history"], ["audit"], ["hosts", "list"], ["hosts", "show", "a"],
        ["token", "list"], ["admins", "list"], ["quarantine", "list"], ["settings", "get"],
        ["rollout"],
    ):  # fmt: skip
        assert json.loads(operator.good(*words, "--json")) is not None
