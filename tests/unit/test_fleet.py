# SPDX-License-Identifier: Apache-2.0
"""The fleet's compiler: incremental is the same as whole, and nobody gets what is another's.

Long because all of it edits one made-up fleet and compares what becomes of it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core import policy
from agent.core.content import Section
from agent.core.model import (
    Action,
    Decision,
    Direction,
    Identity,
    Mode,
    Protocol,
    Reason,
    Snapshot,
    Verdict,
)
from agent.core.policy import Query
from agent.core.snapshot import check_content
from agent.edge import content_codec
from agent.pb import policy_pb2 as pb
from controller.fleet.audience import audience_of
from controller.fleet.changes import Touched
from controller.fleet.compile import Fleet
from controller.records import FleetSettings, HostRow, Target
from tests.unit.fleets import Rows, host
from tests.unit.policies import BASE, HOSTS, NOW, WEB_TO_DB, compiled
from tests.unit.test_content_codec import Ring

THREE = {
    "a": host("a", 1, {"role": "web"}),
    "b": host("b", 2, {"role": "db"}),
    "c": host("c", 3, {"role": "other"}),
}


def rows(*texts: str, hosts: Iterable[HostRow] = THREE.values()) -> Rows:
    made = Rows()
    for row in hosts:
        made.put_host(row)
    made.put(BASE + "".join(texts))
    return made


def loaded(made: Rows) -> Fleet:
    fleet = Fleet()
    fleet.load(made.whole())
    return fleet


def snapshot(fleet: Fleet, name: str) -> Snapshot:
    """What the agent of this host makes of what it is sent."""
    said, content = fleet.record(name), fleet.content(fleet.audience(name))
    record = pb.HostRecord(
        host=said.host, host_name=said.name, trust_domain=said.trust_domain,
        addresses=[a.packed for a in said.addresses], tags_off=said.tags_off, nat=said.nat,
    )  # fmt: skip
    release = pb.Release(store_epoch=1, version=1, issued=NOW, expires=NOW + 100)
    made = content_codec.snapshot(content.entries, record, Ring((), {}), release)
    assert check_content(made) is None
    return made


def names(items: Iterable[object]) -> list[str]:
    return [item.name for item in items]  # type: ignore[attr-defined]


# What a host gets.


def test_a_host_gets_nothing_of_others() -> None:
    fleet = loaded(rows(WEB_TO_DB))
    lone, web = snapshot(fleet, "c"), snapshot(fleet, "a")
    assert names(lone.workloads) == ["hermit"]
    assert lone.rules == ()
    assert names(lone.peers) == ["c"]
    assert not {"front/web", "data/db"} & set(lone.names.values())
    assert names(web.peers) == ["a", "b"]
    assert names(web.rules) == ["web-to-db"]
    assert fleet.peers(fleet.audience("c")) == frozenset()
    everything = content_codec.encode_content(fleet.content(fleet.audience("c")).entries)
    for foreign in (b"web", b"db", b"nginx", b"redis"):
        assert foreign not in everything


def test_addresses_of_the_whole_fleet_are_known_and_not_whose() -> None:
    fleet = loaded(rows(WEB_TO_DB))
    managed = {str(address) for address in snapshot(fleet, "c").managed}
    assert managed == {f"192.0.2.{n}" for n in (1, 2, 3)} | {f"fd00::{n}" for n in (1, 2, 3)}


def test_hosts_with_equal_labels_share_one_content_and_one_audience() -> None:
    twin = host("a2", 4, {"role": "web"})
    other = host("a3", 5, {"role": "web", "rack": "7"})
    fleet = loaded(rows(WEB_TO_DB, hosts=[*THREE.values(), twin, other]))
    assert fleet.audience("a") == fleet.audience("a2") != fleet.audience("a3")
    assert fleet.content(fleet.audience("a")) is fleet.content(fleet.audience("a3"))
    assert names(snapshot(fleet, "b").peers) == ["a", "b", "a2", "a3"]


def test_audiences_differ_by_labels_and_mark_alone() -> None:
    a, twin = THREE["a"], replace(THREE["a"], name="z", number=9, nat=True)
    assert audience_of(a, False) == audience_of(twin, False)
    seen = {
        audience_of(a, False),
        audience_of(a, True),
        audience_of(replace(a, labels={"ro": "leweb"}), False),
        audience_of(replace(a, labels={}), False),
        audience_of(replace(a, labels={"role": "web", "x": ""}), False),
    }
    assert len(seen) == 5
    assert {len(audience) for audience in seen} == {16}


# The same meaning as that of snapshot files.

POLICIES = [
    WEB_TO_DB,
    "kind: Deny\nname: d\nfrom: {any: true}\nto: {segment: data}\nports: [tcp/22, icmp/*]\n---\n",
    "kind: Allow\nname: w\nfrom: {segment: front}\nto: [{world: true}, {cidr: 10.0.0.0/8}]\n"
    "ports: [tcp/443]\n---\n",
    "kind: Allow\nname: n\nfrom: {cidr: 10.1.0.0/16}\nto: {labels: {app: shop}}\n"
    "ports: [tcp/80-90]\n---\n",
    "kind: Allow\nname: l\nfrom: {segment: default}\nto: {workload: db}\nports: [any]\n---\n",
    "kind: Lifeline\nname: ssh\ndirection: in\npeer: {cidr: 10.1.2.0/24}\nports: [tcp/22]\n---\n",
    "kind: Allow\nname: u\nfrom: {unproven: true}\nto: {workload: hermit}\nports: [udp/53]\n---\n",
]


def questions(made: Snapshot, known: dict[str, int]) -> Iterable[tuple[str, str, Query]]:
    """By names, because numbers are the compiler's own."""
    addresses = [
        ipaddress.ip_address(a) for a in ("10.1.2.3", "10.1.9.9", "10.9.9.9", "198.51.1.1")
    ]
    locals_ = {"host": int(Identity.HOST)} | {w.name: w.identity for w in made.workloads}
    for local, identity in locals_.items():
        for direction in Direction:
            for protocol, port in (
                (Protocol.TCP, 22),
                (Protocol.TCP, 443),
                (Protocol.TCP, 85),
                (Protocol.UDP, 53),
                (Protocol.TCP, 6379),
                (Protocol.ICMP, 8),
            ):
                for name, peer in known.items():
                    yield local, name, Query(direction, protocol, identity, peer, port)
                for address in addresses:
                    peer = policy.network_identity(made, address)
                    query = Query(direction, protocol, identity, peer, port, address)
                    yield local, str(address), query


