# SPDX-License-Identifier: Apache-2.0
"""How flow records, talkers and edges read. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from agent.cli.local_view import Row, as_dict
from agent.cli.values import moment_text
from agent.pb import flow_pb2 as pb

FLOW_COLUMNS = (
    "minute", "host", "direction", "source", "destination", "port", "verdict", "why", "count",
    "sent", "received", "program", "address",
)  # fmt: skip
TALKER_COLUMNS = (
    "source", "destination", "port", "verdict", "told by source", "told by destination", "sent",
    "received",
)  # fmt: skip
EDGE_COLUMNS = (
    "first seen", "last seen", "source", "destination", "port", "verdict", "why", "direction",
    "count",
)  # fmt: skip
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


def flow_row(flow: pb.StoredFlow) -> Row:
    record = flow.record
    return (
        datetime.fromtimestamp(record.minute).astimezone().isoformat(" ", "minutes"),
        flow.host,
        record.direction,
        record.source,
        record.destination,
        service(record),
        record.verdict,
        why(record),
        record.count,
        size(record.source_bytes) if record.closed else "",
        size(record.destination_bytes) if record.closed else "",
        record.executable,
        address(record.address),
    )


def talker_row(talker: pb.Talker) -> Row:
    return (
        talker.source,
        talker.destination,
        service(talker),
        talker.verdict,
        talker.egress,
        talker.ingress,
        size(talker.source_bytes),
        size(talker.destination_bytes),
    )


def edge_row(edge: pb.FlowEdge) -> Row:
    return (
        moment_text(edge.first_seen),
        moment_text(edge.last_seen),
        edge.source,
        edge.destination,
        service(edge),
        edge.verdict,
        why(edge),
        edge.direction,
        edge.count,
    )


def service(told: pb.FlowRecord | pb.Talker | pb.FlowEdge) -> str:
    """ "tcp/443", "icmp"; empty for a sum without sides."""
    return f"{told.protocol}/{told.port}" if told.port else told.protocol


def why(told: pb.FlowRecord | pb.FlowEdge) -> str:
    """The reason, and the rule if one decided."""
    return f"{told.reason} {told.rule}" if told.rule else told.reason


def size(count: int) -> str:
    """In the largest unit of which there is one: "1.5 MiB"."""
    value, units = float(count), list(_UNITS)
    while value >= _STEP and len(units) > 1:
        value /= _STEP
        units.pop(0)
    return f"{count} B" if len(units) == len(_UNITS) else f"{value:.1f} {units[0]}"


def address(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed)) if packed else ""


def flow_dict(flow: pb.StoredFlow) -> dict[str, Any]:
    """The record's fields and the host's name as one object."""
    return {"host": flow.host, **as_dict(flow.record), "address": address(flow.record.address)}


def allows(edges: Iterable[pb.FlowEdge]) -> list[str]:
    """The Allow documents of edges, each once, in their order."""
    return list(dict.fromkeys(edge.allow for edge in edges if edge.allow))
