# SPDX-License-Identifier: Apache-2.0
"""The kernel's look-up over the compiled entries gives what the oracle gives.

Long because the kernel's look-up is written here once more and every test asks it.
"""

import ipaddress
import sys
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import abi, compile, policy
from agent.core.compile import KernelPolicy, compile_policy
from agent.core.model import (
    Action,
    Decision,
    Direction,
    Identity,
    IPAddress,
    Mode,
    Network,
    Protocol,
    Reason,
    Rule,
    Snapshot,
    Verdict,
)
from agent.core.policy import Query
from tests.unit import snapshots
from tests.unit.snapshots import API, DB, FAR, LAN, NARROW, WEB, WIDE, rule, snapshot, tcp

IN, OUT = Direction.INGRESS, Direction.EGRESS
_ADDRESSES = """192.0.2.2 192.0.2.77 198.51.1.1 198.51.100.7 203.0.113.1 127.0.0.1 127.9.9.9
    ::1 2001:db8::5 fd00::2 0.0.0.0 ::ffff:192.0.2.2"""
ADDRESSES: list[IPAddress] = [ipaddress.ip_address(text) for text in _ADDRESSES.split()]


@dataclass(frozen=True)
class Kernel:
    """bpf/judge.h in Python: the same order of look-ups over the same bytes."""

    policy: KernelPolicy

    def _trie(self, table: dict[bytes, bytes], key: bytes, bits: int) -> bytes | None:
        number = int.from_bytes(key, "big")
        for length in range(bits, -1, -1):
            kept = (number >> (bits - length) << (bits - length)).to_bytes(bits // 8, "big")
            found = table.get(length.to_bytes(4, sys.byteorder) + kept)
            if found is not None:
                return found
        return None

    def classify(self, address: IPAddress) -> abi.AddressEntry:
        packed = abi.pack_address(address)
        found = self.policy.addresses.get(packed)
        if found is None and self.policy.flags & abi.GenerationFlag.PREFIXES:
            found = self._trie(self.policy.networks, packed, 128)
        if found is None:
            return abi.AddressEntry(Identity.WORLD, 0)
        return abi.ADDRESS_ENTRY.unpack(found)

    def by_address(self, address: IPAddress) -> int:
        """`identity_by_address`: the peer's identity where nothing else speaks for it."""
        entry = self.classify(address)
        if not entry.host:
            return entry.identity
        peer = self.policy.peers.get(entry.host.to_bytes(4, sys.byteorder))
        tags_off = peer is not None and abi.PEER.unpack(peer).flags & abi.PeerFlag.TAGS_OFF
        return entry.identity if tags_off else Identity.UNPROVEN

    def _for_peer(self, key: abi.RuleKey, ranges: bool) -> bytes | None:
        found = self.policy.rules.get(abi.RULE_KEY.pack(key))
        if found is None and ranges:
            port = key.port.to_bytes(2, "big")
            asked = abi.RangeKey(0, key.local, key.peer, key.scope, key.protocol, port)
            found = self._trie(self.policy.ranges, abi.RANGE_KEY.pack(asked)[4:], 96)
        if found is None:
            whole = key._replace(port=0, scope=key.scope | abi.Scope.WHOLE)
            found = self.policy.rules.get(abi.RULE_KEY.pack(whole))
        return found

    def find(self, key: abi.RuleKey, ranges: bool) -> abi.RuleEntry | None:
        found = self._for_peer(key, ranges)
        if found is None and key.peer:
            found = self._for_peer(key._replace(peer=0), ranges)
        return None if found is None else abi.RULE_ENTRY.unpack(found)

    def _key(self, query: Query, local: int, peer: int) -> abi.RuleKey:
        return abi.RuleKey(local, peer, query.port, query.protocol, int(query.direction))

    def mode(self, local: int) -> tuple[int, abi.ModeEntry]:
        for identity in (local, Identity.HOST):
            found = self.policy.modes.get(identity.to_bytes(4, sys.byteorder))
            if found is not None:
                return identity, abi.MODE_ENTRY.unpack(found)
        raise AssertionError("every policy has the mode of host")

    def lifeline(self, query: Query) -> int:
        flags = abi.GenerationFlag(self.policy.flags)
        asked = abi.GenerationFlag.LIFELINES_IN
        if query.direction is OUT:
            asked = abi.GenerationFlag.LIFELINES_OUT
        if asked not in flags:
            return 0
        by: int = Identity.WORLD
        if query.address is not None:
            by = self.classify(query.address).identity
        entry = self.find(
            self._key(query, Identity.LIFELINE, by), abi.GenerationFlag.RANGES in flags
        )
        return entry.rule if entry and entry.action == abi.RuleAction.LIFELINE else 0

    def entry(self, query: Query) -> abi.RuleEntry | None:
        """The entry that decides, or None before rules are asked."""
        local, mode = self.mode(query.local)
        if self.lifeline(query) or mode.mode == Mode.OFF:
            return None
        ranges = bool(mode.flags & abi.ModeFlag.RANGES)
        return self.find(self._key(query, local, query.peer), ranges)

    def decide(self, query: Query, *, provisional: bool = False) -> Decision:
        lifeline = self.lifeline(query)
        if lifeline:
            return Decision(Verdict.ALLOW, Reason.LIFELINE, lifeline)
        _, mode = self.mode(query.local)
        if mode.mode == Mode.OFF:
            return Decision(Verdict.ALLOW, Reason.MODE_OFF)
        refused = Verdict.REFUSE if mode.mode == Mode.ENFORCE else Verdict.AUDIT
        entry = self.entry(query)
        if entry and entry.action == abi.RuleAction.ALLOW:
            if provisional:
                return Decision(Verdict.ALLOW, Reason.PROVISIONAL)
            return Decision(Verdict.ALLOW, Reason.RULE_ALLOW, entry.rule)
        if entry and entry.action == abi.RuleAction.DENY:
            return Decision(refused, Reason.RULE_DENY, entry.rule)
        if query.same_host and query.local == query.peer:
            return Decision(Verdict.ALLOW, Reason.SELF)
        return Decision(refused, Reason.NO_RULE)

    def provisional(self, local: int, protocol: Protocol, port: int) -> Decision:
        query = Query(OUT, protocol, local, Identity.MANAGED, port)
        return self.decide(query, provisional=True)

    def staged(self, query: Query) -> tuple[int, Action] | None:
        entry = self.entry(query)
        if entry is None or not entry.staged:
            return None
        deny = entry.staged_action == abi.RuleAction.DENY
        return entry.staged, Action.DENY if deny else Action.ALLOW


def compiled(*rules: Rule, modes: dict[int, Mode] | None = None) -> Kernel:
    return Kernel(compile_policy(snapshot(*rules, modes=modes)))


def ask(
    kernel: Kernel,
    port: int,
    *,
    local: int = WEB,
    peer: int = FAR,
    direction: Direction = OUT,
    protocol: Protocol = Protocol.TCP,
    address: str | None = None,
    same_host: bool = False,
) -> tuple[Verdict, Reason, int]:
    where = None if address is None else ipaddress.ip_address(address)
    found = kernel.decide(Query(direction, protocol, local, peer, port, where, same_host))
    return found.verdict, found.reason, found.rule


def allowed(number: int) -> tuple[Verdict, Reason, int]:
    return Verdict.ALLOW, Reason.RULE_ALLOW, number


def denied(number: int) -> tuple[Verdict, Reason, int]:
    return Verdict.REFUSE, Reason.RULE_DENY, number


NO_RULE = (Verdict.REFUSE, Reason.NO_RULE, 0)


@st.composite
def queries(draw: st.DrawFn, policy_: Snapshot) -> Query:
    networks = [network.identity for network in policy_.networks]
    peers = [1, 2, 3, 4, 6, WEB, API, DB, FAR, 401, 402, *networks]
    protocol = draw(st.sampled_from(Protocol))
    port = draw(snapshots.PORTS | st.integers(0, 65535))
    return Query(
        direction=draw(st.sampled_from(Direction)),
        protocol=protocol,
        local=draw(st.sampled_from([1, 6, WEB, API, DB, 999])),
        peer=draw(st.sampled_from(peers)),
        port={Protocol.OTHER: 0, Protocol.TCP: port, Protocol.UDP: port}.get(protocol, port % 256),
        address=draw(st.none() | st.sampled_from(ADDRESSES)),
        same_host=draw(st.booleans()),
    )


@given(st.data())
@settings(max_examples=400)
def test_the_kernel_agrees_with_the_oracle(data: st.DataObject) -> None:
    policy_ = data.draw(snapshots.snapshots())
    kernel = Kernel(compile_policy(policy_))
    for query in data.draw(st.lists(queries(policy_), min_size=1, max_size=12)):
        assert kernel.decide(query) == policy.verdict(policy_, query), query
        assert kernel.staged(query) == policy.staged(policy_, query), query


@given(st.data())
@settings(max_examples=300)
def test_the_kernel_agrees_on_what_connect_may_assume(data: st.DataObject) -> None:
    policy_ = data.draw(snapshots.snapshots())
    kernel = Kernel(compile_policy(policy_))
    for query in data.draw(st.lists(queries(policy_), min_size=1, max_size=12)):
        asked = (query.local, query.protocol, query.port)
        assert kernel.provisional(*asked) == policy.provisional(policy_, *asked), asked


def edges(rules: list[Rule]) -> set[tuple[Protocol, int]]:
    """Each port where some rule begins or ends, and its neighbours."""
    return {
        (ports.protocol, port)
        for rule_ in rules
        for ports in rule_.ports
        for port in (ports.first - 1, ports.first, ports.last, ports.last + 1)
        if 0 <= port <= 65535
    }


@st.composite
def crowded(draw: st.DrawFn) -> Snapshot:
    """Egress rules of one workload that meet at few peers: one, all that could answer, any."""
    everybody = set(policy.answerers(snapshot()))
    rules = [
        rule(
            number,
            draw(st.sampled_from([Action.ALLOW, Action.DENY])),
            locals_={WEB},
            peers=draw(st.sampled_from([None, {FAR}, {FAR, API}, everybody, everybody - {FAR}])),
            ports=tuple(draw(st.lists(snapshots.port_ranges(), max_size=3))),
        )
        for number in range(1, draw(st.integers(2, 7)))
    ]
    return snapshot(*rules)


@given(crowded())
@settings(max_examples=400)
def test_the_kernel_agrees_at_every_edge_of_every_range(policy_: Snapshot) -> None:
    kernel = Kernel(compile_policy(policy_))
    for protocol, port in edges(list(policy_.rules)):
        query = Query(OUT, protocol, WEB, FAR, port)
        assert kernel.decide(query) == policy.verdict(policy_, query), query
        found = kernel.provisional(WEB, protocol, port)
        assert found == policy.provisional(policy_, WEB, protocol, port), query


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


@given(st.sampled_from(ADDRESSES), snapshots.snapshots())
@settings(max_examples=150)
def test_addresses_have_the_identity_of_their_longest_prefix(
    address: IPAddress, policy_: Snapshot
) -> None:
    kernel = Kernel(compile_policy(policy_))
    assert kernel.classify(address).identity == policy.network_identity(policy_, address)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("192.0.2.1", 1),
        ("192.0.2.2", 2),
        ("fd00::2", 2),
        ("127.0.0.1", 1),
        ("127.9.9.9", 1),
        ("::1", 1),
        ("0.0.0.0", 1),
        ("192.0.2.3", 0),
        ("203.0.113.1", 0),
    ],
)
def test_addresses_have_their_managed_host(address: str, host: int) -> None:
    assert compiled().classify(ipaddress.ip_address(address)).host == host


