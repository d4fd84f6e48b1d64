# SPDX-License-Identifier: Apache-2.0
"""What is made of flow records: the Allow that opens an edge, rows that people read, and what an
observer on the host sees of the events beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from agent.cli import flows_view as view
from agent.core.abi import FlowEvent, FlowKind
from agent.core.flow_summary import Summary
from agent.core.flows import Filter, Names
from agent.core.model import Direction
from agent.edge import flow_codec
from agent.edge.flow_feed import FlowFeed
from agent.edge.flow_log import FlowLog
from agent.edge.flow_shipper import FlowShipper
from agent.edge.telemetry import FlowCollector
from agent.pb import flow_pb2 as pb
from controller.documents import read_documents
from controller.flow_records import Edge, opening
from controller.services.flow_codec import read_batch
from controller.yamlfile import parse
from tests.unit.test_flow_summary import ALLOWED, ENDED
from tests.unit.test_flows import EVENT

NOW = 1_700_000_000
REFUSED = Edge("egress", "refuse", "no_rule", "", "front/web", "data/db", "tag", "tcp", 5432)


@pytest.mark.parametrize(
    ("changed", "source", "target"),
    [
        ({}, {"workload": "web"}, {"workload": "db"}),
        ({"verdict": "audit"}, {"workload": "web"}, {"workload": "db"}),
        ({"source": "world"}, {"world": True}, {"workload": "db"}),
        ({"source": "host"}, {"segment": "default"}, {"workload": "db"}),
        ({"destination": "192.0.2.0/24"}, {"workload": "web"}, {"cidr": "192.0.2.0/24"}),
        ({"destination": "2001:db8::/32"}, {"workload": "web"}, {"cidr": "2001:db8::/32"}),
        ({"source": "10/8"}, {"workload": "8"}, {"workload": "db"}),
        ({"protocol": "udp", "port": 53}, {"workload": "web"}, {"workload": "db"}),
    ],
)
def test_the_allow_of_a_refused_edge_is_one_that_the_language_takes(
    changed: dict[str, Any], source: dict[str, Any], target: dict[str, Any]
) -> None:
    edge = REFUSED._replace(**changed)
    document = opening(edge)
    assert document is not None
    assert (document["from"], document["to"]) == (source, target)
    assert document["ports"] == [f"{edge.protocol}/{edge.port}"]
    text = yaml.safe_dump(dict(document), sort_keys=False)
    (placed,) = read_documents(parse("allow.yaml", text.encode())).placed
    assert placed.document.kind == "Allow"


@pytest.mark.parametrize(
    "changed",
    [
        {"verdict": "allow", "reason": "rule_allow"},
        {"reason": "rule_deny"},
        {"reason": "tag_forged"},
        {"source": "unproven"},
        {"source": "300"},
        {"source": ""},
        {"protocol": "icmp", "port": 0},
    ],
)
def test_where_no_allow_helps_there_is_none(changed: dict[str, Any]) -> None:
    assert opening(REFUSED._replace(**changed)) is None


@given(
    st.builds(
        EVENT._replace,
        verdict=st.integers(0, 255),
        reason=st.integers(0, 255),
        direction=st.sampled_from(Direction),
        proof=st.integers(0, 255),
        protocol=st.integers(0, 255),
        local=st.integers(0, 2**32 - 1),
        peer=st.integers(0, 2**32 - 1),
        rule=st.integers(0, 2**32 - 1),
        remote_port=st.integers(0, 65_535),
        suppressed=st.integers(0, 2**32 - 1),
        kind=st.sampled_from(FlowKind),
        sent_bytes=st.integers(0, 2**40),
    ),
    st.text(max_size=300),
    st.text(alphabet="é\n\x1b\udc80a", min_size=120, max_size=300),
)
def test_whatever_the_kernel_tells_and_a_program_is_called_the_controller_takes_it(
    event: FlowEvent, path: str, name: str
) -> None:
    """A program with a strange path must not cost its host the records of all others."""
    names = Names({event.local: name, event.peer: path}, {event.rule: name})
    summary = Summary(lambda _: names)
    summary.add(event, path, NOW * 1000)
    summary.add(ALLOWED, name, NOW * 1000)
    request = pb.ShipFlowsRequest.FromString(
        flow_codec.head(bytes(16), 1, 0) + flow_codec.encode_records(summary.take_all())
    )
    batch = read_batch(7, request, NOW)
    assert sum(record.count for record in batch.records) >= 1


def test_edges_differ_in_every_field_of_theirs() -> None:
    others = {REFUSED._replace(**{name: "x"}).key for name in Edge._fields if name != "port"}  # type: ignore[arg-type]
    assert len(others | {REFUSED.key, REFUSED._replace(port=1).key}) == len(Edge._fields) + 1


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_572_864, "1.5 MiB"),
     (3 << 40, "3.0 TiB"), (5 << 50, "5120.0 TiB")],
)  # fmt: skip
def test_sizes_are_in_the_largest_unit_of_which_there_is_one(count: int, text: str) -> None:
    assert view.size(count) == text


def test_rows_have_as_many_cells_as_there_are_columns() -> None:
    record = pb.FlowRecord(minute=60, reason="no_rule", rule="x", protocol="tcp", port=1)
    flow = pb.StoredFlow(host="a", record=record)
    assert len(view.flow_row(flow)) == len(view.FLOW_COLUMNS)
    assert len(view.talker_row(pb.Talker())) == len(view.TALKER_COLUMNS)
    assert len(view.edge_row(pb.FlowEdge())) == len(view.EDGE_COLUMNS)


def test_bytes_are_shown_of_connections_that_ended_alone() -> None:
    sent = view.FLOW_COLUMNS.index("sent")
    record = pb.FlowRecord(minute=60, source_bytes=5, closed=1)
    assert view.flow_row(pb.StoredFlow(record=record))[sent] == "5 B"
    assert view.flow_row(pb.StoredFlow(record=pb.FlowRecord(minute=60)))[sent] == ""


def test_json_of_a_flow_is_one_object_with_a_readable_address() -> None:
    record = pb.FlowRecord(address=bytes([192, 0, 2, 1]), count=1 << 40)
    found = view.flow_dict(pb.StoredFlow(host="a", record=record))
    assert (found["host"], found["address"], found["count"]) == ("a", "192.0.2.1", 1 << 40)
    assert found.keys() == {"host"} | {field.name for field in pb.FlowRecord.DESCRIPTOR.fields}


def test_each_allow_is_printed_once() -> None:
    edges = [pb.FlowEdge(allow=text) for text in ("b", "", "a", "b")]
    assert view.allows(edges) == ["b", "a"]


# The host's own view beside the sums.


class _Ring:
    """In the place of the kernel: what it tells, and what it was told."""

    def __init__(self) -> None:
        self.tell: Callable[[FlowEvent], None]
        self.sums_up = False

    def flow_events(self, receive: Callable[[FlowEvent], None]) -> _Ring:
        self.tell = receive
        return self

    def set_sum_up(self, *, on: bool) -> None:
        self.sums_up = on

    def consume(self) -> int:
        return 0


class _Nobody:
    def offer(self, event: FlowEvent) -> None:
        """Refusals are told to nobody here."""


def feed(shipper: FlowShipper | None) -> tuple[FlowFeed, _Ring]:
    ring = _Ring()
    made = FlowFeed(FlowLog(10, lambda _: None), shipper, lambda _: Names())
    made.open(ring, _Nobody())  # type: ignore[arg-type] # as much of them as it knows
    return made, ring


async def _never(method: str, data: bytes) -> bytes:
    raise AssertionError("nothing is to be sent")


def test_what_is_allowed_does_not_drive_refusals_out_of_the_history() -> None:
    made, ring = feed(FlowShipper(_never, lambda _: Names()))
    ring.tell(EVENT)
    for _ in range(20):
        ring.tell(ALLOWED)
        ring.tell(ENDED)
    assert [flow.verdict for flow in made.log.newest(Filter(), 100)] == ["refuse"]
    assert made.shipper is not None
    assert sum(record.sums.count for record in made.shipper.summary.take_all()) == 24


def test_whoever_observes_sees_what_is_allowed_and_no_ends() -> None:
    async def run() -> None:
        made, ring = feed(None)
        observer = made.log.watch(Filter())
        for event in (ENDED, ALLOWED):
            ring.tell(event)
        assert (await asyncio.wait_for(observer.next(), 10)).verdict == "allow"

    asyncio.run(run())


@pytest.mark.parametrize("ships", [True, False])
def test_the_kernel_tells_what_is_in_order_only_where_it_is_summed_up(ships: bool) -> None:
    async def sent(method: str, data: bytes) -> bytes:
        return b""

    made, ring = feed(FlowShipper(sent, lambda _: Names()) if ships else None)
    assert ring.sums_up is ships
    asyncio.run(made.close())
    assert not ring.sums_up


def test_what_becomes_of_records_is_a_metric_that_is_documented() -> None:
    shipper = FlowShipper(_never, lambda _: Names())
    for sequence, size in enumerate((3, 4, 5), 1):
        shipper.outbox.put(b"x", size)
        if sequence < 3:
            (shipper.outbox.taken if sequence == 1 else shipper.outbox.refused)(sequence)
    registry = CollectorRegistry()
    registry.register(FlowCollector(shipper))
    value = registry.get_sample_value
    assert value("cordon_flow_records_total", {"result": "shipped"}) == 3
    assert value("cordon_flow_records_total", {"result": "lost"}) == 4
    assert value("cordon_flow_requests_waiting") == 1
    assert value("cordon_flow_records_folded_total") == 0
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    named = {sample.name for metric in registry.collect() for sample in metric.samples}
    assert [name for name in named if f"`{name}`" not in page] == []
