# SPDX-License-Identifier: Apache-2.0
"""Compiled rules: what the kernel's look-up makes of them, and how few entries they are."""

from dataclasses import replace

import pytest

from agent.core import abi, compile, policy
from agent.core.compile import compile_policy
from agent.core.model import Action, Decision, Identity, Mode, Protocol, Reason, Verdict
from agent.core.policy import Query
from tests.unit.kernel_lookup import IN, NO_RULE, OUT, Kernel, allowed, ask, compiled, denied
from tests.unit.snapshots import API, DB, FAR, LAN, WEB, rule, snapshot, tcp


def test_nothing_is_allowed_that_no_rule_names() -> None:
    assert ask(compiled(), 443) == NO_RULE


def test_deny_beats_allow_whatever_their_numbers() -> None:
    kernel = compiled(rule(1, ports=(tcp(22),)), rule(2, Action.DENY, ports=(tcp(22),)))
    assert ask(kernel, 22) == denied(2)


def test_the_smallest_number_of_one_action_is_reported() -> None:
    kernel = compiled(rule(5, ports=(tcp(22),)), rule(3, peers={FAR}), rule(4, peers={FAR}))
    assert ask(kernel, 22) == allowed(3)


def test_any_reaches_into_exact_peers() -> None:
    kernel = compiled(
        rule(1, peers={FAR}), rule(2, Action.DENY, ports=(tcp(22),)), rule(3, ports=(tcp(80),))
    )
    assert ask(kernel, 22) == denied(2)
    assert ask(kernel, 80) == allowed(1)
    assert ask(kernel, 80, peer=API) == allowed(3)


def test_an_exact_peer_falls_through_to_any_where_it_says_nothing() -> None:
    kernel = compiled(rule(1, peers={FAR}, ports=(tcp(80),)), rule(2, ports=(tcp(443),)))
    assert ask(kernel, 443) == allowed(2)


def test_a_range_minus_a_port() -> None:
    kernel = compiled(
        rule(1, peers={FAR}, ports=(tcp(8000, 8010),)),
        rule(2, Action.DENY, peers={FAR}, ports=(tcp(8005),)),
    )
    found = [ask(kernel, port) for port in range(7999, 8012)]
    assert found == [
        NO_RULE,
        *[allowed(1)] * 5,
        denied(2),
        *[allowed(1)] * 5,
        NO_RULE,
    ]


def test_a_whole_protocol_minus_a_port_is_two_entries_and_no_range() -> None:
    kernel = compiled(
        rule(1, locals_={WEB}, peers={FAR}, direction=IN, ports=(tcp(0, 65535),)),
        rule(2, Action.DENY, IN, locals_={WEB}, peers={FAR}, ports=(tcp(22),)),
    )
    assert ask(kernel, 22, direction=IN) == denied(2)
    assert ask(kernel, 21, direction=IN) == allowed(1)
    assert len(kernel.policy.rules) == 2
    assert not kernel.policy.ranges


def test_two_ranges_of_one_rule_do_not_close_the_gap_between_them() -> None:
    kernel = compiled(rule(1, peers={FAR}, ports=(tcp(80, 90), tcp(100, 110))))
    assert ask(kernel, 95) == NO_RULE


def test_neighbouring_single_ports_stay_out_of_the_trie() -> None:
    listed = (tcp(80), tcp(81), tcp(8000, 8007))
    kernel = compiled(rule(1, direction=IN, locals_={WEB}, peers={FAR}, ports=listed))
    assert (len(kernel.policy.rules), len(kernel.policy.ranges)) == (2, 1)


def test_all_but_the_first_ports_is_a_whole_entry_with_a_masked_prefix() -> None:
    kernel = compiled(rule(1, direction=IN, locals_={WEB}, peers={FAR}, ports=(tcp(1024, 65535),)))
    assert ask(kernel, 1023, direction=IN) == NO_RULE
    assert ask(kernel, 1024, direction=IN) == allowed(1)
    assert (len(kernel.policy.rules), len(kernel.policy.ranges)) == (1, 1)


def test_ranges_are_asked_only_for_who_has_some() -> None:
    kernel = compiled(rule(1, locals_={WEB}, ports=(tcp(8000, 8010),)), rule(2, ports=(tcp(1),)))
    assert kernel.mode(WEB)[1].flags == abi.ModeFlag.RANGES
    assert kernel.mode(DB)[1].flags == 0
    assert kernel.policy.flags & abi.GenerationFlag.RANGES


def test_every_protocol_is_covered_by_a_rule_without_ports() -> None:
    kernel = compiled(rule(1, peers={FAR}))
    assert {ask(kernel, 0, protocol=protocol) for protocol in Protocol} == {allowed(1)}


def test_a_lifeline_comes_before_deny_and_goes_by_address() -> None:
    kernel = compiled(
        rule(1, Action.DENY, IN), rule(2, Action.LIFELINE, IN, peers={LAN}, ports=(tcp(22),))
    )
    lifeline = (Verdict.ALLOW, Reason.LIFELINE, 2)
    assert ask(kernel, 22, direction=IN, peer=Identity.UNPROVEN, address="192.0.2.2") == lifeline
    assert ask(kernel, 22, direction=IN, peer=LAN, address="203.0.113.9") == denied(1)
    assert ask(kernel, 23, direction=IN, address="192.0.2.2") == denied(1)