@pytest.mark.parametrize("count", range(len(POLICIES) + 1))
def test_verdicts_are_those_of_the_offline_compiler(count: int) -> None:
    text = "".join(POLICIES[:count]) if count else "".join(reversed(POLICIES))
    offline = compiled(BASE + text, HOSTS)
    made = rows(text)
    fleet = loaded(made)
    reserved = {"host": Identity.HOST, "unproven": Identity.UNPROVEN, "world": Identity.WORLD}
    for name, theirs in offline.snapshots.items():
        ours = snapshot(fleet, name)
        for answer, asked in zip(
            questions(ours, dict(made.numbers.workloads) | reserved),
            questions(theirs, dict(offline.allocations.workloads) | reserved),
            strict=True,
        ):
            assert answer[:2] == asked[:2]
            one, other = policy.verdict(ours, answer[2]), policy.verdict(theirs, asked[2])
            assert (one.verdict, one.reason) == (other.verdict, other.reason), answer
        assert {p.name for p in ours.peers} == {p.name for p in theirs.peers}
        ours_known = ours.managed | {a for p in ours.peers for a in p.addresses}
        assert ours_known == theirs.managed | {a for p in theirs.peers for a in p.addresses}
        assert {w.name: w.match for w in ours.workloads} == {
            w.name: w.match for w in theirs.workloads
        }
        order = [(rule.action, rule.number) for rule in theirs.rules]
        assert order == sorted(order)


