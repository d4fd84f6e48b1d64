# SPDX-License-Identifier: Apache-2.0
"""Flow records as the contract's messages. What the host knows as sent and received is, on the
wire, the source's and the destination's."""

from __future__ import annotations

from collections.abc import Sequence

from agent.core.abi import unpack_address
from agent.core.flow_summary import Record
from agent.pb import flow_pb2 as pb

EGRESS = "egress"


def encode_records(records: Sequence[Record]) -> bytes:
    """A ShipFlowsRequest that has only its records; `head` is the other part of it."""
    return pb.ShipFlowsRequest(records=map(_record, records)).SerializeToString()


def head(instance: bytes, sequence: int, lost: int) -> bytes:
    """To be put before the records: encoded parts of one message, joined, are that message."""
    return pb.ShipFlowsRequest(instance=instance, sequence=sequence, lost=lost).SerializeToString()


def _record(record: Record) -> pb.FlowRecord:
    kind, sums = record.kind, record.sums
    sent = (sums.sent_bytes, sums.sent_packets)
    received = (sums.received_bytes, sums.received_packets)
    source, destination = (sent, received) if kind.direction == EGRESS else (received, sent)
    return pb.FlowRecord(
        minute=record.minute,
        direction=kind.direction,
        verdict=kind.verdict,
        reason=kind.reason,
        rule=kind.rule,
        source=kind.source,
        destination=kind.destination,
        proof=kind.proof,
        protocol=kind.protocol,
        port=kind.port,
        executable=kind.executable,
        address=unpack_address(kind.address).packed if kind.address else b"",
        count=sums.count,
        first_ms=sums.first_ms,
        last_ms=sums.last_ms,
        closed=sums.closed,
        source_bytes=source[0],
        destination_bytes=destination[0],
        source_packets=source[1],
        destination_packets=destination[1],
        duration_ms=sums.duration_ms,
    )
