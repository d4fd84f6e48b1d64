# SPDX-License-Identifier: Apache-2.0
"""`FlowStorage`: flow records in, and what is asked of them.

Written apart from the fleet's row: no writer of policy waits for them, nor they for it (but on
SQLite, where all writers take turns). Rows are written in the order of their keys, so that two
controllers never wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, case, delete, insert, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from controller.flow_records import Edge, FlowBatch, FlowRecord, Kept
from controller.store.database import Database
from controller.store.flow_tables import flow_edges, flow_minutes, flow_senders

_SUMS = ("count", "first_ms", "last_ms", "closed", "source_bytes", "destination_bytes",
         "source_packets", "destination_packets", "duration_ms")  # fmt: skip


class FlowMethods:
    """Mixed into SqlStorage."""

    _db: Database

    def add_flows(self, batches: Sequence[FlowBatch], now: int) -> int:
        with self._db.appending() as connection:
            fresh = [
                batch
                for batch in sorted(batches, key=lambda b: (b.host, b.sequence))
                if self._is_fresh(connection, batch, now)
            ]
            told = [(batch.host, record) for batch in fresh for record in batch.records]
            if told:
                edges = _edge_values(record for _, record in told)
                connection.execute(self._edge_upsert(), edges)
                connection.execute(insert(flow_minutes), [_minute_values(*one) for one in told])
            return len(told)

    def sweep_flows(self, kept: Kept) -> int:
        old_minutes = (
            select(flow_minutes.c.id)
            .where(flow_minutes.c.minute < kept.minutes_from)
            .order_by(flow_minutes.c.minute)
            .limit(kept.most)
        )
        old_edges = (
            select(flow_edges.c.key)
            .where(flow_edges.c.last_seen < kept.edges_from)
            .order_by(flow_edges.c.key)
            .limit(kept.most)
        )
        with self._db.reading() as connection:  # mostly nothing: then nothing is locked
            due = (old_minutes.limit(1), old_edges.limit(1))
            if not any(connection.execute(query).first() for query in due):
                return 0
        with self._db.appending() as connection:
            gone = [
                connection.execute(delete(flow_minutes).where(flow_minutes.c.id.in_(old_minutes))),
                connection.execute(delete(flow_edges).where(flow_edges.c.key.in_(old_edges))),
                connection.execute(
                    delete(flow_senders).where(flow_senders.c.at < kept.minutes_from)
                ),
            ]
            return sum(result.rowcount for result in gone[:2])

    def _insert(self, table: Any) -> Any:
        """One that knows ON CONFLICT."""
        return (postgresql.insert if self._db.postgresql else sqlite.insert)(table)

    def _is_fresh(self, connection: Connection, batch: FlowBatch, now: int) -> bool:
        """Not taken before; noted as taken from now on."""
        values = {
            "host": batch.host,
            "instance": batch.instance,
            "sequence": batch.sequence,
            "at": now,
        }
        statement = self._insert(flow_senders).values(values)
        given, held = statement.excluded, flow_senders.c
        upsert = statement.on_conflict_do_update(
            index_elements=["host"],
            set_={name: given[name] for name in ("instance", "sequence", "at")},
            where=or_(held.instance != given.instance, held.sequence < given.sequence),
        )
        return connection.execute(upsert.returning(held.host)).first() is not None

    def _edge_upsert(self) -> Any:
        statement = self._insert(flow_edges)
        given, held = statement.excluded, flow_edges.c
        first = case((given.first_seen < held.first_seen, given.first_seen), else_=held.first_seen)
        last = case((given.last_seen > held.last_seen, given.last_seen), else_=held.last_seen)
        return statement.on_conflict_do_update(
            index_elements=["key"],
            set_={"first_seen": first, "last_seen": last, "count": held.count + given.count},
        )


def _edge_values(records: Iterable[FlowRecord]) -> list[dict[str, Any]]:
    """Each edge once, in the order of keys."""
    found: dict[Edge, dict[str, Any]] = {}
    for record in records:
        first = record.first_ms // 1000 or record.minute
        last = record.last_ms // 1000 or record.minute
        held = found.get(record.edge)
        if held is None:
            known = {"key": record.edge.key, "first_seen": first, "last_seen": last, "count": 0}
            held = found[record.edge] = {**known, **record.edge._asdict()}
            held["count"] = 0
        held["first_seen"] = min(held["first_seen"], first)
        held["last_seen"] = max(held["last_seen"], last)
        held["count"] += record.count
    return sorted(found.values(), key=lambda values: values["key"])


def _minute_values(host: int, record: FlowRecord) -> dict[str, Any]:
    return {
        "minute": record.minute,
        "host": host,
        "edge": record.edge.key,
        "executable": record.executable,
        "address": record.address,
        **{name: getattr(record, name) for name in _SUMS},
    }
