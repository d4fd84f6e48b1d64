# SPDX-License-Identifier: Apache-2.0
"""The fleet's compiler: a host gets what concerns it and nothing of others, and that means the
same as what the compiler of snapshot files makes of the policy.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import replace

import pytest

from agent.core import policy
from agent.core.model import Direction, Identity, Protocol, Snapshot
from agent.core.policy import Query
from agent.edge import content_codec
from controller.fleet.audience import audience_of
from tests.unit.fleets import THREE, host, loaded, names, rows, snapshot
from tests.unit.policies import BASE, HOSTS, POLICIES, WEB_TO_DB, compiled


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
