# SPDX-License-Identifier: Apache-2.0
"""Quarantine, settings, audit, rollouts and questions to the whole fleet.

One long file, for its tests share a controller and three hosts that follow it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import grpc
import pytest

from agent.core.content import Section
from agent.pb import admin_pb2 as pb
from agent.pb import snapshot_pb2
from controller.access_records import Role
from controller.records import FleetSettings
from controller.store import SqlStorage
from tests.lab.waiting import wait_until
from tests.server.administering import (
    PATIENCE,
    POLICY,
    Administrator,
    Follower,
    Hosts,
    administrator,
    file,
    refusal,
)
from tests.server.served import Served
from tests.unit.policies import WEB_TO_DB

Code = grpc.StatusCode
HOUR = 3600


@pytest.fixture(scope="module")
def operator(served: Served) -> Iterator[Administrator]:
    with served.site.store() as storage, administrator(served, storage, Role.OPERATOR) as one:
        yield one


@pytest.fixture(scope="module")
def hosts(served: Served) -> Iterator[Hosts]:
    with served.site.store() as storage, Hosts(served, storage) as made:
        yield made


@pytest.fixture(scope="module")
def fleet(operator: Administrator, hosts: Hosts) -> dict[str, Follower]:
    """a runs web, b runs db, c neither; web may connect to db."""
    operator.policy(POLICY, prune=True)
    roles = {"a": ("192.0.2.1", "web"), "b": ("192.0.2.2", "db"), "c": ("192.0.2.3", "other")}
    made = {
        name: hosts.follow(hosts.enrol(name, address, {"role": role}))
        for name, (address, role) in roles.items()
    }
    wait_until(lambda: made["a"].peers == {"b"}, "a to hear of b", PATIENCE)
    return made


@pytest.fixture
def base(operator: Administrator, fleet: dict[str, Follower]) -> dict[str, Follower]:
    """The base policy is in force everywhere, and nobody is in quarantine."""
    for entry in operator("ListQuarantines").quarantines:
        operator("LiftQuarantine", **_target(entry), why="a test's end")
    operator.policy(POLICY, prune=True)
    assert operator.rollout().done
    return fleet


def _target(entry: pb.QuarantineEntry) -> dict[str, str]:
    kind = entry.WhichOneof("target")
    assert kind is not None
    return {kind: getattr(entry, kind)}


def _later(seconds: int = HOUR) -> int:
    return int(time.time()) + seconds


# Quarantine.


def test_a_host_in_quarantine_is_cut_off_at_both_ends_until_it_is_lifted(
    operator: Administrator, base: dict[str, Follower]
) -> None:
    until = _later()
    done = operator("Quarantine", host="b", until=until, why="odd traffic")
    told = operator.rollout(done.version)
    assert (told.hosts, told.enforced, told.done) == (3, 3, True)
    assert "quarantine" in base["b"].rules
    assert all("quarantine-hosts" in base[name].rules for name in "ac")
    assert base["a"].peers == set()
    (entry,) = operator("ListQuarantines").quarantines
    assert (entry.host, entry.until, entry.who, entry.why) == (
        "b",
        until,
        "operator",
        "odd traffic",
    )
    assert [h.quarantined for h in operator("ListHosts").hosts] == [False, True, False]
    answer = operator("Explain", source="web", target="db", port="tcp/6379")
    assert answer.result == "refused"
    assert {(end.host, end.document) for end in answer.ends} == {
        ("a", "quarantine-hosts"),
        ("b", "quarantine"),
    }
    lifted = operator("LiftQuarantine", host="b", why="was a test")
    assert operator.rollout(lifted.version).enforced == 3
    assert base["b"].rules == base["a"].rules == ["web-to-db"]
    assert base["a"].peers == {"b"}
    assert not operator("ListQuarantines").quarantines
    again = operator.refused("LiftQuarantine", host="b", why="again")
    assert (again.code, again.reason) == (Code.NOT_FOUND, "UNKNOWN")


def test_a_workload_in_quarantine_is_denied_by_everybody_until_its_time(
    operator: Administrator, base: dict[str, Follower]
) -> None:
    done = operator("Quarantine", workload="web", until=_later(3), why="w")
    assert operator.rollout(done.version).done
    assert all("quarantine-workloads" in follower.rules for follower in base.values())
    (entry,) = operator("ListQuarantines").quarantines
    assert entry.workload == "web"

    def over() -> bool:
        return all("quarantine-workloads" not in follower.rules for follower in base.values())

    wait_until(over, "the quarantine to end by itself", PATIENCE, 0.2)
    assert not operator("ListQuarantines").quarantines
    assert operator("ListAudit", page_size=1).entries[0].what == "quarantine-ended"


NO_QUARANTINE: dict[str, tuple[dict[str, Any], str]] = {
    "nobody": ({"until": HOUR}, "BOUNDS"),
    "no why": ({"host": "b", "until": HOUR, "why": ""}, "BOUNDS"),
    "no time": ({"host": "b"}, "BOUNDS"),
    "in the past": ({"host": "b", "until": -HOUR}, "BOUNDS"),
    "for ever": ({"host": "b", "until": 367 * 86_400}, "BOUNDS"),
    "an unknown host": ({"host": "none", "until": HOUR}, "UNKNOWN"),
    "an unknown workload": ({"workload": "none", "until": HOUR}, "UNKNOWN"),
}


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("what", NO_QUARANTINE)
def test_quarantine_has_bounds(operator: Administrator, storage: SqlStorage, what: str) -> None:
    head, (fields, reason) = storage.head(), NO_QUARANTINE[what]
    until = _later(fields["until"]) if "until" in fields else 0
    refused = operator.refused("Quarantine", **{"why": "w", **fields, "until": until})
    assert refused.reason == reason
    assert storage.head() == head


# Rollouts.


def test_a_rollout_tells_who_enforces_refuses_and_is_absent(
    operator: Administrator, base: dict[str, Follower], hosts: Hosts
) -> None:
    odd = hosts.follow(hosts.enrol("odd", "192.0.2.7", {"role": "web"}), refuses=True)
    hosts.enrol("away", "192.0.2.8", {"role": "web"})
    done = operator.policy(WEB_TO_DB.replace("6379", "6380"))
    assert done.hosts_touched == 4
    request = pb.WatchRolloutRequest(version=done.version)
    told = list(operator.stub.WatchRollout(request, timeout=PATIENCE))
    last = told[-1]
    assert (last.hosts, last.enforced, last.pending, last.refused, last.absent) == (4, 2, 0, 1, 1)
    assert [(r.host, r.message) for r in last.refusals] == [("odd", "the kernel is full")]
    assert [one.done for one in told] == [False] * (len(told) - 1) + [True]
    assert all(before != after for before, after in itertools.pairwise(told))
    lines = {host.name: host for host in operator("ListHosts").hosts}
    assert not lines["away"].current
    assert base["c"].version < done.version  # it is not changed by it
    assert odd.agent.held.release.version == 0
    wait_until(
        lambda: (
            {h.name: h.refused for h in operator("ListHosts").hosts}["odd"] == "the kernel is full"
        ),
        "the refusal to be written",
        PATIENCE,
    )
    for name in ("odd", "away"):
        operator("RevokeHost", name=name, why="a test's end")


def test_a_host_that_comes_to_policy_that_was_there_is_part_of_the_rollout(
    operator: Administrator, base: dict[str, Follower]
) -> None:
    web = base["a"]
    operator.policy(WEB_TO_DB.replace("6379", "6390"))  # c's policy is older than a's by this
    for label, expected in (("other", []), ("web", ["web-to-db"])):
        done = operator("UpdateHost", name="a", set_labels={"role": label})
        told = operator.rollout(done.version)
        assert (told.hosts, told.enforced) == (2, 2)  # a, and b, for which a is another peer
        assert web.rules == expected
        lines = {host.name: host.current for host in operator("ListHosts").hosts}
        assert set(lines) == {"a", "b", "c"}


@pytest.mark.usefixtures("base")
def test_a_version_that_there_is_not_cannot_be_watched(
    operator: Administrator, storage: SqlStorage
) -> None:
    refused = refusal(lambda: operator.rollout(storage.head().version + 1))
    assert (refused.code, refused.reason) == (Code.NOT_FOUND, "UNKNOWN")
    first = operator.rollout(1)
    assert first.done
    assert first.enforced == first.hosts


def test_who_watches_is_told_when_his_access_ends(
    operator: Administrator, base: dict[str, Follower], hosts: Hosts, served: Served
) -> None:
    silent = hosts.follow(hosts.enrol("silent", "192.0.2.9", {"role": "web"}))
    hosts.mute(silent)
    done = operator.policy(WEB_TO_DB.replace("6379", "6381"))
    with administrator(served, hosts.storage, Role.VIEWER, "vic") as vic:
        watched = vic.stub.WatchRollout(
            pb.WatchRolloutRequest(version=done.version), timeout=PATIENCE
        )
        assert next(watched).pending >= 1
        operator("RevokeAdministrator", name="vic", why="left")
        refused = refusal(lambda: list(watched))
        assert (refused.code, refused.reason) == (Code.PERMISSION_DENIED, "REVOKED")
    operator("RevokeHost", name="silent", why="a test's end")
    assert operator.rollout(done.version).done
    assert base["a"].version >= done.version


# Settings and audit.


def test_settings_are_changed_one_by_one_and_come_to_streams(
    operator: Administrator, base: dict[str, Follower], storage: SqlStorage
) -> None:
    before = operator("GetSettings").settings
    assert before == pb.FleetSettings(**asdict(FleetSettings()))
    done = operator("UpdateSettings", settings=pb.FleetSettings(hold_limit_ms=1500), why="slow")
    assert operator.rollout(done.version).enforced == 3
    (entry,) = base["c"].agent.held.entries[Section.SETTINGS].values()
    assert snapshot_pb2.Settings.FromString(entry).hold_limit_ms == 1500
    expected = pb.FleetSettings()
    expected.CopyFrom(before)
    expected.hold_limit_ms = 1500
    assert operator("GetSettings").settings == done.settings == expected
    assert storage.settings().hold_limit_ms == 1500
    same = operator("UpdateSettings", settings=pb.FleetSettings(hold_limit_ms=1500), why="again")
    assert same.version == 0
    entry_ = operator("ListAudit", page_size=1).entries[0]
    assert (entry_.what, entry_.object) == ("UpdateSettings", "hold_limit_ms 2000 to 1500")
    operator("UpdateSettings", settings=before, why="a test's end")


@pytest.mark.parametrize(
    "settings",
    [
        {"epoch_seconds": 59},
        {"epochs_ahead": 15},
        {"validity_seconds": 599},
        {"lease_seconds": 2_592_001},
        {"confirm_seconds": 301},
        {"certificate_seconds": 599},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_have_bounds(
    operator: Administrator, storage: SqlStorage, settings: dict[str, int]
) -> None:
    before = storage.settings()
    good = {"hold_limit_ms": 100, **settings}
    refused = operator.refused("UpdateSettings", settings=pb.FleetSettings(**good), why="w")
    assert refused.reason == "BOUNDS"
    assert next(iter(settings)) in refused.text
    assert storage.settings() == before


def test_the_audit_log_comes_in_pages_and_from_a_time_on(
    operator: Administrator, storage: SqlStorage
) -> None:
    seen, token = [], ""
    while True:
        page = operator("ListAudit", page_size=3, page_token=token)
        seen += [entry.number for entry in page.entries]
        if not (token := page.next_page_token):
            break
    assert seen == list(range(len(seen), 0, -1))
    assert storage.check() == []
    assert not operator("ListAudit", since=_later()).entries
    entry = operator("ListAudit", page_size=1).entries[0]
    assert getattr(entry, "from") in ("127.0.0.1", "::1", "")


# Questions.


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize(
    ("source", "target", "port", "result", "reasons"),
    [
        ("web", "db", "tcp/6379", "allowed", {("a", "rule_allow"), ("b", "rule_allow")}),
        ("front/web", "db", "tcp/6379", "allowed", {("a", "rule_allow"), ("b", "rule_allow")}),
        ("web", "db", "tcp/1", "refused", {("a", "no_rule"), ("b", "no_rule")}),
        ("host:c", "db", "tcp/6379", "refused", {("c", "no_rule"), ("b", "no_rule")}),
        ("198.51.100.7", "db", "tcp/6379", "refused", {("b", "no_rule")}),
        ("192.0.2.3", "db", "tcp/6379", "refused", {("b", "no_rule")}),
        ("hermit", "world", "tcp/443", "audited", {("c", "no_rule")}),
    ],
)
def test_both_ends_of_a_connection_are_asked(
    operator: Administrator,
    storage: SqlStorage,
    source: str,
    target: str,
    port: str,
    result: str,
    reasons: set[tuple[str, str]],
) -> None:
    answer = operator("Explain", source=source, target=target, port=port)
    assert answer.result == result
    assert {(end.host, end.reason) for end in answer.ends} == reasons
    assert answer.version == storage.head().version
    if result == "allowed":
        assert {end.document for end in answer.ends} == {"Allow/web-to-db"}
        assert not answer.missing
    else:
        assert answer.missing
        assert all(one.startswith("kind: Allow\n") for one in answer.missing)


@pytest.mark.usefixtures("base")
def test_what_explain_says_is_missing_makes_it_pass(operator: Administrator) -> None:
    question = {"source": "hermit", "target": "db", "port": "tcp/99"}
    answer = operator("Explain", **question)
    assert answer.result == "refused"
    done = operator.apply(*(file(text, "missing.yaml") for text in answer.missing))
    assert not done.problems
    assert operator("Explain", **question).result == "allowed"


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize(
    ("source", "target", "port", "reason"),
    [
        ("nobody", "db", "tcp/1", "UNKNOWN"),
        ("host:nobody", "db", "tcp/1", "UNKNOWN"),
        ("world", "198.51.100.1", "tcp/1", "BOUNDS"),
        ("web", "db", "tcp", "BOUNDS"),
        ("web", "db", "", "BOUNDS"),
        ("x" * 2000, "db", "tcp/1", "BOUNDS"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(
    operator: Administrator, source: str, target: str, port: str, reason: str
) -> None:
    refused = operator.refused("Explain", source=source, target=target, port=port)
    assert refused.reason == reason, refused
    assert refused.text
