# SPDX-License-Identifier: Apache-2.0
"""Judgements summed up: nothing is counted twice or missing, in whatever order, under any bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import flow_summary
from agent.core.abi import FlowEvent, FlowKind
from agent.core.flow_outbox import Outbox
from agent.core.flow_summary import Kind, Record, Summary
from agent.core.flows import Names
from agent.core.model import Direction, Identity, Proof, Protocol, Reason, Verdict
from tests.unit.test_flows import EVENT

WEB, DB, NET = 300, 400, 0x800001
MINUTE = 1_700_000_040
NAMES = {
    1: Names({WEB: "front/web", DB: "data/db", NET: "192.0.2.0/24"}, {5: "web-to-db"}, 7, 1),
    2: Names({WEB: "front/web", DB: "data/db", NET: "198.51.100.0/24"}, {5: "web-to-db"}, 8, 2),
}
ALLOWED = EVENT._replace(
    peer=DB, proof=Proof.TAG, verdict=Verdict.ALLOW, reason=Reason.RULE_ALLOW, suppressed=0
)
ENDED = ALLOWED._replace(
    kind=FlowKind.CLOSED, sent_bytes=100, received_bytes=2000, sent_packets=5, received_packets=4,
    duration_ms=1500,
)  # fmt: skip


def summary() -> Summary:
    return Summary(lambda generation: NAMES.get(generation, Names()))


def summed(events: Iterable[tuple[FlowEvent, int]]) -> Summary:
    """events: with unix seconds."""
    made = summary()
    for event, at in events:
        made.add(event, "/usr/bin/web", at * 1000)
    return made


def test_same_judgements_of_a_minute_are_one_record_with_first_and_last() -> None:
    made = summed([(ALLOWED._replace(local_port=p), MINUTE + p) for p in (30, 1, 59)])
    (record,) = made.take(MINUTE + 60)
    assert (record.minute, record.sums.count) == (MINUTE, 3)
    assert (record.sums.first_ms, record.sums.last_ms) == (
        (MINUTE + 1) * 1000,
        (MINUTE + 59) * 1000,
    )
    assert record.kind == Kind(
        "egress", "allow", "rule_allow", "web-to-db", "front/web", "data/db", "tag", "tcp", 443,
        "/usr/bin/web",
    )  # fmt: skip


def test_source_is_who_opened_it_and_the_port_is_the_service_s() -> None:
    ingress = ALLOWED._replace(direction=Direction.INGRESS, local=DB, peer=WEB, local_port=5432)
    (record,) = summed([(ingress, MINUTE)]).take(MINUTE + 60)
    assert (record.kind.source, record.kind.destination) == ("front/web", "data/db")
    assert record.kind.port == 5432


@pytest.mark.parametrize("protocol", [Protocol.ICMP, Protocol.ICMPV6, Protocol.OTHER])
def test_what_has_no_ports_has_none_though_the_kernel_keeps_an_identifier_there(
    protocol: Protocol,
) -> None:
    pings = [(ALLOWED._replace(protocol=protocol, remote_port=p), MINUTE) for p in range(5)]
    (record,) = summed(pings).take_all()
    assert (record.kind.port, record.sums.count) == (0, 5)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, False),
        ({"peer": Identity.WORLD, "proof": Proof.ADDRESS}, False),
        ({"peer": Identity.UNPROVEN, "proof": Proof.ADDRESS}, True),
        ({"verdict": Verdict.REFUSE}, True),
        ({"verdict": Verdict.AUDIT}, True),
        ({"proof": Proof.NONE}, True),
    ],
)
def test_address_is_told_of_who_is_refused_or_not_proven(
    changed: dict[str, Any], told: bool
) -> None:
    (record,) = summed([(ALLOWED._replace(**changed), MINUTE)]).take(MINUTE + 60)
    assert record.kind.address == (EVENT.remote_address if told else b"")


def test_minute_that_goes_on_is_kept_and_taken_once() -> None:
    made = summed([(ALLOWED, MINUTE), (ALLOWED, MINUTE + 60)])
    assert [r.minute for r in made.take(MINUTE + 61)] == [MINUTE]
    assert made.take(MINUTE + 61) == []
    assert [r.minute for r in made.take_all()] == [MINUTE + 60]


def test_late_judgement_makes_another_record_of_its_minute() -> None:
    made = summed([(ALLOWED, MINUTE)])
    made.take(MINUTE + 60)
    made.add(ALLOWED, "", (MINUTE + 59) * 1000)
    assert [r.minute for r in made.take(MINUTE + 60)] == [MINUTE]


def test_ended_connection_tells_what_it_carried_and_is_no_judgement() -> None:
    (record,) = summed([(ALLOWED, MINUTE), (ENDED, MINUTE + 2), (ENDED, MINUTE + 3)]).take_all()
    sums = record.sums
    assert (sums.count, sums.closed, sums.duration_ms) == (1, 2, 3000)
    assert (sums.sent_bytes, sums.received_bytes) == (200, 4000)
    assert (sums.sent_packets, sums.received_packets) == (10, 8)
    assert sums.last_ms == MINUTE * 1000


def test_connection_that_ends_in_a_later_minute_is_a_record_without_judgements() -> None:
    first, second = summed([(ALLOWED, MINUTE), (ENDED, MINUTE + 100)]).take_all()
    assert (first.kind, first.sums.closed) == (second.kind, 0)
    assert (second.minute, second.sums.count, second.sums.closed) == (MINUTE + 60, 0, 1)


def test_generations_with_the_same_names_are_one_record_and_others_are_not() -> None:
    network = ALLOWED._replace(peer=NET, proof=Proof.ADDRESS)
    made = summed([(e._replace(generation=g), MINUTE) for e in (ALLOWED, network) for g in (1, 2)])
    counts = {r.kind.destination: r.sums.count for r in made.take_all()}
    assert counts == {"data/db": 2, "192.0.2.0/24": 1, "198.51.100.0/24": 1}


def test_rule_without_a_name_keeps_its_number() -> None:
    (record,) = summed([(ALLOWED._replace(generation=9), MINUTE)]).take_all()
    assert (record.kind.rule, record.kind.source) == ("5", "300")


def test_kinds_beyond_the_bound_are_folded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_summary, "MAX_KINDS", 3)
    made = summed([(ALLOWED._replace(remote_port=port), MINUTE) for port in range(10)])
    records = {r.kind.reason: r for r in made.take_all() if r.kind.port == 0 and not r.kind.source}
    assert records["folded"].sums.count == 7 == made.folded
    assert records["folded"].kind == Kind("egress", "allow", "folded")


EVENTS = st.builds(
    EVENT._replace,
    verdict=st.sampled_from([Verdict.ALLOW, Verdict.REFUSE, Verdict.AUDIT]),
    direction=st.sampled_from(Direction),
    local=st.sampled_from([WEB, DB]),
    peer=st.sampled_from([DB, Identity.WORLD, Identity.UNPROVEN]),
    remote_port=st.integers(1, 30),
    protocol=st.sampled_from([Protocol.TCP, Protocol.UDP]),
    suppressed=st.integers(0, 3),
    generation=st.sampled_from([1, 2, 3]),
    kind=st.sampled_from(FlowKind),
    sent_bytes=st.integers(0, 1000),
)
SEEN = st.lists(st.tuples(EVENTS, st.integers(MINUTE, MINUTE + 600)), max_size=60)


def totals(records: Sequence[Record]) -> Counter[str]:
    found: Counter[str] = Counter()
    for record in records:
        sums = record.sums
        found["count"] += sums.count
        found["closed"] += sums.closed
        found["bytes"] += sums.sent_bytes
    return found


@given(SEEN, st.integers(1, 5), st.lists(st.integers(0, 60), max_size=5))
def test_sums_are_kept_and_bounds_hold_whatever_comes(
    seen: list[tuple[FlowEvent, int]], kinds: int, takes: list[int]
) -> None:
    made, records = summary(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow_summary, "MAX_KINDS", kinds)
        for number, (event, at) in enumerate(seen):
            made.add(event, "", at * 1000)
            if number in takes:
                records += made.take(at)
            assert len(made._minutes) <= flow_summary.MAX_MINUTES
            assert all(len(minute.sums) <= kinds for minute in made._minutes.values())
        records += made.take_all()
    judged = [event for event, _ in seen if event.kind == FlowKind.JUDGED]
    ended = [event for event, _ in seen if event.kind == FlowKind.CLOSED]
    assert totals(records) == Counter(
        count=len(judged) + sum(event.suppressed for event in judged),
        closed=len(ended),
        bytes=sum(event.sent_bytes for event in ended),
    )
    assert made.take_all() == []


@given(st.permutations([(ALLOWED._replace(remote_port=p % 4), MINUTE + p) for p in range(8)]))
def test_order_does_not_matter(seen: list[tuple[FlowEvent, int]]) -> None:
    by_kind = {r.kind: r.sums for r in summed(seen).take_all()}
    assert by_kind == {r.kind: r.sums for r in summed(sorted(seen, key=lambda s: s[1])).take_all()}


# What waits for the controller.


def test_requests_go_in_order_and_the_same_again_until_taken() -> None:
    outbox = Outbox()
    for number in range(3):
        outbox.put(b"x", number + 1)
    order = []
    while (head := outbox.head()) is not None:
        assert outbox.head() is head
        order.append(head.sequence)
        outbox.taken(head.sequence)
    assert (order, outbox.shipped, outbox.lost) == ([1, 2, 3], 6, 0)


def test_no_room_loses_the_oldest_and_the_next_request_tells_it() -> None:
    outbox = Outbox(max_bytes=10)
    for number in range(5):
        outbox.put(b"1234", number + 1)
    head = outbox.head()
    assert head is not None
    assert (head.sequence, head.lost, outbox.lost, len(outbox)) == (4, 6, 6, 2)


def test_answer_to_a_request_that_is_gone_meanwhile_changes_nothing() -> None:
    outbox = Outbox(max_bytes=10)
    outbox.put(b"123456", 1)
    head = outbox.head()
    assert head is not None
    outbox.put(b"123456", 2)
    outbox.taken(head.sequence)
    assert (outbox.shipped, outbox.lost, len(outbox)) == (0, 1, 1)


@given(st.lists(st.tuples(st.sampled_from("ptrh"), st.integers(0, 8)), max_size=60))
def test_every_judgement_is_shipped_lost_or_waits(steps: list[tuple[str, int]]) -> None:
    outbox, put, told = Outbox(max_bytes=20), 0, 0
    for step, size in steps:
        if step == "p":
            outbox.put(bytes(size), size)
            put += size
        elif (head := outbox.head()) is not None and step == "t":
            told += head.lost
            outbox.taken(head.sequence)
        elif head is not None and step == "r":
            outbox.refused(head.sequence)
        assert outbox._bytes <= 20
    waiting = list(outbox._waiting)
    assert outbox.shipped + outbox.lost + sum(w.judgements for w in waiting) == put
    assert told + outbox._untold + sum(w.lost for w in waiting) == outbox.lost
