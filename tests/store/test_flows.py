# SPDX-License-Identifier: Apache-2.0
"""Flow records: kept once, summed right, found by what is asked, gone when their time is over."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import pytest

from controller.flow_records import Edge, FlowBatch, FlowFilter, FlowRecord, Kept
from controller.records import Page, Paged
from controller.store import SqlStorage
from tests.store.making import NOW, join

T = TypeVar("T")
MINUTE = NOW // 60 * 60
WEB_DB = Edge(
    "egress", "allow", "rule_allow", "web-to-db", "front/web", "data/db", "tag", "tcp", 5432
)
DB_SIDE = WEB_DB._replace(direction="ingress")
REFUSED = WEB_DB._replace(verdict="refuse", reason="no_rule", rule="", port=22)
WORLD = Edge("ingress", "refuse", "no_rule", "", "world", "front/web", "address", "tcp", 443)
FOLDED = Edge("ingress", "refuse", "folded", "", "", "", "", "", 0)
EVERYTHING = FlowFilter()


def record(edge: Edge = WEB_DB, minute: int = MINUTE, **changed: object) -> FlowRecord:
    made = FlowRecord(
        minute=minute, edge=edge, executable="/usr/bin/web", address="", count=3,
        first_ms=minute * 1000 + 100, last_ms=minute * 1000 + 2000, closed=2, source_bytes=100,
        destination_bytes=5000, source_packets=10, destination_packets=12, duration_ms=1500,
    )  # fmt: skip
    return replace(made, **changed)  # type: ignore[arg-type]


def batch(
    host: int, *records: FlowRecord, sequence: int = 1, instance: bytes = b"i" * 16
) -> FlowBatch:
    return FlowBatch(host, instance, sequence, records or (record(),))


@pytest.fixture
def host(storage: SqlStorage) -> int:
    return join(storage, "web-1").number


def everything(storage: SqlStorage, chosen: FlowFilter = EVERYTHING) -> list[FlowRecord]:
    return [flow.record for flow in storage.flows(chosen, Page(1000)).items]


def edges(storage: SqlStorage, chosen: FlowFilter = EVERYTHING, new_since: int = 0) -> list[Edge]:
    return [seen.edge for seen in storage.edges(chosen, new_since, Page(1000)).items]


def test_what_is_kept_is_what_came(storage: SqlStorage, host: int) -> None:
    told = [record(), record(WORLD, address="192.0.2.7"), record(FOLDED, executable="")]
    assert storage.add_flows([batch(host, *told)], NOW) == 3
    found = storage.flows(EVERYTHING, Page(10)).items
    assert [flow.record for flow in found] == told[::-1]
    assert {flow.host for flow in found} == {"web-1"}


def test_batch_that_comes_again_is_kept_once(storage: SqlStorage, host: int) -> None:
    for sequence, kept in ((1, 1), (1, 0), (3, 1), (2, 0), (3, 0)):
        assert storage.add_flows([batch(host, sequence=sequence)], NOW) == kept
    assert len(everything(storage)) == 2
    assert storage.edges(EVERYTHING, 0, Page(10)).items[0].count == 6


def test_same_batch_twice_in_one_call_is_kept_once(storage: SqlStorage, host: int) -> None:
    assert storage.add_flows([batch(host), batch(host), batch(host, sequence=2)], NOW) == 2


def test_next_run_of_the_agent_begins_anew(storage: SqlStorage, host: int) -> None:
    storage.add_flows([batch(host, sequence=9)], NOW)
    assert storage.add_flows([batch(host, sequence=1, instance=b"j" * 16)], NOW) == 1


def test_two_controllers_that_get_the_same_batch_keep_it_once(
    storage: SqlStorage, other: SqlStorage, host: int
) -> None:
    many = [batch(host, *(record(WEB_DB._replace(port=p)) for p in range(1, 200)))]
    with ThreadPoolExecutor(2) as pool:
        kept = list(pool.map(lambda store: store.add_flows(many, NOW), (storage, other)))
    assert sorted(kept) == [0, 199]
    assert len(everything(storage)) == 199


def test_two_controllers_write_the_same_edges_without_waiting_in_a_circle(
    storage: SqlStorage, other: SqlStorage
) -> None:
    one, two = join(storage, "a").number, join(storage, "b").number
    ports = [record(WEB_DB._replace(port=p)) for p in range(1, 100)]
    told = [
        (storage, [batch(one, *ports, sequence=n) for n in range(1, 6)]),
        (other, [batch(two, *ports[::-1], sequence=n) for n in range(1, 6)]),
    ]
    with ThreadPoolExecutor(2) as pool:
        kept = list(pool.map(lambda work: [work[0].add_flows([b], NOW) for b in work[1]], told))
    assert kept == [[99] * 5] * 2
    seen = storage.edges(EVERYTHING, 0, Page(1000)).items
    assert {edge.count for edge in seen} == {30}
    assert len(seen) == 99


def test_edge_knows_when_it_was_seen_first_and_last(storage: SqlStorage, host: int) -> None:
    for number, minute in enumerate((MINUTE, MINUTE - 600, MINUTE + 600), 1):
        storage.add_flows([batch(host, record(minute=minute), sequence=number)], NOW)
    (seen,) = storage.edges(EVERYTHING, 0, Page(10)).items
    assert (seen.first_seen, seen.last_seen, seen.count) == (MINUTE - 600, MINUTE + 602, 9)


@pytest.mark.parametrize(
    ("chosen", "ports"),
    [
        (FlowFilter(), {5432, 22, 443}),
        (FlowFilter(source="front/web"), {5432, 22}),
        (FlowFilter(source="web"), {5432, 22}),
        (FlowFilter(source="front"), {5432, 22}),
        (FlowFilter(source="we"), set()),
        (FlowFilter(source="%"), set()),
        (FlowFilter(source="world"), {443}),
        (FlowFilter(destination="data"), {5432, 22}),
        (FlowFilter(source="front", destination="front"), set()),
        (FlowFilter(verdicts=("refuse",)), {22, 443}),
        (FlowFilter(verdicts=("refuse", "allow")), {5432, 22, 443}),
        (FlowFilter(port=443), {443}),
        (FlowFilter(protocol="udp"), set()),
        (FlowFilter(host="web-1"), {5432, 22, 443}),
        (FlowFilter(host="web-2"), set()),
        (FlowFilter(since=MINUTE), {22, 443}),
        (FlowFilter(since=MINUTE - 3600), {5432, 22, 443}),
        (FlowFilter(until=MINUTE), {5432}),
        (FlowFilter(since=MINUTE, until=MINUTE + 60), {22}),
    ],
)
def test_filters_choose(
    storage: SqlStorage, host: int, chosen: FlowFilter, ports: set[int]
) -> None:
    join(storage, "web-2")
    told = [record(WEB_DB, MINUTE - 60), record(REFUSED, MINUTE), record(WORLD, MINUTE + 60)]
    storage.add_flows([batch(host, *told)], NOW)
    assert {found.edge.port for found in everything(storage, chosen)} == ports
    talkers = storage.talkers(chosen, 100, by_bytes=False)
    assert {talker.port for talker in talkers} == ports
    assert {edge.port for edge in edges(storage, chosen)} == ports


def test_pages_hold_everything_once(storage: SqlStorage, host: int) -> None:
    told = [record(WEB_DB._replace(port=p), MINUTE - p % 3 * 60) for p in range(1, 8)]
    storage.add_flows([batch(host, *told)], NOW)
    flows = all_pages(lambda page: storage.flows(EVERYTHING, page), 3)
    assert [f.record.minute for f in flows] == sorted((f.minute for f in told), reverse=True)
    assert sorted(f.record.edge for f in flows) == sorted(f.edge for f in told)
    found = all_pages(lambda page: storage.edges(EVERYTHING, 0, page), 2)
    assert [e.first_seen for e in found] == sorted((e.first_seen for e in found), reverse=True)
    assert sorted(e.edge for e in found) == sorted(f.edge for f in told)


def all_pages(ask: Callable[[Page], Paged[T]], size: int) -> list[T]:
    page = ask(Page(size))
    found = list(page.items)
    while page.next:
        page = ask(Page(size, page.next))
        found += page.items
    return found


def test_two_ends_of_a_connection_stand_beside_each_other(storage: SqlStorage) -> None:
    web, db = join(storage, "a").number, join(storage, "b").number
    storage.add_flows(
        [
            batch(web, record(count=10, source_bytes=100)),
            batch(db, record(DB_SIDE, count=9, source_bytes=120, destination_bytes=4000)),
        ],
        NOW,
    )
    (talker,) = storage.talkers(EVERYTHING, 10, by_bytes=False)
    assert (talker.egress, talker.ingress) == (10, 9)
    assert (talker.source_bytes, talker.destination_bytes) == (120, 5000)


def test_talkers_are_ordered_by_judgements_or_by_bytes(storage: SqlStorage, host: int) -> None:
    told = [
        record(WEB_DB, count=1, source_bytes=9000),
        record(WEB_DB._replace(port=80), MINUTE, count=50, source_bytes=1),
        record(WEB_DB._replace(port=80), MINUTE + 60, count=50, source_bytes=1),
        record(FOLDED, count=1000),
    ]
    storage.add_flows([batch(host, *told)], NOW)
    by_count = storage.talkers(EVERYTHING, 10, by_bytes=False)
    assert [(t.port, t.egress) for t in by_count] == [(80, 100), (5432, 1)]
    assert [t.port for t in storage.talkers(EVERYTHING, 1, by_bytes=True)] == [5432]


def test_new_edge_is_one_whose_two_sides_were_never_seen_on_that_port(
    storage: SqlStorage, host: int
) -> None:
    told = [
        record(WEB_DB, MINUTE - 3600),
        record(WEB_DB._replace(rule="another"), MINUTE),
        record(REFUSED, MINUTE),
        record(FOLDED, MINUTE),
    ]
    storage.add_flows([batch(host, *told)], NOW)
    assert edges(storage, new_since=MINUTE) == [REFUSED]
    assert len(edges(storage)) == 3


def test_what_is_older_goes_a_part_at_a_time(storage: SqlStorage, host: int) -> None:
    told = [record(WEB_DB._replace(port=p), MINUTE - p * 60) for p in range(10)]
    storage.add_flows([batch(host, *told)], NOW)
    kept = Kept(MINUTE - 4 * 60, MINUTE - 7 * 60, at_once=2)
    sweeps = []
    while gone := storage.sweep_flows(kept):
        sweeps.append(gone)
    assert max(sweeps) <= 4
    assert {found.edge.port for found in everything(storage)} == set(range(5))
    assert {edge.port for edge in edges(storage)} == set(range(8))


def test_what_is_too_much_goes_the_oldest_first(storage: SqlStorage, host: int) -> None:
    for number in range(10):
        told = record(WEB_DB._replace(port=number), MINUTE + number * 60)
        storage.add_flows([batch(host, told, sequence=number + 1)], NOW)
    kept = Kept(0, 0, most_minutes=6, most_edges=8, at_once=3)
    while storage.sweep_flows(kept):
        pass
    assert {found.edge.port for found in everything(storage)} == set(range(4, 10))
    assert {edge.port for edge in edges(storage)} == set(range(2, 10))


def test_sender_that_is_long_gone_is_forgotten(storage: SqlStorage, host: int) -> None:
    storage.add_flows([batch(host, record(minute=MINUTE - 600), sequence=5)], NOW - 600)
    storage.sweep_flows(Kept(MINUTE, MINUTE))
    assert storage.add_flows([batch(host, sequence=1)], NOW) == 1
