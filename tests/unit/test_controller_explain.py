# SPDX-License-Identifier: Apache-2.0
"""`explain`: the oracle's answer at both ends, and an Allow that really is the missing one."""

from __future__ import annotations

import pytest
import yaml

from agent.core.model import Direction, Reason, Verdict
from controller.explain import Explanation, explain
from controller.parties import UnknownParty
from tests.unit.policies import BASE, HOSTS, WEB_TO_DB, compiled

AUDIT_DB = BASE.replace("name: data\nmode: enforce", "name: data\nmode: audit")


def ask(policy: str, source: str, target: str, port: str, hosts: str = HOSTS) -> Explanation:
    return explain(compiled(policy, hosts).snapshots, source, target, port)


def reasons(explanation: Explanation) -> list[tuple[str, str, Reason]]:
    return [(end.host, end.direction.name, end.decision.reason) for end in explanation.ends]


def test_an_allowed_connection_is_allowed_by_the_same_rule_at_both_ends() -> None:
    answer = ask(BASE + WEB_TO_DB, "web", "db", "tcp/6379")
    assert answer.result == "allowed"
    assert [(e.host, e.direction, e.rule.name if e.rule else "") for e in answer.ends] == [
        ("a", Direction.EGRESS, "web-to-db"),
        ("b", Direction.INGRESS, "web-to-db"),
    ]
    assert answer.missing == ()


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        ("web", "db", "tcp/22"),
        ("web", "db", "udp/53"),
        ("web", "db", "icmp/echo-request"),
        ("web", "hermit", "tcp/1"),
        ("hermit", "web", "tcp/1"),
        ("host:c", "db", "tcp/6379"),
        ("web", "host:b", "tcp/22"),
        ("192.0.2.1", "db", "tcp/6379"),
        ("198.51.100.7", "web", "tcp/443"),
        ("web", "198.51.100.0/24", "tcp/443"),
        ("world", "web", "tcp/443"),
        ("web", "world", "udp/123"),
        ("front/web", "data/db", "tcp/5432"),
    ],
)
def test_the_missing_allow_is_what_was_missing(source: str, target: str, port: str) -> None:
    answer = ask(BASE, source, target, port)
    assert answer.result == "refused"
    assert answer.missing
    pasted = "---\n".join(yaml.safe_dump(dict(document)) for document in answer.missing)
    assert ask(BASE + pasted, source, target, port).result == "allowed"


def test_a_deny_has_no_missing_allow() -> None:
    deny = "kind: Deny\nname: d\nfrom: {any: true}\nto: {workload: db}\nports: [any]\n---\n"
    answer = ask(BASE + WEB_TO_DB + deny, "web", "db", "tcp/6379")
    assert {e.decision.reason for e in answer.ends} == {Reason.RULE_DENY}
    assert answer.missing == ()


def test_audit_passes_and_still_names_what_is_missing() -> None:
    answer = ask(AUDIT_DB, "198.51.100.7", "db", "tcp/1")
    assert answer.result == "audited"
    assert [e.decision.verdict for e in answer.ends] == [Verdict.AUDIT]
    assert len(answer.missing) == 1


def test_what_is_not_tcp_is_seen_without_proof() -> None:
    udp = WEB_TO_DB.replace("tcp/6379", "udp/6379")
    answer = ask(BASE + udp, "web", "db", "udp/6379")
    assert answer.result == "refused"
    assert {e.peer for e in answer.ends} == {"unproven"}


def test_a_host_without_a_key_is_seen_as_unproven() -> None:
    policy = BASE + (
        "kind: Allow\nname: u\nfrom: {unproven: true}\nto: {workload: db}\nports: [tcp/1]\n"
    )
    ingress = ask(policy, "hermit", "db", "tcp/1").ends[1]
    assert (ingress.peer, ingress.decision.reason) == ("unproven", Reason.RULE_ALLOW)


def test_a_path_that_strips_options_is_judged_by_network() -> None:
    hosts = HOSTS.replace("{role: web}", "{role: web}, tags: off")
    policy = BASE + (
        "kind: Allow\nname: n\nfrom: {cidr: 192.0.2.0/24}\nto: {workload: db}\nports: [tcp/1]\n"
    )
    assert ask(policy, "192.0.2.1", "db", "tcp/1", hosts).result == "allowed"
    assert ask(policy, "192.0.2.3", "db", "tcp/1", hosts).result == "refused"


def test_a_lifeline_is_judged_by_address() -> None:
    line = "kind: Lifeline\nname: l\ndirection: in\npeer: {cidr: 192.0.2.1/32}\nports: [tcp/22]\n"
    answer = ask(BASE + line, "web", "db", "tcp/22")
    assert ("b", "INGRESS", Reason.LIFELINE) in reasons(answer)
    assert ("b", "INGRESS", Reason.NO_RULE) in reasons(answer), "its IPv6 address has no lifeline"


def test_a_workload_reaches_itself_on_its_own_host_alone() -> None:
    policy = BASE.replace("host: {role: web}", "user: nginx")
    answer = ask(policy, "web", "web", "tcp/1")
    assert {e.decision.reason for e in answer.ends} == {Reason.SELF, Reason.NO_RULE}


def test_narrower_networks_are_pointed_out() -> None:
    policy = BASE + (
        "kind: Allow\nname: n\nfrom: {workload: web}\nto: {cidr: 10.1.0.0/16}\nports: [tcp/1]\n"
    )
    answer = ask(policy, "web", "10.0.0.0/8", "tcp/1")
    assert answer.result == "refused"
    assert answer.notes == (
        "within 10.0.0.0/8, these are judged by rules of their own: 10.1.0.0/16",
    )


@pytest.mark.parametrize(
    ("source", "target", "port", "expected"),
    [
        ("nobody", "db", "tcp/1", "got 'nobody'; there are db, hermit, web"),
        ("host:x", "db", "tcp/1", "there is no host 'x'; there are a, b, c"),
        ("world", "10.0.0.1", "tcp/1", "neither world nor 10.0.0.1 is a process of a managed"),
        ("web", "db", "tcp/*", "expected one port such as tcp/5432"),
        ("web", "db", "any", "expected one port such as tcp/5432"),
        ("web", "db", "5432", "expected a port such as tcp/443"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(
    source: str, target: str, port: str, expected: str
) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        ask(BASE, source, target, port)
    assert expected in str(caught.value)


def test_a_workload_that_no_host_runs_is_not_known() -> None:
    with pytest.raises(UnknownParty, match="got 'web'; there are db, hermit"):
        ask(BASE.replace("role: web", "role: mars"), "web", "db", "tcp/1")
