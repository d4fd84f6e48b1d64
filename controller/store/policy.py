# SPDX-License-Identifier: Apache-2.0
"""`PolicyStorage`: revisions, quarantine, settings, audit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select, tuple_

from controller.records import (
    Actor,
    AuditRow,
    Cause,
    DocumentChanges,
    DocumentRow,
    FleetSettings,
    Head,
    HostsJudged,
    Page,
    Paged,
    QuarantineRow,
    RevisionRow,
    Target,
)
from controller.storage import Conflict, Moved, NotFound, Refused
from controller.store import allocating, hostsql, rows
from controller.store.allocating import Allocated
from controller.store.database import EMPTY, Database
from controller.store.documentsql import newest_documents
from controller.store.tables import (
    audit,
    documents,
    fleet,
    hosts,
    quarantines,
    revisions,
    versions,
)
from controller.store.writer import CONTROLLER, Writer

MOST_QUARANTINES = 1000
MANY_NAMES = 5000


class PolicyMethods:
    """Mixed into SqlStorage."""

    _db: Database
    _allocated: Allocated

    def apply(
        self, changes: DocumentChanges, expected: int, actor: Actor, why: str, now: int
    ) -> Head:
        with self._db.writing(now) as writer:
            connection, old = writer.connection, writer.head.revision
            if old != expected:
                raise Conflict(f"the newest revision is {old}, not {expected}; read again")
            if changes.judged is not None:
                _refuse_other_labels(connection, changes.judged)
            stored = self._allocated.numbers(connection, old)
            count = _count_after(connection, changes, old)
            number = writer.revision()
            allocating.add(connection, stored, changes.allocations, number)
            _write_documents(connection, changes, number)
            version = writer.version(Cause.POLICY, str(number))
            connection.execute(
                insert(revisions).values(
                    number=number,
                    version=version,
                    at=writer.at,
                    who=actor.who,
                    why=why,
                    documents=count,
                    changes=len(changes.put) + len(changes.deleted),
                    rollback_of=changes.rollback_of,
                )
            )
            what = changes.what or ("Rollback" if changes.rollback_of else "Apply")
            writer.note(actor, what, f"revision {number}", why)
            return writer.head

    def documents(self, revision: int | None = None) -> Sequence[DocumentRow]:
        with self._db.reading() as connection:
            newest = connection.scalar(select(fleet.c.revision)) or 0
            if revision is not None and not 0 <= revision <= newest:
                raise NotFound(f"there is no revision {revision}; the newest is {newest}")
            found = connection.execute(newest_documents(up_to=revision))
            return [rows.document(row) for row in found]

    def has_document(self, kind: str, name: str) -> bool:
        same = (documents.c.kind == kind, documents.c.name == name)
        with self._db.reading() as connection:
            return connection.execute(newest_documents(*same)).first() is not None

    def revisions(self, page: Page) -> Paged[RevisionRow]:
        """Newest first."""
        with self._db.reading() as connection:
            found, following = _page(connection, select(revisions), revisions.c.number, page)
            total = connection.scalar(select(func.count()).select_from(revisions)) or 0
        return Paged([rows.revision(row) for row in found], following, total)

    def set_quarantine(
        self, target: Target, until: int | None, actor: Actor, why: str, now: int
    ) -> int:
        """Raises NotFound for a host that is not enrolled and for a lift of nothing, Refused."""
        kind, name = rows.target_key(target)
        same = (quarantines.c.kind == kind, quarantines.c.name == name)
        with self._db.writing(now) as writer:
            number = hostsql.living(writer.connection, name).number if target.host else 0
            gone = writer.connection.execute(delete(quarantines).where(*same)).rowcount
            if until is None:
                if not gone:
                    raise NotFound(f"{kind} {name!r} is not in quarantine")
            else:
                _put_quarantine(writer, target, until, actor, why)
            if number:
                hostsql.bump_record(writer, number)
            version = writer.version(Cause.QUARANTINE, name)
            writer.note(actor, "LiftQuarantine" if until is None else "Quarantine", name, why)
            return version

    def quarantines(self) -> Sequence[QuarantineRow]:
        """Those that end first come first."""
        order = (quarantines.c.until, quarantines.c.kind, quarantines.c.name)
        with self._db.reading() as connection:
            found = connection.execute(select(quarantines).order_by(*order))
            return [rows.quarantine(row) for row in found]

    def end_quarantines(self, now: int) -> Sequence[Target]:
        over = select(quarantines).where(quarantines.c.until <= now)
        with self._db.reading() as connection:  # mostly none: then nothing is locked
            if connection.execute(over.limit(1)).first() is None:
                return []
        with self._db.writing(now) as writer:
            found = writer.connection.execute(over.order_by(quarantines.c.name)).all()
            writer.connection.execute(delete(quarantines).where(quarantines.c.until <= now))
            for row in found:
                _end_quarantine(writer, row.kind, row.name)
            return [rows.target(row.kind, row.name) for row in found]

    def settings(self) -> FleetSettings:
        with self._db.reading() as connection:
            stored = connection.scalar(select(fleet.c.settings))
        if stored is None:
            raise NotFound(EMPTY)
        return rows.settings(stored)

    def update_settings(
        self,
        settings: FleetSettings,
        actor: Actor,
        why: str,
        now: int,
        base: FleetSettings | None = None,
    ) -> int:
        with self._db.writing(now) as writer:
            stored = rows.settings(writer.settings)
            if base is not None and stored != base:
                raise Conflict("the settings were changed meanwhile; read again")
            old, new = asdict(stored), asdict(settings)
            changed = [
                f"{name} {old[name]} to {new[name]}" for name in new if new[name] != old[name]
            ]
            if not changed:
                return 0
            writer.set_settings(new)
            version = writer.version(Cause.SETTINGS)
            writer.note(actor, "UpdateSettings", ", ".join(changed), why)
            return version

    def audit(self, since: int, page: Page) -> Paged[AuditRow]:
        """Newest first."""
        query = select(audit).where(audit.c.at >= since)
        with self._db.reading() as connection:
            found, following = _page(connection, query, audit.c.number, page)
        return Paged([rows.audit(row) for row in found], following)

    def note_refused(self, actor: Actor, what: str, object_: str, reason: str, now: int) -> None:
        with self._db.writing(now) as writer:
            writer.note(actor, what, object_, refused=reason)


def _page(
    connection: Connection, query: Select[Any], number: Any, page: Page
) -> tuple[Sequence[Any], str]:
    """Numbered rows, newest first; the page's rows and where the next one starts."""
    if page.after:
        query = query.where(number < int(page.after))
    found = connection.execute(query.order_by(number.desc()).limit(page.size + 1)).all()
    shown = found[: page.size]
    return shown, str(getattr(shown[-1], number.name)) if len(found) > page.size else ""


