# SPDX-License-Identifier: Apache-2.0
"""From documents to snapshots: what every host gets, and what it must never get."""

from __future__ import annotations

import ipaddress

import pytest

from agent.core import tag
from agent.core.model import Action, Direction, Identity, Mode, Rule, Selector, Snapshot
from agent.core.snapshot import check
from controller.problems import InputRefused
from tests.unit.policies import BASE, HOSTS, NOW, WEB_TO_DB, compiled


def rule(snapshot: Snapshot, name: str) -> Rule:
    (found,) = [r for r in snapshot.rules if r.name == name]
    return found


def peer_names(snapshot: Snapshot, peers: frozenset[int] | None) -> set[str]:
    return {snapshot.names[identity] for identity in peers or ()}


def refusal(policy: str) -> list[str]:
    with pytest.raises(InputRefused) as caught:
        compiled(policy)
    return caught.value.sentences()


def allow(name: str, source: str, target: str, more: str = "ports: [tcp/1]") -> str:
    return f"kind: Allow\nname: {name}\nfrom: {source}\nto: {target}\n{more}\n---\n"


def test_an_allow_is_compiled_on_both_ends() -> None:
    snapshots = compiled(BASE + WEB_TO_DB).snapshots
    out, into = rule(snapshots["a"], "web-to-db"), rule(snapshots["b"], "web-to-db")
    assert (out.direction, into.direction) == (Direction.EGRESS, Direction.INGRESS)
    assert peer_names(snapshots["a"], out.locals) == {"front/web"}
    assert peer_names(snapshots["a"], out.peers) == {"data/db"}
    assert peer_names(snapshots["b"], into.locals) == {"data/db"}
    assert peer_names(snapshots["b"], into.peers) == {"front/web"}


def test_agents_take_every_snapshot_that_is_compiled() -> None:
    for name, snapshot in compiled(BASE + WEB_TO_DB).snapshots.items():
        assert check(snapshot, host=name, now=NOW) is None


def test_compile_is_deterministic_whatever_the_order_of_documents() -> None:
    forward = compiled(BASE + WEB_TO_DB)
    documents = (BASE + WEB_TO_DB).removesuffix("---\n").split("---\n")
    backward = compiled("---\n".join(reversed(documents)))
    assert forward.snapshots == backward.snapshots
    assert forward.allocations == backward.allocations


def test_a_host_gets_nothing_of_others() -> None:
    snapshots = compiled(BASE + WEB_TO_DB).snapshots
    lone = snapshots["c"]
    assert [w.name for w in lone.workloads] == ["hermit"]
    assert lone.rules == ()
    assert [p.name for p in lone.peers] == ["c"]
    assert not {"front/web", "data/db"} & set(lone.names.values())
    assert [p.name for p in snapshots["a"].peers] == ["a", "b"]
    assert all(p.keys for s in snapshots.values() for p in s.peers)
    secrets = {name: {k.key for k in s.receive_secrets} for name, s in snapshots.items()}
    assert not secrets["a"] & secrets["b"]
    assert not secrets["a"] & {k.key for s in snapshots.values() for p in s.peers for k in p.keys}


def test_every_managed_address_is_known_everywhere_so_that_none_counts_as_world() -> None:
    for snapshot in compiled(BASE).snapshots.values():
        known = {str(address) for peer in snapshot.peers for address in peer.addresses}
        known |= set(map(str, snapshot.managed))
        assert known == {f"192.0.2.{n}" for n in (1, 2, 3)} | {f"fd00::{n}" for n in (1, 2, 3)}


def test_a_senders_key_is_what_the_receiver_derives() -> None:
    snapshots = compiled(BASE + WEB_TO_DB).snapshots
    a, b = snapshots["a"], snapshots["b"]
    (towards_b,) = [peer for peer in a.peers if peer.name == "b"]
    assert len(towards_b.keys) == len(b.receive_secrets) == 16
    for key, secret in zip(towards_b.keys, b.receive_secrets, strict=True):
        assert (key.epoch, key.key) == (secret.epoch, tag.pair_key(secret.key, a.host))


def test_keys_cover_the_epochs_from_the_one_before_now_to_expiry() -> None:
    snapshot = compiled(BASE).snapshots["a"]
    epochs = [key.epoch for key in snapshot.receive_secrets]
    first, last = NOW // 86400 - 1, snapshot.expires // 86400
    assert epochs == list(range(first, last + 1))


