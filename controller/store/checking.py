# SPDX-License-Identifier: Apache-2.0
"""Whether a store is whole: numbers without gaps, revisions with their documents, secrets that
open, and no host that has seen a future which this store has not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from agent.edge import signed
from agent.pb import signed_pb2 as pb
from controller.storage import StorageError
from controller.store import secretsql
from controller.store.documentsql import newest_documents
from controller.store.tables import audit, fleet, host_seen, hosts, revisions, versions

_MOST = 20
"""Hosts that are named one by one."""


def findings(connection: Connection, master_key: bytes) -> Sequence[str]:
    """Sentences; none is good."""
    head = connection.execute(select(fleet)).one_or_none()
    if head is None:
        return ["the store is empty: `cordon-controller init` makes a fleet in it"]
    checks: Sequence[Callable[[], Iterator[str]]] = (
        lambda: _file(connection),
        lambda: _numbers(connection, head),
        lambda: _documents(connection, head),
        lambda: _secrets(connection, master_key),
        lambda: _ahead(connection, head),
    )
    return [sentence for check in checks for sentence in check()]


def _file(connection: Connection) -> Iterator[str]:
    if connection.dialect.name == "sqlite":
        for (line,) in connection.exec_driver_sql("PRAGMA integrity_check(5)"):
            if line != "ok":
                yield f"the database's file is damaged: {line}"
        for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
            yield f"a row of {row[0]} belongs to none of {row[2]}"


def _numbers(connection: Connection, head: Any) -> Iterator[str]:
    for column, newest in (
        (versions.c.version, head.version),
        (revisions.c.number, head.revision),
        (audit.c.number, head.audit),
    ):
        count, highest = connection.execute(
            select(func.count(), func.coalesce(func.max(column), 0))
        ).one()
        if not count == highest == newest:
            yield (
                f"{column.table.name}: expected {newest} rows up to {newest}, "
                f"got {count} up to {highest}"
            )
    highest = connection.scalar(select(func.coalesce(func.max(hosts.c.number), 0)))
    if highest >= head.next_host:
        yield f"hosts: number {highest} was given out, the next would be {head.next_host}"


def _documents(connection: Connection, head: Any) -> Iterator[str]:
    newest = newest_documents().order_by(None).subquery()
    count = connection.scalar(select(func.count()).select_from(newest))
    query = select(revisions.c.documents).where(revisions.c.number == head.revision)
    said = connection.scalar(query) or 0
    if count != said:
        yield f"revision {head.revision}: expected {said} documents, got {count}"


def _secrets(connection: Connection, master_key: bytes) -> Iterator[str]:
    try:
        stored = secretsql.read(connection, master_key)
    except StorageError as error:
        yield str(error)
        return
    for what, rows in (("authority", stored.authorities), ("signing key", stored.signing_keys)):
        active = sum(row.stage == "active" for row in rows)
        if active != 1:
            yield f"expected one active {what}, got {active}"
    try:
        envelope = pb.Signed.FromString(stored.key_set)
        signed.open_signed(envelope, signed.KEY_SET, [row.public for row in stored.signing_keys])
    except ValueError as error:
        yield f"the set of policy keys: {error}"


def _ahead(connection: Connection, head: Any) -> Iterator[str]:
    """Hosts hold what this store never made: it was restored from a backup."""
    newer = (host_seen.c.store_epoch > head.store_epoch) | (
        (host_seen.c.store_epoch == head.store_epoch) & (host_seen.c.version > head.version)
    )
    query = select(hosts.c.name, host_seen.c.store_epoch, host_seen.c.version).join_from(
        hosts, host_seen
    )
    for row in connection.execute(query.where(newer).order_by(hosts.c.name).limit(_MOST)):
        yield (
            f"host {row.name} holds version {row.version} of epoch {row.store_epoch}, the store "
            f"is at {head.version} of {head.store_epoch}: it was restored from a backup; run "
            "`cordon-controller store raise-epoch`"
        )