# Quarantine, leases, ends.


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


def until(moment: int) -> str:
    return f"until: {datetime.fromtimestamp(moment, UTC).isoformat()}\n"


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


# Incremental and whole.

_LABELS = st.dictionaries(
    st.sampled_from(["role", "rack"]), st.sampled_from(["web", "db", "other"]), max_size=2
)
_NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
_WORKLOADS = st.sampled_from(["web", "db", "hermit", "extra"])
_SEGMENTS = st.sampled_from(["front", "data", "lone"])
_PEERS = st.sampled_from(
    ["{any: true}", "{world: true}", "{unproven: true}",
     "{cidr: 10.0.0.0/8}", "{cidr: 10.1.0.0/16}",
     "{cidr: 192.0.2.2/32}",
     "{segment: front}", "{segment: data}", "{segment: default}",
     "{workload: web}", "{workload: db}", "{labels: {app: shop}}", "{labels: {app: none}}"]
)  # fmt: skip
_RULES = st.sampled_from(["r1", "r2", "r3", "r4"])
Edit = Callable[[Rows], None]


def _end(draw: st.DrawFn) -> str:
    return until(NOW + draw(st.integers(1, 30))) if draw(st.integers(0, 4)) == 0 else ""


@st.composite
def rule_edits(draw: st.DrawFn) -> Edit:
    kind, name = draw(st.sampled_from(["Allow", "Deny"])), draw(_RULES)
    if draw(st.integers(0, 3)) == 0:
        return lambda made: made.drop(kind, name)
    source, target = draw(_PEERS), draw(_PEERS | st.just("{segment: front}"))
    mode = draw(st.sampled_from(["enforce", "audit"]))
    ports = draw(st.sampled_from(["tcp/1", "any", "tcp/8-9"]))
    if not any(word in source + target for word in ("any", "segment", "workload", "labels")):
        target = "{segment: data}"
    text = (
        f"kind: {kind}\nname: {name}\nfrom: {source}\nto: {target}\nports: [{ports}]\n"
        f"mode: {mode}\n{_end(draw)}"
    )
    return lambda made: made.put(text)


@st.composite
def workload_edits(draw: st.DrawFn) -> Edit:
    name, segment = draw(_WORKLOADS), draw(_SEGMENTS)
    if draw(st.integers(0, 3)) == 0:
        return lambda made: made.drop("Workload", name)
    labels = draw(_LABELS)
    text = (
        f"kind: Workload\nname: {name}\nsegment: {segment}\n"
        f"labels: {{app: {draw(st.sampled_from(['shop', 'none']))}}}\n"
        f"match: [{{unit: {name}.service, host: {labels}}}]\n{_end(draw)}".replace("'", "")
    )
    return lambda made: made.put(text)


@st.composite
def host_edits(draw: st.DrawFn) -> Edit:
    name = draw(_NAMES)
    if draw(st.integers(0, 4)) == 0:
        return lambda made: made.drop_host(name)
    number = ord(name) - ord("a") + 1
    flags = {flag: draw(st.booleans()) for flag in ("tags", "nat", "lost")}
    row = host(name, number, draw(_LABELS), **flags)
    return lambda made: made.put_host(row)


