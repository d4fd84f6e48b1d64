# SPDX-License-Identifier: Apache-2.0
"""A flow event as people read it, what an observer asked for, and what is kept for a later one."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import replace

import pytest

from agent.core.abi import FlowEvent, FlowKind, pack_address
from agent.core.flows import Filter, Names, describe, protocol_name
from agent.core.model import Direction, Identity, Proof, Protocol, Reason, Verdict
from agent.edge import flow_log
from agent.edge.flow_log import FlowLog, TooManyObservers
from tests.unit import snapshots
from tests.unit.local_agent import FLOW

WEB = snapshots.WEB
NAMES = Names.of(snapshots.snapshot(snapshots.rule(5)), generation=1)
EVENT = FlowEvent(
    time_ns=5_000_000_000,
    generation=1,
    netns=0,
    local_address=pack_address(ipaddress.ip_address("192.0.2.1")),
    remote_address=pack_address(ipaddress.ip_address("fd00::2")),
    local=WEB,
    peer=Identity.WORLD,
    peer_host=2,
    rule=5,
    tgid=42,
    suppressed=3,
    local_port=40000,
    remote_port=443,
    protocol=Protocol.TCP,
    direction=Direction.EGRESS,
    verdict=Verdict.REFUSE,
    reason=Reason.RULE_DENY,
    proof=Proof.ADDRESS,
    segment=0,
    kind=FlowKind.JUDGED,
    answer=0,
)


def test_every_number_gets_its_name() -> None:
    flow = describe(EVENT, NAMES, wall_offset_ns=1_000_000_000)
    assert flow.time == 6.0
    assert (flow.direction, flow.verdict, flow.reason) == ("egress", "refuse", "rule_deny")
    assert (flow.protocol, flow.proof) == ("tcp", "address")
    assert (flow.local_address, flow.remote_address) == ("192.0.2.1", "fd00::2")
    assert (flow.local_workload, flow.peer_workload) == ("seg/w300", "world")
    assert (flow.rule, flow.rule_name) == (5, "rule-5")
    assert (flow.pid, flow.peer_host, flow.suppressed) == (42, 2, 3)
    assert flow.policy_version == 7


def test_numbers_of_a_newer_kernel_side_are_shown_as_they_are() -> None:
    strange = EVENT._replace(reason=200, verdict=200, proof=200, peer=12345, protocol=132)
    flow = describe(strange, NAMES, 0)
    assert (flow.reason, flow.verdict, flow.proof) == ("200", "200", "200")
    assert (flow.peer_workload, flow.protocol) == ("12345", "132")


def test_nothing_is_nobody_and_other_protocols_are_other() -> None:
    flow = describe(EVENT._replace(peer=0, proof=0, rule=0), NAMES, 0)
    assert (flow.peer_workload, flow.proof, flow.rule_name) == ("", "", "")
    assert protocol_name(0) == "other"


@pytest.mark.parametrize(
    ("chosen", "passes"),
    [
        (Filter(), True),
        (Filter(workloads=frozenset({"front/web"})), True),
        (Filter(workloads=frozenset({"db"})), True),
        (Filter(workloads=frozenset({"data"})), False),
        (Filter(workloads=frozenset({"none", "web"})), True),
        (Filter(verdicts=frozenset({"refuse", "audit"})), False),
        (Filter(reasons=frozenset({"rule_allow"})), True),
        (Filter(reasons=frozenset({"no_rule"})), False),
        (Filter(port=5432), True),
        (Filter(port=40000), True),
        (Filter(port=1), False),
        (Filter(direction="ingress"), False),
        (Filter(pid=42), True),
        (Filter(pid=43), False),
        (Filter(pid=42, port=1), False),
    ],
)
def test_filter(chosen: Filter, passes: bool) -> None:
    assert chosen.passes(FLOW) == passes


# ---- what is kept, and who watches


def numbers(log: FlowLog, count: int) -> list[int]:
    return [flow.local_port for flow in log.newest(Filter(), count)]


def test_the_newest_are_kept_oldest_first() -> None:
    log = FlowLog(3, lambda count: None)
    for port in range(1, 6):
        log.add(replace(FLOW, local_port=port))
    assert numbers(log, 10) == [3, 4, 5]
    assert numbers(log, 2) == [4, 5]
    assert numbers(log, 0) == []


def test_no_history_keeps_nothing() -> None:
    log = FlowLog(0, lambda count: None)
    log.add(FLOW)
    assert numbers(log, 10) == []


def test_slow_observer_loses_events_and_is_told_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_log, "QUEUE", 2)

    async def slow() -> list[int]:
        log = FlowLog(0, lambda count: None)
        observer = log.watch(Filter())
        for suppressed in (0, 0, 0, 7):
            log.add(replace(FLOW, suppressed=suppressed))
        got = [await observer.next(), await observer.next()]
        log.add(replace(FLOW, suppressed=1))
        return [flow.suppressed for flow in (*got, await observer.next())]

    assert asyncio.run(slow()) == [0, 0, 10], "two were lost, one of which stood for seven more"


def test_observers_are_counted_and_bounded() -> None:
    counts: list[int] = []
    log = FlowLog(0, counts.append)
    observers = [log.watch(Filter()) for _ in range(flow_log.MAX_OBSERVERS)]
    with pytest.raises(TooManyObservers, match="observers watch already, end one of them"):
        log.watch(Filter())
    log.leave(observers[0])
    log.leave(observers[0])
    assert counts == [*range(1, 17), 15, 15]
