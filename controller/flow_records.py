# SPDX-License-Identifier: Apache-2.0
"""Flow records as frozen values: what hosts tell, what is asked, what is answered.

Times are unix seconds unless a name says otherwise. What a record says is the word of its host.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agent.core.allow import Document, allow_document, party
from agent.core.flow_summary import FOLDED, SUPPRESSED

NO_EDGE = (FOLDED, SUPPRESSED)
"""Reasons of records that are sums without two sides."""
_KEY_BYTES = 16


class Edge(NamedTuple):
    """That somebody tries to reach somebody, and what is said to it."""

    direction: str
    verdict: str
    reason: str
    rule: str
    source: str
    destination: str
    proof: str
    protocol: str
    port: int

    @property
    def key(self) -> bytes:
        text = "\0".join(map(str, self))
        return hashlib.sha256(text.encode()).digest()[:_KEY_BYTES]


@dataclass(frozen=True, slots=True)
class FlowRecord:
    """As cordon.v1.FlowRecord. address: as text, or empty."""

    minute: int
    edge: Edge
    executable: str
    address: str
    count: int
    first_ms: int
    last_ms: int
    closed: int
    source_bytes: int
    destination_bytes: int
    source_packets: int
    destination_packets: int
    duration_ms: int


@dataclass(frozen=True, slots=True)
class FlowBatch:
    """One request of a host. host: its number."""

    host: int
    instance: bytes
    sequence: int
    records: Sequence[FlowRecord]


@dataclass(frozen=True, slots=True)
class FlowFilter:
    """As cordon.v1.FlowFilter. Each empty field passes everything."""

    source: str = ""
    destination: str = ""
    verdicts: tuple[str, ...] = ()
    port: int = 0
    protocol: str = ""
    host: str = ""
    since: int = 0
    until: int = 0


@dataclass(frozen=True, slots=True)
class StoredFlow:
    host: str
    record: FlowRecord


@dataclass(frozen=True, slots=True)
class Talker:
    """egress, ingress: judgements that either end told."""

    source: str
    destination: str
    protocol: str
    port: int
    verdict: str
    egress: int
    ingress: int
    source_bytes: int
    destination_bytes: int


@dataclass(frozen=True, slots=True)
class SeenEdge:
    edge: Edge
    first_seen: int
    last_seen: int
    count: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What sweeps leave: minutes and edges not older than these, and not more than so many.

    at_once: rows that one sweep removes of each.
    """

    minutes_from: int
    edges_from: int
    most_minutes: int = 20_000_000
    most_edges: int = 1_000_000
    at_once: int = 5000


def opening(edge: Edge) -> Document | None:
    """The smallest Allow that would open a refused edge; None where none would help, or where it is
    not known which: records of ICMP do not say the type."""
    if edge.verdict not in ("refuse", "audit") or edge.reason != "no_rule" or not edge.port:
        return None
    source, target = party(edge.source), party(edge.destination)
    if source is None or target is None:
        return None
    return allow_document(source, target, f"{edge.protocol}/{edge.port}")
