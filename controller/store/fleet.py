# SPDX-License-Identifier: Apache-2.0
"""`FleetStorage`: what compiling and streaming read and write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select, tuple_, update

from agent.core.model import IPAddress
from controller import addressing
from controller.access_records import Revoked, Secrets
from controller.records import (
    Cause,
    DocumentRow,
    FleetPart,
    FleetRows,
    Head,
    HostRow,
    QuarantineRow,
    Seen,
    VersionRow,
)
from controller.storage import NotFound, Refused
from controller.store import hostsql, rows, secretsql
from controller.store.allocating import Allocated
from controller.store.database import EMPTY, Database
from controller.store.documentsql import newest_documents
from controller.store.tables import (
    administrators,
    certificates,
    documents,
    fleet,
    host_seen,
    hosts,
    quarantines,
    versions,
)
from controller.store.writer import CONTROLLER, Writer

MOST_HOSTS = 2000
MOST_DOCUMENTS = 5000
"""Above these a part is no cheaper than the whole."""

_SEEN_COLUMNS = tuple(column.name for column in host_seen.c if column.name != "number")
_SEEN_UPDATE = (
    update(host_seen)
    .where(host_seen.c.number == bindparam("of_host"), host_seen.c.at <= bindparam("at"))
    .values({name: bindparam(name) for name in _SEEN_COLUMNS})
)


class FleetMethods:
    """Mixed into SqlStorage."""

    _db: Database
    _allocated: Allocated
    _master_key: bytes

    def head(self) -> Head:
        with self._db.reading() as connection:
            return _head(_fleet_row(connection))

    def fleet(self) -> FleetRows:
        with self._db.reading() as connection:
            row = _fleet_row(connection)
            living = hostsql.select_hosts().where(~hosts.c.revoked).order_by(hosts.c.number)
            return FleetRows(
                head=_head(row),
                at=row.at,
                trust_domain=row.trust_domain,
                settings=rows.settings(row.settings),
                hosts=hostsql.read_hosts(connection, living),
                documents=[rows.document(r) for r in connection.execute(newest_documents())],
                allocations=self._allocated.read(connection, row.revision),
                quarantines=_quarantines(connection),
            )

    def changes(self, after: int, limit: int = 1000) -> Sequence[VersionRow]:
        query = select(versions).where(versions.c.version > after)
        with self._db.reading() as connection:
            found = connection.execute(query.order_by(versions.c.version).limit(limit))
            return [rows.version(row) for row in found]

    def fleet_part(self, rows_: Sequence[VersionRow]) -> FleetPart:
        with self._db.reading() as connection:
            row = _fleet_row(connection)
            names = {r.object for r in rows_ if r.cause in (Cause.HOST, Cause.QUARANTINE)}
            revised = {int(r.object) for r in rows_ if r.cause is Cause.POLICY}
            touched = _touched_documents(connection, revised)
            everything = (
                any(r.cause is Cause.EPOCH for r in rows_)
                or len(names) > MOST_HOSTS
                or len(touched) > MOST_DOCUMENTS
            )
            return FleetPart(
                head=_head(row),
                at=row.at,
                everything=everything,
                settings=rows.settings(row.settings),
                hosts={} if everything else _hosts_now(connection, names),
                documents={} if everything else _documents_now(connection, touched),
                allocations=self._allocated.read(connection, row.revision),
                quarantines=_quarantines(connection),
            )

    def secrets(self) -> Secrets:
        with self._db.reading() as connection:
            return secretsql.read(connection, self._master_key)

    def revoked(self) -> Revoked:
        with self._db.reading() as connection:
            ended = select(hosts.c.number).where(hosts.c.revoked)
            serials = select(certificates.c.serial).where(certificates.c.revoked)
            names = select(administrators.c.name).where(administrators.c.revoked)
            return Revoked(
                hosts=frozenset(connection.scalars(ended)),
                serials=frozenset(int(serial, 16) for serial in connection.scalars(serials)),
                administrators=frozenset(connection.scalars(names)),
            )

    def claim_addresses(self, name: str, addresses: Sequence[IPAddress], now: int) -> int:
        with self._db.writing(now) as writer:
            host = hostsql.living(writer.connection, name)
            if rows.sorted_addresses(addresses) == host.addresses:
                return 0
            if host.fixed:
                raise Refused(f"the addresses of host {name} were given by an operator")
            outside = addressing.outside(host.networks, addresses)
            if outside is not None:
                raise Refused(f"{outside}: {addressing.OUTSIDE}")
            hostsql.replace_addresses(writer, host, addresses)
            hostsql.bump_record(writer, host.number)
            return hostsql.host_version(writer, name, CONTROLLER, "addresses-claimed")

    def note_seen(self, seen: Mapping[str, Seen], now: int) -> None:
        if not seen:
            return
        with self._db.writing(now) as writer:
            known = _numbers_and_lost(writer.connection, seen)
            back = [
                (name, number)
                for name, (number, lost, at) in known.items()
                if lost and seen[name].at > at
            ]
            values = [_seen_values(number, seen[name]) for name, (number, _, _) in known.items()]
            if values:
                writer.connection.execute(_SEEN_UPDATE, values)
            for name, number in sorted(back):
                _set_lost(writer, [number], lost=False)
                hostsql.host_version(writer, name, CONTROLLER, "lease-resumed")

    def seen(self, names: Iterable[str]) -> Mapping[str, Seen]:
        """Of many, all are read at once."""
        wanted = frozenset(names)
        query = hostsql.select_seen().where(~hosts.c.revoked)
        parts = hostsql.chunks(sorted(wanted)) if len(wanted) <= MOST_HOSTS else [None]
        found: dict[str, Seen] = {}
        with self._db.reading() as connection:
            for part in parts:
                some = query if part is None else query.where(hosts.c.name.in_(part))
                found |= {row.name: rows.seen(row) for row in connection.execute(some)}
        return {name: found[name] for name in wanted & found.keys()}

    def end_leases(self, silent_since: int, now: int) -> Sequence[str]:
        silent = (
            select(hosts.c.name, hosts.c.number)
            .join(host_seen, host_seen.c.number == hosts.c.number)
            .where(~hosts.c.revoked, ~hosts.c.lost, hosts.c.enrolled_at < silent_since)
            .where(host_seen.c.at < silent_since)
            .order_by(hosts.c.name)
        )
        with self._db.reading() as connection:  # mostly nobody: then nothing is locked
            if connection.execute(silent.limit(1)).first() is None:
                return []
        with self._db.writing(now) as writer:
            found = writer.connection.execute(silent).all()
            _set_lost(writer, [row.number for row in found], lost=True)
            for row in found:
                hostsql.host_version(writer, row.name, CONTROLLER, "lease-ended")
            return [row.name for row in found]


def _fleet_row(connection: Connection) -> Any:
    row = connection.execute(select(fleet)).one_or_none()
    if row is None:
        raise NotFound(EMPTY)
    return row


def _head(row: Any) -> Head:
    return Head(row.store_epoch, row.version, row.revision)


def _quarantines(connection: Connection) -> list[QuarantineRow]:
    order = (quarantines.c.until, quarantines.c.kind, quarantines.c.name)
    found = connection.execute(select(quarantines).order_by(*order))
    return [rows.quarantine(row) for row in found]


def _touched_documents(connection: Connection, revised: set[int]) -> set[tuple[str, str]]:
    touched: set[tuple[str, str]] = set()
    for part in hostsql.chunks(sorted(revised)):
        query = select(documents.c.kind, documents.c.name).where(documents.c.revision.in_(part))
        touched.update((kind, name) for kind, name in connection.execute(query))
    return touched


def _documents_now(
    connection: Connection, touched: set[tuple[str, str]]
) -> Mapping[tuple[str, str], DocumentRow | None]:
    now: dict[tuple[str, str], DocumentRow | None] = dict.fromkeys(sorted(touched))
    for part in hostsql.chunks(sorted(touched)):
        query = newest_documents(tuple_(documents.c.kind, documents.c.name).in_(part))
        for row in connection.execute(query):
            now[row.kind, row.name] = rows.document(row)
    return now


def _hosts_now(connection: Connection, names: set[str]) -> Mapping[str, HostRow | None]:
    now: dict[str, HostRow | None] = dict.fromkeys(sorted(names))
    for part in hostsql.chunks(sorted(names)):
        query = hostsql.select_hosts().where(hosts.c.name.in_(part), ~hosts.c.revoked)
        now.update((host.name, host) for host in hostsql.read_hosts(connection, query))
    return {name: now[name] for name in now if name}


def _numbers_and_lost(
    connection: Connection, names: Mapping[str, object]
) -> dict[str, tuple[int, bool, int]]:
    known = {}
    query = select(hosts.c.name, hosts.c.number, hosts.c.lost, host_seen.c.at).join_from(
        hosts, host_seen
    )
    for part in hostsql.chunks(sorted(names)):
        for row in connection.execute(query.where(hosts.c.name.in_(part), ~hosts.c.revoked)):
            known[row.name] = (row.number, row.lost, row.at)
    return known


def _set_lost(writer: Writer, numbers: Sequence[int], *, lost: bool) -> None:
    for part in hostsql.chunks(numbers):
        change = update(hosts).where(hosts.c.number.in_(part)).values(lost=lost)
        writer.connection.execute(change)


def _seen_values(number: int, seen: Seen) -> dict[str, object]:
    return {"of_host": number, **{name: getattr(seen, name) for name in _SEEN_COLUMNS}}