def _refuse_other_labels(connection: Connection, judged: HostsJudged) -> None:
    """Raises Moved."""
    newer = (versions.c.version > judged.version, versions.c.cause == Cause.HOST.value)
    changed = hosts.c.name.in_(select(versions.c.object).where(*newer))
    query = select(hosts.c.name, hosts.c.labels).where(changed, ~hosts.c.revoked)
    for name, labels in connection.execute(query):
        if judged.labels.get(name) != labels:
            raise Moved(f"host {name} has other labels by now; read again")


def _count_after(connection: Connection, changes: DocumentChanges, revision: int) -> int:
    """Documents of the next revision. Raises Conflict if one to be deleted is not there."""
    query = select(revisions.c.documents).where(revisions.c.number == revision)
    before: int = connection.scalar(query) or 0
    put = {(row.kind, row.name) for row in changes.put}
    there = _there(connection, put | set(changes.deleted))
    if missing := set(changes.deleted) - there:
        kind, name = min(missing)
        raise Conflict(f"{kind}/{name} is not in revision {revision}; read again")
    return before + len(put - there) - len(changes.deleted)


def _there(connection: Connection, names: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of them are documents now; of very many, by reading all names once."""
    wanted = set(names)
    found: set[tuple[str, str]] = set()
    if len(wanted) > MANY_NAMES:
        return wanted & {(row.kind, row.name) for row in connection.execute(newest_documents())}
    for part in hostsql.chunks(sorted(wanted)):
        chosen = newest_documents(tuple_(documents.c.kind, documents.c.name).in_(part))
        found.update((row.kind, row.name) for row in connection.execute(chosen))
    return found


def _write_documents(connection: Connection, changes: DocumentChanges, revision: int) -> None:
    values: list[dict[str, object]] = [
        {
            "kind": row.kind,
            "name": row.name,
            "revision": revision,
            "text": row.text,
            "file": row.file,
            "line": row.line,
            "deleted": False,
        }
        for row in changes.put
    ]
    empty = {"revision": revision, "text": "", "file": "", "line": 0, "deleted": True}
    values += [{"kind": kind, "name": name, **empty} for kind, name in changes.deleted]
    if values:
        connection.execute(insert(documents), values)


def _put_quarantine(writer: Writer, target: Target, until: int, actor: Actor, why: str) -> None:
    connection = writer.connection
    if (connection.scalar(select(func.count()).select_from(quarantines)) or 0) >= MOST_QUARANTINES:
        raise Refused(f"there are {MOST_QUARANTINES} quarantines; lift one first")
    kind, name = rows.target_key(target)
    connection.execute(
        insert(quarantines).values(
            kind=kind, name=name, until=until, since=writer.at, who=actor.who, why=why
        )
    )


def _end_quarantine(writer: Writer, kind: str, name: str) -> None:
    if kind == "host":
        hostsql.bump_record(writer, hostsql.living(writer.connection, name).number)
    writer.version(Cause.QUARANTINE, name)
    writer.note(CONTROLLER, "quarantine-ended", name)
