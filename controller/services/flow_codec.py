# SPDX-License-Identifier: Apache-2.0
"""Flow records between the wire and the store: bounds on the way in, names as they are on the way
out."""

from __future__ import annotations

import ipaddress
import re

import yaml

from agent.core.flow_summary import MAX_NAME, MAX_PATH, MINUTE
from agent.pb import flow_pb2 as pb
from controller.bounds import OutOfBounds
from controller.flow_records import (
    Edge,
    FlowBatch,
    FlowFilter,
    FlowRecord,
    SeenEdge,
    StoredFlow,
    Talker,
    opening,
)

MAX_RECORDS = 1000
MAX_AHEAD_SECONDS = 3600
MAX_VERDICTS = 8
INSTANCE_BYTES = 16
_WORD = re.compile(r"[a-z0-9_]{0,32}\Z", re.ASCII)
_DIRECTIONS = ("", "ingress", "egress")
_MOST = 1 << 53
"""Of one number: their sums fit into a column."""
_SUMS = ("count", "first_ms", "last_ms", "closed", "source_bytes", "destination_bytes",
         "source_packets", "destination_packets", "duration_ms")  # fmt: skip


def read_batch(host: int, request: pb.ShipFlowsRequest, now: int) -> FlowBatch:
    """Raises OutOfBounds."""
    _expect(len(request.instance) == INSTANCE_BYTES, f"an instance of {INSTANCE_BYTES} bytes")
    _expect(1 <= request.sequence < _MOST, "a sequence from 1")
    _expect(1 <= len(request.records) <= MAX_RECORDS, f"1 to {MAX_RECORDS} records")
    records = [_read_record(record, now) for record in request.records]
    return FlowBatch(host, request.instance, request.sequence, records)


def _read_record(record: pb.FlowRecord, now: int) -> FlowRecord:
    in_time = record.minute % MINUTE == 0 and 0 < record.minute <= now + MAX_AHEAD_SECONDS
    _expect(in_time, "the beginning of a minute that is not far ahead")
    sums = {name: getattr(record, name) for name in _SUMS}
    _expect(all(value < _MOST for value in sums.values()), f"numbers below {_MOST}")
    _expect(record.count > 0 or record.closed > 0, "a record of something")
    _expect(len(record.address) in (0, 4, 16), "an address of 4 or 16 bytes, or none")
    return FlowRecord(
        minute=record.minute,
        edge=_read_edge(record),
        executable=_text("executable", record.executable, MAX_PATH),
        address=str(ipaddress.ip_address(record.address)) if record.address else "",
        **sums,
    )


def _read_edge(record: pb.FlowRecord) -> Edge:
    words = {name: getattr(record, name) for name in ("verdict", "reason", "proof", "protocol")}
    for name, word in words.items():
        _expect(_WORD.match(word), f"a {name} of at most 32 small letters, digits and _")
    _expect(record.direction in _DIRECTIONS, "ingress or egress")
    _expect(record.port <= 65_535, "a port")
    texts = {name: getattr(record, name) for name in ("rule", "source", "destination")}
    return Edge(
        direction=record.direction,
        port=record.port,
        **words,
        **{name: _text(name, text, MAX_NAME) for name, text in texts.items()},
    )


def read_filter(chosen: pb.FlowFilter) -> FlowFilter:
    """Raises OutOfBounds."""
    _expect(len(chosen.verdicts) <= MAX_VERDICTS, f"at most {MAX_VERDICTS} verdicts")
    _expect(chosen.port <= 65_535, "a port")
    return FlowFilter(
        source=_text("source", chosen.source, MAX_NAME),
        destination=_text("destination", chosen.destination, MAX_NAME),
        verdicts=tuple(_text("verdict", verdict, 32) for verdict in chosen.verdicts),
        port=chosen.port,
        protocol=_text("protocol", chosen.protocol, 32),
        host=_text("host", chosen.host, MAX_NAME),
        since=moment(chosen.since),
        until=moment(chosen.until),
    )


def size_of(asked: int, usual: int) -> int:
    """Of a page. Raises OutOfBounds."""
    _expect(asked <= MAX_RECORDS, f"a page of at most {MAX_RECORDS}")
    return asked or usual


def moment(seconds: int) -> int:
    """Raises OutOfBounds."""
    _expect(seconds < _MOST, "moments in seconds")
    return seconds


_TOKENS = {"flows": re.compile(r"\d{1,15} \d{1,15}\Z", re.ASCII),
           "edges": re.compile(r"\d{1,15} [0-9a-f]{32}\Z", re.ASCII)}  # fmt: skip


def page_token(kind: str, token: str) -> str:
    """Raises OutOfBounds."""
    _expect(not token or _TOKENS[kind].match(token), "the page token of an answer before")
    return token


def _text(name: str, text: str, most: int) -> str:
    good = len(text.encode()) <= most and (text.isprintable())
    _expect(good, f"a {name} of at most {most} bytes without control characters")
    return text


def _expect(holds: object, expected: str) -> None:
    if not holds:
        raise OutOfBounds(f"expected {expected}")


def stored_flow(flow: StoredFlow) -> pb.StoredFlow:
    record = flow.record
    return pb.StoredFlow(
        host=flow.host,
        record=pb.FlowRecord(
            minute=record.minute,
            **record.edge._asdict(),
            executable=record.executable,
            address=ipaddress.ip_address(record.address).packed if record.address else b"",
            **{name: getattr(record, name) for name in _SUMS},
        ),
    )


def talker(one: Talker) -> pb.Talker:
    return pb.Talker(**{name: getattr(one, name) for name in Talker.__slots__})


def seen_edge(seen: SeenEdge) -> pb.FlowEdge:
    allow = opening(seen.edge)
    return pb.FlowEdge(
        **seen.edge._asdict(),
        first_seen=seen.first_seen,
        last_seen=seen.last_seen,
        count=seen.count,
        allow=yaml.safe_dump(dict(allow), sort_keys=False) if allow else "",
    )
