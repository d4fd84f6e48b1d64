# SPDX-License-Identifier: Apache-2.0
"""The tables of flow records. Apart from the others, because nothing decides by them, they are no
part of a version, and they are the only ones that grow with the fleet's traffic."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table

from controller.store.columns import bytes_column, number_column, text_column
from controller.store.tables import metadata

# What a record says beside its sums, once. `key`: digest of the nine columns after it.
flow_edges = Table(
    "flow_edges",
    metadata,
    bytes_column("key", key=True),
    text_column("direction"),
    text_column("verdict"),
    text_column("reason"),
    text_column("rule"),
    text_column("source"),
    text_column("destination"),
    text_column("proof"),
    text_column("protocol"),
    number_column("port"),
    number_column("first_seen"),
    number_column("last_seen"),
    number_column("count"),
    Index("ix_flow_edges_source", "source", "destination"),
    Index("ix_flow_edges_destination", "destination"),
    Index("ix_flow_edges_first_seen", "first_seen"),
    Index("ix_flow_edges_last_seen", "last_seen"),
)

# `host`: a number of `hosts`, `edge`: a key of `flow_edges`; no foreign keys, for what is gone
# there need not be kept here.
flow_minutes = Table(
    "flow_minutes",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    number_column("minute"),
    number_column("host"),
    bytes_column("edge"),
    text_column("executable"),
    text_column("address"),
    number_column("count"),
    number_column("first_ms"),
    number_column("last_ms"),
    number_column("closed"),
    number_column("source_bytes"),
    number_column("destination_bytes"),
    number_column("source_packets"),
    number_column("destination_packets"),
    number_column("duration_ms"),
    Index("ix_flow_minutes_minute", "minute"),
    Index("ix_flow_minutes_edge", "edge", "minute"),
)

# The last request of each host that was taken, so that none is taken twice.
flow_senders = Table(
    "flow_senders",
    metadata,
    number_column("host", key=True),
    bytes_column("instance"),
    number_column("sequence"),
    number_column("at"),
)