@st.composite
def other_edits(draw: st.DrawFn) -> Edit:
    kind = draw(st.sampled_from(["segment", "lifeline", "quarantine", "settings", "nothing"]))
    if kind == "segment":
        name = draw(_SEGMENTS | st.just("default"))
        mode = draw(st.sampled_from(["off", "audit", "enforce", ""]))
        text = f"kind: Segment\nname: {name}\nmode: {mode}\n{_end(draw)}"
        return lambda made: made.put(text) if mode else made.drop("Segment", name)
    if kind == "lifeline":
        peer = draw(st.sampled_from(["{any: true}", "{cidr: 10.1.2.0/24}", "{world: true}"]))
        text = (
            f"kind: Lifeline\nname: l\ndirection: in\npeer: {peer}\nports: [tcp/22]\n{_end(draw)}"
        )
        drop = draw(st.booleans())
        return lambda made: made.drop("Lifeline", "l") if drop else made.put(text)
    if kind == "quarantine":
        target = draw(st.builds(Target, host=_NAMES) | st.builds(Target, workload=_WORKLOADS))
        on = draw(st.booleans())
        return lambda made: made.quarantine(target, on)
    settings_ = FleetSettings(hold_limit_ms=draw(st.integers(100, 103)))
    return lambda made: setattr(made, "settings", settings_) if kind == "settings" else None


@st.composite
def small_edits(draw: st.DrawFn) -> Edit:
    """Of one thing of what is there, so that little else hides what is forgotten."""
    name, workload, segment = draw(_NAMES), draw(_WORKLOADS), draw(_SEGMENTS)

    def lose(made: Rows) -> None:
        if row := made.hosts.get(name):
            made.put_host(replace(row, lost=not row.lost))

    def move(made: Rows) -> None:
        if row := made.documents.get(("Workload", workload)):
            made.put(re.sub("segment: .*", f"segment: {segment}", row.text))

    return lose if draw(st.booleans()) else move


_DOCUMENTS = rule_edits() | rule_edits() | workload_edits()
_EDITS = _DOCUMENTS | small_edits() | host_edits() | other_edits()


def state(fleet: Fleet) -> dict[str, object]:
    return {
        "hosts": {name: fleet.record(name) for name in fleet.hosts},
        "contents": {
            audience: (content.digest, content.peers, content.until, content.entries)
            for audience, content in fleet.audiences.items()
        },
        "moment": fleet.moment,
        "next": fleet.next_end(),
    }


@given(st.lists(st.lists(_EDITS, min_size=1, max_size=2), min_size=1, max_size=10))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_updates_lead_to_what_a_load_of_the_result_gives(steps: list[list[Edit]]) -> None:
    made = rows(WEB_TO_DB)
    made.part()
    fleet = loaded(made)
    for edits in steps:
        for edit in edits:
            edit(made)
        before = {audience: content.digest for audience, content in fleet.audiences.items()}
        touched = fleet.update(made.part(seconds=5))
        whole = loaded(made)
        assert state(fleet) == state(whole)
        after = {audience: content.digest for audience, content in fleet.audiences.items()}
        changed = {a for a in after if before.get(a) != after[a]}
        assert changed <= touched.audiences
        assert touched.gone == before.keys() - after.keys()
        for name in fleet.hosts:
            snapshot(fleet, name)
    assert fleet.advance(made.at + 100).audiences == whole.advance(made.at + 100).audiences
    assert state(fleet) == state(whole)


def test_a_change_touches_no_audience_that_it_does_not_concern() -> None:
    made = rows(WEB_TO_DB)
    made.part()
    fleet = loaded(made)
    lone = fleet.content(fleet.audience("c"))
    made.put(WEB_TO_DB.replace("6379", "6380"))
    touched = fleet.update(made.part())
    assert touched.audiences == {fleet.audience("a"), fleet.audience("b")}
    assert fleet.content(fleet.audience("c")) is lone
    assert touched.hosts == frozenset()
    old, new = lone, fleet.content(fleet.audience("a"))
    assert old.entries[Section.MANAGED] is new.entries[Section.MANAGED]


def test_who_has_a_rule_for_anybody_hears_of_every_host_that_comes_and_goes() -> None:
    made = rows(WEB_TO_DB.replace("{workload: web}", "{any: true}"))
    made.part()
    fleet = loaded(made)
    assert names(snapshot(fleet, "b").peers) == ["a", "b", "c"]
    made.put_host(replace(THREE["c"], lost=True))
    assert fleet.audience("b") in fleet.update(made.part()).audiences
    assert names(snapshot(fleet, "b").peers) == ["a", "b"]
