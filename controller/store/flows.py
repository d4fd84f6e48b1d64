# SPDX-License-Identifier: Apache-2.0
"""`FlowStorage`: flow records in, and what is asked of them.

Written apart from the fleet's row: no writer of policy waits for them, nor they for it (but on
SQLite, where all writers take turns). Rows are written in the order of their keys, so that two
controllers never wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, Table, case, delete, func, insert, or_, select
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
        with self._db.reading() as connection:  # mostly nothing: then nothing is locked
            sweeps = (_old_minutes(connection, kept), _old_edges(connection, kept))
            due = [(table, old) for table, old in sweeps if connection.execute(old).first()]
        if not due:
            return 0
        with self._db.appending() as connection:
            forgotten = flow_senders.c.at < kept.minutes_from
            connection.execute(delete(flow_senders).where(forgotten))
            return sum(
                connection.execute(delete(table).where(old.selected_columns[0].in_(old))).rowcount
                for table, old in due
            )

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


def _old_minutes(connection: Connection, kept: Kept) -> tuple[Table, Select[Any]]:
    """Numbers grow with time, so the span of them says how many there are at most."""
    number, minute = flow_minutes.c.id, flow_minutes.c.minute
    chosen = select(number).limit(kept.at_once)
    oldest = connection.scalar(select(func.min(number))) or 0
    surplus = (connection.scalar(select(func.max(number))) or 0) - kept.most_minutes
    if oldest and oldest <= surplus:
        return flow_minutes, chosen.where(number <= surplus).order_by(number)
    return flow_minutes, chosen.where(minute < kept.minutes_from).order_by(minute)


def _old_edges(connection: Connection, kept: Kept) -> tuple[Table, Select[Any]]:
    key, last = flow_edges.c.key, flow_edges.c.last_seen
    count = connection.scalar(select(func.count()).select_from(flow_edges)) or 0
    chosen = select(key).order_by(last, key)
    if count > kept.most_edges:
        return flow_edges, chosen.limit(min(kept.at_once, count - kept.most_edges))
    return flow_edges, chosen.where(last < kept.edges_from).limit(kept.at_once)


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