def test_identities_stay_over_edits_and_are_never_given_again() -> None:
    first = compiled(BASE + WEB_TO_DB)
    without_db = BASE.replace("name: db\n", "name: aaa\n")
    second = compiled(without_db, numbers=first.allocations)
    third = compiled(BASE + WEB_TO_DB, numbers=second.allocations)
    assert second.allocations.workloads["aaa"] == max(first.allocations.workloads.values()) + 1
    assert first.snapshots["b"].workloads == third.snapshots["b"].workloads
    assert first.snapshots["b"].rules == third.snapshots["b"].rules
    assert [c.snapshots["a"].version for c in (first, second, third)] == [1, 2, 3]


def test_a_wide_network_covers_the_narrower_ones_and_world_covers_all() -> None:
    snapshot = compiled(
        BASE
        + allow("wide", "{workload: web}", "{cidr: 10.0.0.0/8}")
        + allow("narrow", "{workload: web}", "{cidr: 10.1.0.0/16}")
        + allow("world", "{workload: web}", "{world: true}")
        + allow("other", "{workload: db}", "{cidr: 172.16.0.0/12}")
    ).snapshots["a"]
    assert [str(n.cidr) for n in snapshot.networks] == ["10.0.0.0/8", "10.1.0.0/16"]
    assert peer_names(snapshot, rule(snapshot, "wide").peers) == {"10.0.0.0/8", "10.1.0.0/16"}
    assert peer_names(snapshot, rule(snapshot, "narrow").peers) == {"10.1.0.0/16"}
    assert peer_names(snapshot, rule(snapshot, "world").peers) == {
        "world", "10.0.0.0/8", "10.1.0.0/16",
    }  # fmt: skip


def test_any_is_every_process_and_every_peer() -> None:
    deny = "kind: Deny\nname: d\nfrom: {any: true}\nto: {segment: data}\nports: [any]\n---\n"
    snapshots = compiled(BASE + deny).snapshots
    out = rule(snapshots["c"], "d")
    assert out.locals is None
    assert peer_names(snapshots["c"], out.peers) == {"data/db"}
    (into,) = [r for r in snapshots["b"].rules if r.direction is Direction.INGRESS]
    assert into.peers is None
    assert into.ports == ()
    assert into.action is Action.DENY


def test_segment_default_is_identity_host_and_audits_until_someone_says_otherwise() -> None:
    policy = BASE + allow("d", "{segment: default}", "{workload: db}")
    snapshot = compiled(policy).snapshots["b"]
    assert snapshot.modes[Identity.HOST] is Mode.AUDIT
    (ingress,) = [r for r in snapshot.rules if r.direction is Direction.INGRESS]
    assert ingress.peers == frozenset({int(Identity.HOST)})
    enforced = compiled(policy + "kind: Segment\nname: default\nmode: enforce\n").snapshots["b"]
    assert enforced.modes[Identity.HOST] is Mode.ENFORCE


def test_labels_select_workloads() -> None:
    policy = BASE + allow("l", "{labels: {app: shop}}", "{workload: hermit}")
    snapshot = compiled(policy).snapshots["c"]
    assert peer_names(snapshot, rule(snapshot, "l").peers) == {"front/web", "data/db"}


def test_unproven_and_staging_reach_the_rule() -> None:
    policy = BASE + allow("u", "{unproven: true}", "{workload: db}", "ports: [udp/53]\nmode: audit")
    found = rule(compiled(policy).snapshots["b"], "u")
    assert found.peers == frozenset({int(Identity.UNPROVEN)})
    assert found.staged


def test_lifelines_are_on_every_host() -> None:
    line = "kind: Lifeline\nname: l\ndirection: in\npeer: {cidr: 10.9.0.0/24}\nports: [tcp/22]\n"
    for snapshot in compiled(BASE + line).snapshots.values():
        found = rule(snapshot, "l")
        assert found.locals is None
        assert found.action is Action.LIFELINE
        assert peer_names(snapshot, found.peers) == {"10.9.0.0/24"}


def test_uid_and_host_labels_become_what_the_agent_matches() -> None:
    policy = BASE.replace("{unit: redis.service, host", "{exe: /r, uid: 7, host")
    (workload,) = compiled(policy).snapshots["b"].workloads
    assert workload.match == (Selector(exe="/r", user="7"),)


