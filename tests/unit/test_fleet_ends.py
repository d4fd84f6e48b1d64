# SPDX-License-Identifier: Apache-2.0
"""The fleet's compiler: quarantine, hosts that are lost, and what holds until a moment only."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from agent.core import policy
from agent.core.model import Action, Decision, Direction, Identity, Mode, Protocol, Reason, Verdict
from agent.core.policy import Query
from controller.fleet.changes import Touched
from controller.records import Target
from tests.unit.fleets import THREE, Rows, loaded, names, rows, snapshot, until
from tests.unit.policies import BASE, NOW, POLICIES, WEB_TO_DB


def test_a_host_in_quarantine_denies_everything_but_lifelines_and_knows_nobody() -> None:
    made = rows(*POLICIES)
    made.quarantine(Target(host="a"))
    fleet = loaded(made)
    lone = snapshot(fleet, "a")
    assert names(lone.peers) == ["a"]
    assert set(lone.modes.values()) == {Mode.ENFORCE}
    assert [(r.name, r.action) for r in lone.rules if r.action is not Action.DENY] == [
        ("ssh", Action.LIFELINE)
    ]
    web, db = made.numbers.workloads["web"], made.numbers.workloads["db"]
    denied = policy.verdict(lone, Query(Direction.EGRESS, Protocol.TCP, web, db, 6379))
    assert (denied.verdict, denied.reason) == (Verdict.REFUSE, Reason.RULE_DENY)
    admin = ipaddress.ip_address("10.1.2.3")
    ssh = Query(Direction.INGRESS, Protocol.TCP, Identity.HOST, Identity.WORLD, 22, admin)
    assert policy.verdict(lone, ssh).reason is Reason.LIFELINE


def test_the_others_deny_a_host_in_quarantine_by_its_addresses() -> None:
    made = rows(*POLICIES)
    made.quarantine(Target(host="a"))
    other = snapshot(loaded(made), "b")
    assert names(other.peers) == ["b", "c"]
    for address in THREE["a"].addresses:
        assert address not in other.managed
        peer = policy.network_identity(other, address)
        db = made.numbers.workloads["db"]
        for direction in Direction:
            query = Query(direction, Protocol.TCP, db, peer, 443, address)
            assert policy.verdict(other, query).reason is Reason.RULE_DENY


def test_a_network_that_a_document_names_too_keeps_its_number_in_quarantine() -> None:
    named = (
        "kind: Allow\nname: x\nfrom: {cidr: 192.0.2.1/32}\nto: {workload: db}\nports: [any]\n---\n"
    )
    made = rows(named)
    made.quarantine(Target(host="a"))
    other = snapshot(loaded(made), "b")
    (found,) = [n for n in other.networks if str(n.cidr) == "192.0.2.1/32"]
    assert found.identity == made.numbers.networks["192.0.2.1/32"]


def test_a_workload_in_quarantine_is_denied_from_and_to_everybody() -> None:
    made = rows(WEB_TO_DB.replace("ports: [tcp/6379]", "ports: [any]"))
    made.quarantine(Target(workload="web"))
    fleet = loaded(made)
    web, db = made.numbers.workloads["web"], made.numbers.workloads["db"]
    own, other, lone = (snapshot(fleet, name) for name in "abc")
    assert own.modes[web] is Mode.ENFORCE
    denied = Decision(Verdict.REFUSE, Reason.RULE_DENY)
    for made_, local, peer in ((own, web, db), (other, db, web), (own, web, Identity.WORLD)):
        for direction in Direction:
            answer = policy.verdict(made_, Query(direction, Protocol.TCP, local, peer, 1))
            assert replace(answer, rule=0) == denied
    assert names(lone.peers) == ["c"], "who only denies need not know whom"


def test_a_lost_hosts_workloads_leave_the_peers_and_it_keeps_its_own_policy() -> None:
    made = rows(WEB_TO_DB)
    made.put_host(replace(THREE["a"], lost=True))
    fleet = loaded(made)
    assert names(snapshot(fleet, "b").peers) == ["b"]
    assert THREE["a"].addresses[0] in snapshot(fleet, "b").managed
    assert names(snapshot(fleet, "a").peers) == ["a", "b"]


def test_a_document_holds_until_its_end_and_then_no_longer() -> None:
    made = rows(WEB_TO_DB.replace("from:", until(NOW + 60) + "from:"))
    fleet = loaded(made)
    audience = fleet.audience("a")
    assert fleet.content(audience).until == fleet.next_end() == NOW + 60
    assert fleet.content(fleet.audience("c")).until is None
    assert fleet.advance(NOW + 59) == Touched()
    touched = fleet.advance(NOW + 61)
    assert touched.audiences == {audience, fleet.audience("b")}
    assert fleet.moment == NOW + 60
    assert fleet.next_end() is None
    assert snapshot(fleet, "a").rules == ()


def test_a_rule_whose_workloads_time_is_over_means_nobody() -> None:
    text = BASE.replace("name: db\n", "name: db\n" + until(NOW + 60))
    made = Rows()
    for row in THREE.values():
        made.put_host(row)
    made.put(text + WEB_TO_DB)
    fleet = loaded(made)
    fleet.advance(NOW + 60)
    assert snapshot(fleet, "b").workloads == ()
    assert snapshot(fleet, "a").rules == ()
