# SPDX-License-Identifier: Apache-2.0
"""The meaning of policy, rule by rule."""

import ipaddress
from dataclasses import replace

import pytest

from agent.core import policy
from agent.core.model import (
    Action,
    Decision,
    Direction,
    Identity,
    Mode,
    PortRange,
    Protocol,
    Reason,
    Rule,
    Snapshot,
    Verdict,
)
from agent.core.policy import Query
from tests.unit.snapshots import API, FAR, LAN, NARROW, WEB, WIDE, rule, snapshot, tcp

QUERY = Query(Direction.EGRESS, Protocol.TCP, WEB, FAR, 443)
ALLOW = rule(1, peers={FAR}, ports=(tcp(443),))
DENY = rule(2, Action.DENY, ports=(tcp(443),))
LIFELINE = rule(3, Action.LIFELINE, peers={LAN}, ports=(tcp(443),))
IN_LAN = ipaddress.ip_address("192.0.2.2")


def with_mode(mode: Mode, *rules_: Rule) -> Snapshot:
    return snapshot(*rules_, modes={int(Identity.HOST): mode, WEB: mode})


def test_without_a_rule_enforce_refuses() -> None:
    assert policy.verdict(snapshot(), QUERY) == Decision(Verdict.REFUSE, Reason.NO_RULE)


def test_an_allow_allows_and_is_named() -> None:
    expected = Decision(Verdict.ALLOW, Reason.RULE_ALLOW, 1)
    assert policy.verdict(snapshot(ALLOW), QUERY) == expected


@pytest.mark.parametrize(
    "query",
    [
        replace(QUERY, direction=Direction.INGRESS),
        replace(QUERY, protocol=Protocol.UDP),
        replace(QUERY, port=442),
        replace(QUERY, port=444),
        replace(QUERY, peer=API),
        replace(QUERY, peer=Identity.UNPROVEN),
    ],
)
def test_an_allow_covers_only_what_it_names(query: Query) -> None:
    assert policy.verdict(snapshot(ALLOW), query).reason is Reason.NO_RULE


def test_a_rule_for_some_identities_is_not_for_others() -> None:
    only = replace(ALLOW, locals=frozenset({WEB}))
    assert policy.verdict(snapshot(only), QUERY).verdict is Verdict.ALLOW
    assert policy.verdict(snapshot(only), replace(QUERY, local=API)).verdict is Verdict.REFUSE


def test_deny_beats_allow() -> None:
    expected = Decision(Verdict.REFUSE, Reason.RULE_DENY, 2)
    assert policy.verdict(snapshot(ALLOW, DENY), QUERY) == expected


def test_a_lifeline_beats_deny() -> None:
    found = policy.verdict(snapshot(DENY, LIFELINE), replace(QUERY, address=IN_LAN))
    assert found == Decision(Verdict.ALLOW, Reason.LIFELINE, 3)


def test_a_lifeline_asks_for_the_address_and_not_for_the_identity() -> None:
    query = replace(QUERY, peer=LAN, address=ipaddress.ip_address("203.0.113.1"))
    assert policy.verdict(snapshot(LIFELINE), query).verdict is Verdict.REFUSE


def test_audit_passes_for_the_same_reason_and_rule() -> None:
    found = policy.verdict(with_mode(Mode.AUDIT, DENY), QUERY)
    assert found == Decision(Verdict.AUDIT, Reason.RULE_DENY, 2)


def test_mode_off_allows_without_judging() -> None:
    found = policy.verdict(with_mode(Mode.OFF, DENY), QUERY)
    assert found == Decision(Verdict.ALLOW, Reason.MODE_OFF)


def test_an_unknown_identity_is_judged_as_host() -> None:
    only = replace(ALLOW, locals=frozenset({int(Identity.HOST)}))
    assert policy.verdict(snapshot(only), replace(QUERY, local=999)).verdict is Verdict.ALLOW


def test_without_the_mode_of_host_it_is_audit() -> None:
    found = policy.verdict(snapshot(modes={}), QUERY)
    assert found == Decision(Verdict.AUDIT, Reason.NO_RULE)


def test_a_workload_reaches_itself_on_the_same_host() -> None:
    own = replace(QUERY, peer=WEB, same_host=True)
    assert policy.verdict(snapshot(), own) == Decision(Verdict.ALLOW, Reason.SELF)
    assert policy.verdict(snapshot(DENY), own).reason is Reason.RULE_DENY
    assert policy.verdict(snapshot(), replace(own, same_host=False)).reason is Reason.NO_RULE


def test_an_unknown_identity_is_not_the_host_itself() -> None:
    query = replace(QUERY, local=999, peer=Identity.HOST, same_host=True)
    assert policy.verdict(snapshot(), query).reason is Reason.NO_RULE