def test_a_lifeline_comes_before_mode_off() -> None:
    modes = {int(Identity.HOST): Mode.OFF}
    kernel = compiled(rule(2, Action.LIFELINE, ports=(tcp(8000, 8001),)), modes=modes)
    assert ask(kernel, 8001, local=1) == (Verdict.ALLOW, Reason.LIFELINE, 2)
    assert ask(kernel, 8002, local=1) == (Verdict.ALLOW, Reason.MODE_OFF, 0)


def test_staged_rules_decide_nothing_and_are_told() -> None:
    kernel = compiled(
        rule(1, Action.DENY, peers={FAR}, ports=(tcp(22),), staged=True),
        rule(2, peers={FAR}, ports=(tcp(22),)),
        rule(3, peers={FAR}, ports=(tcp(80),), staged=True),
    )
    assert ask(kernel, 22) == allowed(2)
    assert ask(kernel, 80) == NO_RULE
    assert kernel.staged(Query(OUT, Protocol.TCP, WEB, FAR, 22)) == (1, Action.DENY)
    assert kernel.staged(Query(OUT, Protocol.TCP, WEB, FAR, 80)) == (3, Action.ALLOW)
    assert kernel.policy.flags & abi.GenerationFlag.STAGED


def test_a_process_of_unknown_identity_is_judged_as_host() -> None:
    kernel = compiled(rule(1, locals_={Identity.HOST}, ports=(tcp(22),)))
    assert ask(kernel, 22, local=999) == allowed(1)


def test_audit_gives_the_same_reason_and_rule() -> None:
    modes = {int(Identity.HOST): Mode.AUDIT}
    kernel = compiled(rule(1, Action.DENY, ports=(tcp(22),)), modes=modes)
    assert ask(kernel, 22, local=1) == (Verdict.AUDIT, Reason.RULE_DENY, 1)
    assert ask(kernel, 23, local=1) == (Verdict.AUDIT, Reason.NO_RULE, 0)


def test_a_workload_reaches_itself_on_the_same_host_unless_denied() -> None:
    kernel = compiled(rule(1, Action.DENY, ports=(tcp(22),)))
    assert ask(kernel, 80, peer=WEB, same_host=True) == (Verdict.ALLOW, Reason.SELF, 0)
    assert ask(kernel, 22, peer=WEB, same_host=True) == denied(1)
    assert ask(kernel, 80, peer=WEB) == NO_RULE


def test_connect_is_told_no_where_no_managed_workload_may_be_reached() -> None:
    kernel = compiled(rule(1, locals_={WEB}, peers={FAR}, ports=(tcp(5432),)))
    assert kernel.provisional(WEB, Protocol.TCP, 5432).reason is Reason.PROVISIONAL
    assert kernel.provisional(WEB, Protocol.TCP, 5433) == Decision(Verdict.REFUSE, Reason.NO_RULE)
    assert kernel.provisional(API, Protocol.TCP, 5432) == Decision(Verdict.REFUSE, Reason.NO_RULE)


def test_connect_assumes_nothing_from_a_rule_on_networks() -> None:
    kernel = compiled(rule(1, peers={LAN, Identity.WORLD}, ports=(tcp(443),)))
    assert kernel.provisional(WEB, Protocol.TCP, 443).reason is Reason.NO_RULE


def test_connect_is_refused_where_everybody_is_denied_by_name() -> None:
    policy_ = snapshot(rule(1, ports=(tcp(80),)))
    everybody = set(policy.answerers(policy_))
    denies = rule(2, Action.DENY, peers=everybody, ports=(tcp(0, 100),))
    kernel = Kernel(compile_policy(replace(policy_, rules=(*policy_.rules, denies))))
    assert kernel.provisional(WEB, Protocol.TCP, 80) == Decision(Verdict.REFUSE, Reason.NO_RULE)
    some = replace(denies, peers=frozenset(everybody - {FAR}))
    kernel = Kernel(compile_policy(replace(policy_, rules=(*policy_.rules, some))))
    assert kernel.provisional(WEB, Protocol.TCP, 80).reason is Reason.PROVISIONAL


def test_residents_are_those_of_each_peer_and_the_reserved_ones() -> None:
    found = {abi.RESIDENT_KEY.unpack(key) for key in compiled().policy.residents}
    reserved = {Identity.HOST, Identity.CONTROLLER, Identity.AGENT}
    assert found == {
        *((1, identity) for identity in reserved | {WEB, API, DB}),
        *((2, identity) for identity in reserved | {FAR}),
    }


def test_identities_of_mode_off_have_no_entries() -> None:
    kernel = compiled(rule(1), modes={int(Identity.HOST): Mode.OFF})
    assert not kernel.policy.rules


def test_an_entry_that_any_peer_would_answer_alike_is_left_out() -> None:
    one = compiled(rule(1, direction=IN, ports=(tcp(80),)))
    two = compiled(
        rule(1, direction=IN, ports=(tcp(80),)),
        rule(2, direction=IN, peers={FAR}, ports=(tcp(80),)),
    )
    assert one.policy.rules == two.policy.rules


def test_too_many_entries_are_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compile.BOUNDS, "rules", 3)
    with pytest.raises(compile.PolicyTooLarge, match="4 entries of `rules`, more than the 3"):
        compiled(rule(1, direction=IN, ports=(tcp(80),)))


def test_eight_thousand_rules_are_sixteen_thousand_entries() -> None:
    """How long that takes, `make bench` says."""
    rules = [rule(i, locals_={WEB}, peers={400 + i}, ports=(tcp(i),)) for i in range(1, 8001)]
    policy_ = snapshot(*rules)
    assert len(compile_policy(policy_).rules) == 16000