def test_hosts_flags_and_settings_reach_the_snapshot() -> None:
    hosts = HOSTS.replace("{role: db}", "{role: db}, tags: off, nat: true").replace(
        "hosts:", "settings: {epoch: 1h, validity: 10h, hold_limit: 500ms}\nhosts:"
    )
    snapshot = compiled(BASE + WEB_TO_DB, hosts).snapshots["a"]
    assert [(p.tags_off, p.nat) for p in snapshot.peers] == [(False, False), (True, True)]
    assert (snapshot.settings.epoch_seconds, snapshot.settings.hold_limit_ms) == (3600, 500)
    assert snapshot.expires == NOW + 36_000
    assert ipaddress.ip_address("192.0.2.2") in snapshot.peers[1].addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (allow("x", "{segment: fron}", "{any: true}"),
         "p.yaml:32: from.segment: there is no Segment fron; there are data, front, lone"),
        (allow("x", "{any: true}", "{workload: dbb}"),
         "p.yaml:33: to.workload: there is no Workload dbb; there are db, hermit, web"),
        (allow("x", "{any: true}", "[{any: true}, {fqdn: a.example}]"),
         "p.yaml:33: to[1].fqdn: fqdn is not supported yet by this version"),
        (allow("x", "{world: true}", "{cidr: 10.0.0.0/8}"),
         "p.yaml:30: neither from nor to names anything that runs on a managed host"),
        ("kind: Workload\nname: x\nsegment: gone\nmatch: [{exe: /x}]\n",
         "p.yaml:32: segment: segment gone has no Segment document"),
        ("kind: Workload\nname: x\nsegment: lone\nmatch: [{container: 'image=nginx:*'}]\n",
         "p.yaml:33: match[0]: a tie: Workload x and Workload web (p.yaml:13) could match the same "
         "process equally well on host a"),
        ("kind: Workload\nname: x\nsegment: lone\nmatch: [{unit: nginx.service}]\n",
         "p.yaml:33: match[0]: a tie: Workload x and Workload web (p.yaml:13) have the same "
         "selectors on host a"),
    ],
)  # fmt: skip
def test_what_documents_mean_together_is_checked(text: str, expected: str) -> None:
    told = refusal(BASE + text)
    assert any(sentence.startswith(expected) for sentence in told), told


def test_the_same_selectors_on_different_hosts_are_no_tie() -> None:
    twin = (
        "kind: Workload\nname: x\nsegment: lone\nmatch: [{unit: nginx.service, host: {role: db}}]\n"
    )
    compiled(BASE + twin)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: Workload\nname: x\nsegment: lone\nmatch: [{exe: /x, host: {role: mars}}]\n",
         "p.yaml:33: match[0].host: matches nothing: no host has these labels"),
        (allow("x", "{labels: {a: b}}", "{any: true}"),
         "p.yaml:32: from.labels: matches nothing: no Workload has these labels"),
        ("kind: Segment\nname: empty\nmode: off\n---\n"
         + allow("x", "{segment: empty}", "{any: true}"),
         "p.yaml:36: from.segment: matches nothing: no Workload is in segment empty"),
        (allow("x", "{cidr: 192.0.2.0/24}", "{workload: db}"),
         "p.yaml:30: 192.0.2.0/24 holds an address of host a, which this does not cover"),
    ],
)  # fmt: skip
def test_what_is_probably_a_mistake_is_a_warning(text: str, expected: str) -> None:
    told = [str(warning) for warning in compiled(BASE + text).warnings]
    assert any(sentence.startswith(expected) for sentence in told), told


def test_a_document_whose_time_is_over_is_left_out_with_a_warning() -> None:
    over = allow("x", "{workload: web}", "{any: true}", "ports: [any]\nuntil: 2020-01-01T00:00:00Z")
    result = compiled(BASE + over)
    assert result.snapshots["a"].rules == ()
    assert [str(w) for w in result.warnings] == ["p.yaml:35: until: left out: its time is over"]


def test_a_snapshot_expires_with_its_first_document() -> None:
    soon = allow("x", "{workload: web}", "{any: true}", "ports: [any]\nuntil: 2027-01-15T09:00:00Z")
    result = compiled(BASE + soon)
    assert result.snapshots["c"].expires == 1_800_003_600
    assert "all snapshots expire at this time" in str(result.warnings[0])


def test_a_stranger_whose_path_strips_tags_is_judged_by_network_and_so_is_not_managed() -> None:
    hosts = HOSTS.replace("{role: db}", "{role: db}, tags: off")
    snapshot = compiled(BASE, hosts).snapshots["a"]
    assert set(map(str, snapshot.managed)) == {"192.0.2.3", "fd00::3"}


def test_rules_come_in_the_order_in_which_they_are_judged() -> None:
    deny = "kind: Deny\nname: {0}\nfrom: {{any: true}}\nto: {{segment: data}}\nports: [any]\n---\n"
    first = compiled(BASE + WEB_TO_DB + deny.format("b"))
    second = compiled(
        BASE + WEB_TO_DB + deny.format("b") + deny.format("a"), numbers=first.allocations
    )
    order = [(r.action, r.number) for r in second.snapshots["b"].rules]
    assert order == sorted(order)
    denies = [r.name for r in second.snapshots["b"].rules if r.action is Action.DENY]
    assert denies == ["b", "b", "a", "a"]