def test_the_smallest_number_is_named_whatever_the_order() -> None:
    for order in ((ALLOW, replace(ALLOW, number=9)), (replace(ALLOW, number=9), ALLOW)):
        assert policy.verdict(snapshot(*order), QUERY).rule == 1


def test_protocols_without_ports_are_covered_as_a_whole() -> None:
    other = rule(1, ports=(PortRange(Protocol.OTHER),))
    query = replace(QUERY, protocol=Protocol.OTHER, port=0)
    assert policy.verdict(snapshot(other), query).verdict is Verdict.ALLOW
    assert policy.verdict(snapshot(other), QUERY).verdict is Verdict.REFUSE


def test_icmp_rules_go_by_type() -> None:
    echo = rule(1, ports=(PortRange(Protocol.ICMP, 8, 8),))
    query = replace(QUERY, protocol=Protocol.ICMP, port=8)
    assert policy.verdict(snapshot(echo), query).verdict is Verdict.ALLOW
    assert policy.verdict(snapshot(echo), replace(query, port=13)).verdict is Verdict.REFUSE


def test_staged_rules_never_decide() -> None:
    staged = (replace(ALLOW, staged=True), replace(DENY, staged=True))
    assert policy.verdict(snapshot(*staged), QUERY).reason is Reason.NO_RULE


@pytest.mark.parametrize(
    ("staged", "in_force", "expected"),
    [
        ("allow", "", (9, Action.ALLOW)),
        ("allow", "allow", None),
        ("allow", "deny", None),
        ("deny", "", None),
        ("deny", "allow", (9, Action.DENY)),
        ("deny", "deny", None),
    ],
)
def test_a_staged_rule_is_told_where_it_would_turn_the_answer(
    staged: str, in_force: str, expected: tuple[int, Action] | None
) -> None:
    by_name = {"allow": ALLOW, "deny": DENY}
    beside = replace(by_name[staged], number=9, staged=True)
    rules_ = (beside, by_name[in_force]) if in_force else (beside,)
    assert policy.staged(snapshot(*rules_), QUERY) == expected


def test_a_staged_deny_keeps_a_staged_allow_from_turning_anything() -> None:
    rules_ = (replace(ALLOW, staged=True), replace(DENY, staged=True))
    assert policy.staged(snapshot(*rules_), QUERY) is None


def test_staged_rules_turn_nothing_under_a_lifeline_or_mode_off() -> None:
    staged = replace(ALLOW, staged=True)
    query = replace(QUERY, address=IN_LAN)
    assert policy.staged(snapshot(staged, LIFELINE), query) is None
    assert policy.staged(with_mode(Mode.OFF, staged), QUERY) is None


def test_the_longest_prefix_gives_an_address_its_identity() -> None:
    def identity(text: str) -> int:
        return policy.network_identity(snapshot(), ipaddress.ip_address(text))

    assert identity("198.51.100.7") == NARROW
    assert identity("198.51.100.8") == WIDE
    assert identity("203.0.113.1") == Identity.WORLD
    assert identity("::ffff:192.0.2.9") == LAN


def test_connect_may_assume_the_best_answerer() -> None:
    found = policy.provisional(snapshot(ALLOW), WEB, Protocol.TCP, 443)
    assert found == Decision(Verdict.ALLOW, Reason.PROVISIONAL)


def test_connect_is_refused_where_nobody_could_answer() -> None:
    found = policy.provisional(snapshot(ALLOW), WEB, Protocol.TCP, 444)
    assert found == Decision(Verdict.REFUSE, Reason.NO_RULE)


def test_connect_is_refused_by_the_deny_from_any_peer() -> None:
    found = policy.provisional(snapshot(ALLOW, DENY), WEB, Protocol.TCP, 443)
    assert found == Decision(Verdict.REFUSE, Reason.RULE_DENY, 2)


def test_networks_do_not_answer_for_managed_hosts() -> None:
    networks = rule(1, peers={LAN, int(Identity.WORLD)})
    assert policy.provisional(snapshot(networks), WEB, Protocol.TCP, 443).rule == 0
    assert LAN not in policy.answerers(snapshot(networks))


def test_connect_to_a_lifeline_is_open_by_address() -> None:
    found = policy.provisional(snapshot(LIFELINE), WEB, Protocol.TCP, 443, IN_LAN)
    assert found == Decision(Verdict.ALLOW, Reason.LIFELINE, 3)


def test_connect_in_mode_off_is_open() -> None:
    found = policy.provisional(with_mode(Mode.OFF), WEB, Protocol.TCP, 443)
    assert found == Decision(Verdict.ALLOW, Reason.MODE_OFF)
