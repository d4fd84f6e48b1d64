# SPDX-License-Identifier: Apache-2.0
"""`HostStorage`: what an administrator does with hosts and administrators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, false, func, or_, select, update

from controller.access_records import AdministratorRow, Role
from controller.fields import is_name
from controller.records import (
    STALE_SECONDS,
    Actor,
    HostChange,
    HostQuery,
    HostRow,
    HostState,
    LabelsJudged,
    Page,
    Paged,
)
from controller.storage import Moved, NotFound, Refused
from controller.store import hostsql, rows
from controller.store.database import Database
from controller.store.tables import administrators, certificates, host_seen
from controller.store.tables import hosts as hosts_table
from controller.store.writer import Writer

MOST_ADMINISTRATORS = 1000
_SEEN_EVERY = 60


class HostMethods:
    """Mixed into SqlStorage."""

    _db: Database

    def host(self, name: str) -> HostRow | None:
        """The newest incarnation, revoked or not."""
        query = hostsql.select_hosts().where(hosts_table.c.name == name)
        newest = query.order_by(hosts_table.c.number.desc()).limit(1)
        with self._db.reading() as connection:
            found = hostsql.read_hosts(connection, newest)
            return found[0] if found else None

    def hosts(self, query: HostQuery, page: Page) -> Paged[HostRow]:
        """In the order of names, incarnations of one name by number."""
        asked = _conditions(query)
        chosen = hostsql.select_hosts().where(*asked)
        if page.after:
            name, _, number = page.after.partition(" ")
            same_name = hosts_table.c.name == name
            chosen = chosen.where(
                (hosts_table.c.name > name) | (same_name & (hosts_table.c.number > int(number)))
            )
        ordered = chosen.order_by(hosts_table.c.name, hosts_table.c.number).limit(page.size + 1)
        count = select(func.count()).select_from(hosts_table.join(host_seen)).where(*asked)
        with self._db.reading() as connection:
            found = hostsql.read_hosts(connection, ordered)
            total = connection.scalar(count) or 0
        shown = found[: page.size]
        following = f"{shown[-1].name} {shown[-1].number}" if len(found) > page.size else ""
        return Paged(shown, following, total)

    def host_facts(self, name: str) -> bytes:
        """What the newest incarnation said when it enrolled: a serialised cordon.v1.HostFacts."""
        query = select(hosts_table.c.facts).where(hosts_table.c.name == name)
        with self._db.reading() as connection:
            facts: bytes | None = connection.scalar(
                query.order_by(hosts_table.c.number.desc()).limit(1)
            )
        if facts is None:
            raise NotFound(f"no host {name!r} is known")
        return facts

    def revoke_host(self, name: str, actor: Actor, why: str, now: int) -> int:
        with self._db.writing(now) as writer:
            host = hostsql.living(writer.connection, name)
            hostsql.end_host(writer, host)
            hostsql.lift_quarantine_of_host(writer, name)
            return hostsql.host_version(writer, name, actor, "RevokeHost", why)

    def update_host(self, name: str, change: HostChange, actor: Actor, why: str, now: int) -> int:
        with self._db.writing(now) as writer:
            host = hostsql.living(writer.connection, name)
            if change.judged not in (None, LabelsJudged(writer.head.revision, host.labels)):
                raise Moved(f"host {name} has other labels by now, or policy has changed")
            values = _changed(host, change)
            addresses = _addresses(host, change)
            if not values and addresses == host.addresses:
                return 0
            hostsql.replace_addresses(writer, host, addresses)
            if values:
                same = hosts_table.c.number == host.number
                writer.connection.execute(update(hosts_table).where(same).values(values))
            if addresses != host.addresses or values.keys() & {"labels", "tags", "nat"}:
                hostsql.bump_record(writer, host.number)
            return hostsql.host_version(writer, name, actor, "UpdateHost", why)

    def administrators(self) -> Sequence[AdministratorRow]:
        query = select(administrators).order_by(administrators.c.name).limit(MOST_ADMINISTRATORS)
        with self._db.reading() as connection:
            return [rows.administrator(row) for row in connection.execute(query)]

    def note_administrator_seen(self, name: str, now: int) -> None:
        """At most once a minute is it written."""
        unseen = (administrators.c.name == name, administrators.c.seen < now - _SEEN_EVERY)
        with self._db.reading() as connection:
            if connection.execute(select(administrators.c.name).where(*unseen)).first() is None:
                return
        with self._db.writing(now) as writer:
            writer.connection.execute(update(administrators).where(*unseen).values(seen=now))

    def revoke_administrator(self, name: str, actor: Actor, why: str, now: int) -> None:
        """Raises NotFound too."""
        with self._db.writing(now) as writer:
            same = administrators.c.name == name
            row = writer.connection.execute(select(administrators).where(same)).one_or_none()
            if row is None:
                raise NotFound(f"no administrator {name!r} is known")
            if row.role == Role.OPERATOR and not _other_operator(writer, name, now):
                raise Refused(f"{name} is the last operator: make another one first")
            writer.connection.execute(update(administrators).where(same).values(revoked=True))
            theirs = (certificates.c.host == 0, certificates.c.name == name)
            is_admin = certificates.c.subject.contains("/admin/", autoescape=True)
            writer.connection.execute(
                update(certificates).where(*theirs, is_admin).values(revoked=True)
            )
            writer.note(actor, "RevokeAdministrator", name, why)


def _conditions(query: HostQuery) -> list[ColumnElement[bool]]:
    states = query.states or frozenset(HostState) - {HostState.REVOKED}
    asked: list[ColumnElement[bool]] = [or_(*(_in_state(s, query.now) for s in states))]
    labels: Any = hosts_table.c.labels
    for key, value in query.labels.items():  # no host has a label that is not named as one
        asked.append(labels[key].as_string() == value if is_name(key) else false())
    return asked


def _in_state(state: HostState, now: int) -> ColumnElement[bool]:
    """As HostRow.state."""
    alive = ~hosts_table.c.revoked
    kept = alive & ~hosts_table.c.lost
    heard = kept & (host_seen.c.at != 0)
    streams = (host_seen.c.controller != "") & (host_seen.c.at >= now - STALE_SECONDS)
    found: Mapping[HostState, ColumnElement[bool]] = {
        HostState.REVOKED: hosts_table.c.revoked,
        HostState.LOST: alive & hosts_table.c.lost,
        HostState.ENROLLED: kept & (host_seen.c.at == 0),
        HostState.CONNECTED: heard & streams,
        HostState.SILENT: heard & ~streams,
    }
    return found[state]


def _changed(host: HostRow, change: HostChange) -> dict[str, object]:
    """Columns that get another value."""
    labels = {k: v for k, v in host.labels.items() if k not in change.remove_labels}
    wanted: dict[str, object] = {"labels": {**labels, **change.set_labels}}
    if change.networks is not None:
        wanted["networks"] = [str(network) for network in change.networks]
    if change.addresses is not None:
        wanted["fixed"] = bool(change.addresses)
    if change.tags is not None:
        wanted["tags"] = change.tags
    if change.nat is not None:
        wanted["nat"] = change.nat
    have: Mapping[str, object] = {
        "labels": dict(host.labels),
        "networks": [str(network) for network in host.networks],
        "fixed": host.fixed,
        "tags": host.tags,
        "nat": host.nat,
    }
    return {name: value for name, value in wanted.items() if value != have[name]}


def _addresses(host: HostRow, change: HostChange) -> tuple[Any, ...]:
    """The operator's, or those of before that still lie in the host's networks."""
    if change.addresses:
        return rows.sorted_addresses(change.addresses)
    if change.networks:
        return tuple(a for a in host.addresses if any(a in n for n in change.networks))
    return host.addresses


def _other_operator(writer: Writer, name: str, now: int) -> bool:
    """One whose certificate still holds."""
    query = select(administrators.c.name).where(
        administrators.c.name != name,
        administrators.c.role == int(Role.OPERATOR),
        ~administrators.c.revoked,
        administrators.c.expires > now,
    )
    return writer.connection.execute(query).first() is not None
