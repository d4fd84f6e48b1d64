# SPDX-License-Identifier: Apache-2.0
"""`EnrolmentStorage`: tokens and certificates."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, case, delete, insert, select, update

from agent.core.model import IPAddress
from controller.access_records import (
    AdministratorGrant,
    AdministratorRow,
    CertificateRow,
    HostGrant,
    Joining,
    NewToken,
    TokenRow,
)
from controller.records import Actor, HostRow, Page, Paged
from controller.storage import HostExists, NotFound, Refused, TokenSpent
from controller.store import hostsql, rows
from controller.store.database import Database
from controller.store.tables import (
    administrators,
    certificates,
    host_addresses,
    host_seen,
    hosts,
    tokens,
)
from controller.store.writer import Writer

KEEP_SECONDS = 30 * 86_400
"""How long a token that is of no use any more, or an ended certificate, can still be seen."""


class EnrolmentMethods:
    """Mixed into SqlStorage."""

    _db: Database

    def create_token(self, token: NewToken, actor: Actor, why: str, now: int) -> TokenRow:
        with self._db.writing(now) as writer:
            connection = writer.connection
            connection.execute(delete(tokens).where(tokens.c.expires < writer.at - KEEP_SECONDS))
            connection.execute(
                insert(tokens).values(
                    id=token.id,
                    secret_hash=token.secret_hash,
                    grant=rows.grant_json(token.grant),
                    created=writer.at,
                    created_by=actor.who,
                    expires=token.expires,
                    used=0,
                    used_from="",
                    key_digest=b"",
                    revoked=False,
                )
            )
            writer.note(actor, "CreateToken", f"{token.id} for {_whom(token.grant)}", why)
            row = _token_row(connection, token.id)
            assert row is not None, "it was written above"
            return rows.token(row, now)

    def token(self, token_id: str, now: int) -> TokenRow | None:
        with self._db.reading() as connection:
            row = _token_row(connection, token_id)
            return rows.token(row, now) if row else None

    def tokens(self, page: Page, now: int) -> Paged[TokenRow]:
        """Newest first."""
        query = select(tokens).where(tokens.c.expires >= now - KEEP_SECONDS)
        if page.after:
            at, _, token_id = page.after.partition(" ")
            before = (tokens.c.created < int(at)) | (
                (tokens.c.created == int(at)) & (tokens.c.id > token_id)
            )
            query = query.where(before)
        query = query.order_by(tokens.c.created.desc(), tokens.c.id).limit(page.size + 1)
        with self._db.reading() as connection:
            found = connection.execute(query).all()
        shown = found[: page.size]
        following = f"{shown[-1].created} {shown[-1].id}" if len(found) > page.size else ""
        return Paged([rows.token(row, now) for row in shown], following)

    def revoke_token(self, token_id: str, actor: Actor, why: str, now: int) -> None:
        """Raises NotFound, Refused if it was used."""
        with self._db.writing(now) as writer:
            row = _token_row(writer.connection, token_id)
            if row is None:
                raise NotFound(f"no token {token_id!r} is known")
            if row.used:
                raise Refused(f"token {token_id} was used; what it made can be revoked")
            same = tokens.c.id == token_id
            writer.connection.execute(update(tokens).where(same).values(revoked=True))
            writer.note(actor, "RevokeToken", token_id, why)

    def taken(self, addresses: Sequence[IPAddress]) -> Mapping[IPAddress, str]:
        texts = [str(address) for address in addresses]
        query = select(host_addresses.c.address, hosts.c.name).join_from(host_addresses, hosts)
        taken: dict[IPAddress, str] = {}
        with self._db.reading() as connection:
            for part in hostsql.chunks(texts):
                found = connection.execute(query.where(host_addresses.c.address.in_(part)))
                taken.update((ipaddress.ip_address(address), name) for address, name in found)
        return taken

    def enrol(self, token_id: str, joining: Joining, actor: Actor) -> HostRow:
        with self._db.writing(joining.at) as writer:
            row = _good_token(writer.connection, token_id, joining.key_digest, joining.at)
            grant = rows.grant(row.grant)
            if not isinstance(grant, HostGrant):
                raise TokenSpent("the token is not for a host")
            if row.used:
                return _same_again(writer.connection, token_id)
            _spend(writer, token_id, joining.key_digest, actor)
            _make_room(writer, grant, actor)
            return _new_host(writer, grant, joining, row, actor)

    def login(self, token_id: str, key_digest: bytes, actor: Actor, now: int) -> AdministratorRow:
        with self._db.writing(now) as writer:
            row = _good_token(writer.connection, token_id, key_digest, now)
            grant = rows.grant(row.grant)
            if not isinstance(grant, AdministratorGrant):
                raise TokenSpent("the token is not for an administrator")
            if not row.used:
                _spend(writer, token_id, key_digest, actor)
                _put_administrator(writer, grant)
                writer.note(actor, "Login", grant.name, f"token {token_id}")
            return _administrator(writer.connection, grant.name)

    def note_certificate(self, certificate: CertificateRow, now: int) -> None:
        name = certificate.subject.rsplit("/", 1)[-1]
        with self._db.writing(now) as writer:
            connection = writer.connection
            _refuse_ended(connection, certificate, name)
            old = certificates.c.expires < writer.at - KEEP_SECONDS
            connection.execute(delete(certificates).where(old))
            connection.execute(
                insert(certificates).values(
                    serial=f"{certificate.serial:x}",
                    subject=certificate.subject,
                    name=name,
                    host=certificate.host,
                    issued=now,
                    expires=certificate.expires,
                    revoked=False,
                )
            )
            _note_expiry(connection, certificate, name, now)


def _whom(grant: HostGrant | AdministratorGrant) -> str:
    if isinstance(grant, AdministratorGrant):
        return f"{grant.role.name.lower()} {grant.name}"
    return f"host {grant.name}"


def _token_row(connection: Connection, token_id: str) -> Any:
    return connection.execute(select(tokens).where(tokens.c.id == token_id)).one_or_none()


def _good_token(connection: Connection, token_id: str, key_digest: bytes, now: int) -> Any:
    """Not used, or used by this key. Raises TokenSpent."""
    row = _token_row(connection, token_id)
    if row is None or row.revoked or row.expires <= now:
        raise TokenSpent("the token is unknown, expired or revoked")
    if row.used and not hmac.compare_digest(row.key_digest, key_digest):
        raise TokenSpent("the token was used by another key")
    return row


def _spend(writer: Writer, token_id: str, key_digest: bytes, actor: Actor) -> None:
    writer.connection.execute(
        update(tokens)
        .where(tokens.c.id == token_id)
        .values(used=writer.at, used_from=actor.address, key_digest=key_digest)
    )


def _same_again(connection: Connection, token_id: str) -> HostRow:
    query = hostsql.select_hosts().where(hosts.c.token == token_id, ~hosts.c.revoked)
    found = hostsql.read_hosts(connection, query)
    if not found:
        raise TokenSpent("the host that the token made was revoked")
    return found[0]


def _make_room(writer: Writer, grant: HostGrant, actor: Actor) -> None:
    """Raises HostExists. A quarantine of the name outlives the old incarnation."""
    try:
        old = hostsql.living(writer.connection, grant.name)
    except NotFound:
        return
    if not grant.replace:
        raise HostExists(f"host {grant.name} is enrolled, and the token does not replace it")
    hostsql.end_host(writer, old)
    writer.note(actor, "host-replaced", grant.name, f"number {old.number}")


def _new_host(
    writer: Writer, grant: HostGrant, joining: Joining, token: Any, actor: Actor
) -> HostRow:
    number = writer.host_number()
    addresses: tuple[IPAddress, ...] = grant.addresses or joining.addresses
    writer.connection.execute(
        insert(hosts).values(
            number=number,
            name=grant.name,
            labels=dict(grant.labels),
            networks=[str(network) for network in grant.networks],
            fixed=bool(grant.addresses),
            tags=True,
            nat=False,
            lost=False,
            revoked=False,
            record_serial=1,
            record_at=writer.at,
            enrolled_at=writer.at,
            enrolled_by=token.created_by,
            token=token.id,
            certificate_expires=0,
            facts=joining.facts,
        )
    )
    writer.connection.execute(insert(host_seen).values(number=number, **_NEVER_SEEN))
    hostsql.add_addresses(writer.connection, number, addresses)
    hostsql.host_version(writer, grant.name, actor, "Enrol", f"token {token.id}")
    return hostsql.living(writer.connection, grant.name)


_NEVER_SEEN: dict[str, Any] = {
    "at": 0,
    "controller": "",
    "agent_version": "",
    "store_epoch": 0,
    "version": 0,
    "refused_version": 0,
    "refused": "",
    "trouble": "",
    "report": b"",
}


def _put_administrator(writer: Writer, grant: AdministratorGrant) -> None:
    values = {"role": int(grant.role), "revoked": False, "seen": writer.at}
    same = administrators.c.name == grant.name
    connection = writer.connection
    if connection.execute(update(administrators).where(same).values(values)).rowcount == 0:
        connection.execute(insert(administrators).values(name=grant.name, expires=0, **values))


def _administrator(connection: Connection, name: str) -> AdministratorRow:
    row = connection.execute(select(administrators).where(administrators.c.name == name)).one()
    if row.revoked:
        raise TokenSpent("the administrator was revoked")
    return rows.administrator(row)


def _refuse_ended(connection: Connection, certificate: CertificateRow, name: str) -> None:
    if certificate.host:
        query = select(hosts.c.revoked).where(hosts.c.number == certificate.host)
    elif "/admin/" in certificate.subject:
        query = select(administrators.c.revoked).where(administrators.c.name == name)
    else:
        return
    if connection.scalar(query) is not False:
        raise Refused(f"{certificate.subject} was revoked")


def _note_expiry(connection: Connection, certificate: CertificateRow, name: str, now: int) -> None:
    expires = certificate.expires
    if certificate.host:
        connection.execute(
            update(hosts)
            .where(hosts.c.number == certificate.host)
            .values(certificate_expires=_later(hosts.c.certificate_expires, expires))
        )
    elif "/admin/" in certificate.subject:
        connection.execute(
            update(administrators)
            .where(administrators.c.name == name)
            .values(expires=_later(administrators.c.expires, expires), seen=now)
        )


def _later(column: Any, value: int) -> Any:
    return case((column > value, column), else_=value)