@pytest.mark.parametrize("address", ["192.0.2.77", "203.0.113.1", "fd00::9"])
def test_a_managed_address_without_a_peer_is_unproven(address: str) -> None:
    stranger = ipaddress.ip_address(address)
    kernel = Kernel(compile_policy(snapshot(managed=frozenset({stranger}))))
    assert kernel.by_address(stranger) == Identity.UNPROVEN
    assert kernel.by_address(ipaddress.ip_address("203.0.113.2")) == Identity.WORLD


def test_a_managed_address_of_a_peer_is_the_peers() -> None:
    address = ipaddress.ip_address("192.0.2.2")
    kernel = Kernel(compile_policy(snapshot(managed=frozenset({address}))))
    assert kernel.classify(address).host == 2


def test_a_lifeline_for_a_network_is_open_to_a_stranger_in_it() -> None:
    line = rule(2, Action.LIFELINE, IN, peers={LAN}, ports=(tcp(22),))
    stranger = ipaddress.ip_address("192.0.2.77")
    kernel = Kernel(compile_policy(snapshot(line, managed=frozenset({stranger}))))
    asked = ask(kernel, 22, direction=IN, peer=Identity.UNPROVEN, address=str(stranger))
    assert asked == (Verdict.ALLOW, Reason.LIFELINE, 2)


def test_a_narrow_network_stands_before_the_wide_one_around_it() -> None:
    kernel = compiled()
    assert kernel.classify(ipaddress.ip_address("198.51.100.7")).identity == NARROW
    assert kernel.classify(ipaddress.ip_address("198.51.100.8")).identity == WIDE


def test_networks_that_begin_alike_keep_their_identities() -> None:
    wide = Network(0x800010, ipaddress.ip_network("10.0.0.0/8"))
    narrow = Network(0x800011, ipaddress.ip_network("10.0.0.0/24"))
    kernel = Kernel(compile_policy(snapshot(networks=(wide, narrow))))
    assert kernel.classify(ipaddress.ip_address("10.0.0.9")).identity == 0x800011
    assert kernel.classify(ipaddress.ip_address("10.0.1.9")).identity == 0x800010


def test_an_ipv6_prefix_does_not_answer_for_ipv4() -> None:
    everything = Network(0x800009, ipaddress.ip_network("::/0"))
    kernel = Kernel(compile_policy(snapshot(networks=(everything,))))
    assert kernel.classify(ipaddress.ip_address("203.0.113.1")).identity == Identity.WORLD
    assert kernel.classify(ipaddress.ip_address("2001::1")).identity == 0x800009


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
