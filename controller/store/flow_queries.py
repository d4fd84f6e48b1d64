# SPDX-License-Identifier: Apache-2.0
"""What is asked of flow records: lists, sums and edges, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, and_, case, desc, exists, func, or_, select

from agent.core.flow_summary import MINUTE
from controller.flow_records import (
    NO_EDGE,
    Edge,
    FlowFilter,
    FlowRecord,
    SeenEdge,
    StoredFlow,
    Talker,
)
from controller.records import Page, Paged
from controller.store.database import Database
from controller.store.flow_tables import flow_edges, flow_minutes
from controller.store.tables import hosts

_EDGE = [flow_edges.c[name] for name in Edge._fields]
_PAIR = ("source", "destination", "protocol", "port")
_MINUTE = [column for column in flow_minutes.c if column.name not in ("id", "host", "edge")]


class FlowQueries:
    """Mixed into SqlStorage."""

    _db: Database

    def flows(self, chosen: FlowFilter, page: Page) -> Paged[StoredFlow]:
        query = _joined(select(flow_minutes.c.id, hosts.c.name, *_MINUTE, *_EDGE), chosen)
        if page.after:
            minute, id_ = map(int, page.after.split())
            same_minute = flow_minutes.c.minute == minute
            query = query.where(
                (flow_minutes.c.minute < minute) | (same_minute & (flow_minutes.c.id < id_))
            )
        ordered = query.order_by(flow_minutes.c.minute.desc(), flow_minutes.c.id.desc())
        with self._db.reading() as connection:
            found = connection.execute(ordered.limit(page.size + 1)).all()
        shown = found[: page.size]
        following = f"{shown[-1].minute} {shown[-1].id}" if len(found) > page.size else ""
        return Paged([_stored(row) for row in shown], following)

    def talkers(self, chosen: FlowFilter, limit: int, *, by_bytes: bool) -> Sequence[Talker]:
        by = [flow_edges.c[name] for name in (*_PAIR, "verdict")]
        egress, ingress = _told("count", "egress"), _told("count", "ingress")
        sent, received = _larger("source_bytes"), _larger("destination_bytes")
        size: ColumnElement[Any] = sent + received if by_bytes else egress + ingress
        query = select(
            *by,
            egress.label("egress"),
            ingress.label("ingress"),
            sent.label("sent"),
            received.label("received"),
        ).group_by(*by)
        asked = _joined(query, chosen).where(flow_edges.c.reason.not_in(NO_EDGE))
        with self._db.reading() as connection:
            found = connection.execute(asked.order_by(desc(size), *by).limit(limit)).all()
        return [Talker(*row[:5], *map(int, row[5:])) for row in found]

    def edges(self, chosen: FlowFilter, new_since: int, page: Page) -> Paged[SeenEdge]:
        query = select(flow_edges).where(
            flow_edges.c.reason.not_in(NO_EDGE), *_edge_conditions(chosen)
        )
        if new_since:
            query = query.where(flow_edges.c.first_seen >= new_since, ~_seen_before(new_since))
        if page.after:
            first, key = page.after.split()
            same = flow_edges.c.first_seen == int(first)
            query = query.where(
                (flow_edges.c.first_seen < int(first))
                | (same & (flow_edges.c.key < bytes.fromhex(key)))
            )
        ordered = query.order_by(flow_edges.c.first_seen.desc(), flow_edges.c.key.desc())
        with self._db.reading() as connection:
            found = connection.execute(ordered.limit(page.size + 1)).all()
        shown = found[: page.size]
        last = shown[-1] if len(found) > page.size else None
        following = f"{last.first_seen} {last.key.hex()}" if last else ""
        return Paged([_seen(row) for row in shown], following)


def _joined(query: Select[Any], chosen: FlowFilter) -> Select[Any]:
    joined = query.select_from(
        flow_minutes.join(flow_edges, flow_edges.c.key == flow_minutes.c.edge).join(
            hosts, hosts.c.number == flow_minutes.c.host
        )
    ).where(*_names(chosen))
    if chosen.host:
        joined = joined.where(hosts.c.name == chosen.host)
    if chosen.since:
        joined = joined.where(flow_minutes.c.minute > chosen.since - MINUTE)
    if chosen.until:
        joined = joined.where(flow_minutes.c.minute < chosen.until)
    return joined


def _edge_conditions(chosen: FlowFilter) -> list[ColumnElement[bool]]:
    asked = _names(chosen)
    if chosen.since:
        asked.append(flow_edges.c.last_seen >= chosen.since)
    if chosen.until:
        asked.append(flow_edges.c.first_seen < chosen.until)
    if chosen.host:
        told = flow_minutes.join(hosts, hosts.c.number == flow_minutes.c.host)
        by_host = and_(flow_minutes.c.edge == flow_edges.c.key, hosts.c.name == chosen.host)
        asked.append(exists(select(flow_minutes.c.id).select_from(told).where(by_host)))
    return asked


def _names(chosen: FlowFilter) -> list[ColumnElement[bool]]:
    asked: list[ColumnElement[bool]] = []
    if chosen.source:
        asked.append(_is_named(flow_edges.c.source, chosen.source))
    if chosen.destination:
        asked.append(_is_named(flow_edges.c.destination, chosen.destination))
    if chosen.verdicts:
        asked.append(flow_edges.c.verdict.in_(chosen.verdicts))
    if chosen.port:
        asked.append(flow_edges.c.port == chosen.port)
    if chosen.protocol:
        asked.append(flow_edges.c.protocol == chosen.protocol)
    return asked


def _is_named(column: Column[Any], name: str) -> ColumnElement[bool]:
    """The whole name, or the part before or after the slash."""
    return or_(
        column == name,
        column.startswith(f"{name}/", autoescape=True),
        column.endswith(f"/{name}", autoescape=True),
    )


def _seen_before(moment: int) -> ColumnElement[bool]:
    other = flow_edges.alias()
    same = [other.c[name] == flow_edges.c[name] for name in _PAIR]
    return exists(select(other.c.key).where(*same, other.c.first_seen < moment))


def _told(name: str, direction: str) -> ColumnElement[Any]:
    """Sum of what the hosts of one end told."""
    return func.sum(case((flow_edges.c.direction == direction, flow_minutes.c[name]), else_=0))


def _larger(name: str) -> ColumnElement[Any]:
    """Both ends count the same bytes; one of them may have no agent, or have lost something."""
    egress, ingress = _told(name, "egress"), _told(name, "ingress")
    return case((egress > ingress, egress), else_=ingress)


def _edge(row: Any) -> Edge:
    return Edge(*(getattr(row, name) for name in Edge._fields))


def _stored(row: Any) -> StoredFlow:
    # `count` is a method of rows: columns are asked for by their key.
    values = {column.name: row._mapping[column.name] for column in _MINUTE}
    return StoredFlow(row.name, FlowRecord(edge=_edge(row), **values))


def _seen(row: Any) -> SeenEdge:
    return SeenEdge(_edge(row), row.first_seen, row.last_seen, row._mapping["count"])
