# SPDX-License-Identifier: Apache-2.0
"""`OperationStorage`: what is done on a controller's own machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import func, insert, select

from controller.access_records import SecretRow
from controller.records import Actor, Cause, FleetSettings, Head
from controller.storage import Conflict, NotFound
from controller.store import checking, secretsql
from controller.store.database import EMPTY, Database
from controller.store.tables import certificates, fleet, host_seen
from controller.store.writer import CONTROLLER

SKIPPED_HOSTS = 65_536
"""Hosts that may have enrolled after the backup, and whose numbers nobody else may get."""


class OperationMethods:
    """Mixed into SqlStorage."""

    _db: Database
    _master_key: bytes

    def initialise(
        self,
        trust_domain: str,
        settings: FleetSettings,
        secrets: Sequence[SecretRow],
        key_set: bytes,
        now: int,
    ) -> Head:
        with self._db.first_writing() as connection:
            if connection.execute(select(fleet.c.id)).first():
                raise Conflict("the store has a fleet already; nothing was changed")
            connection.execute(
                insert(fleet).values(
                    id=1,
                    trust_domain=trust_domain,
                    store_epoch=1,
                    version=0,
                    revision=0,
                    audit=0,
                    next_host=1,
                    at=now,
                    settings=asdict(settings),
                )
            )
            for secret in secrets:
                secretsql.put(connection, secret, self._master_key)
            secretsql.put_key_set(connection, key_set, now)
        with self._db.writing(now) as writer:
            writer.version(Cause.SETTINGS)
            writer.note(CONTROLLER, "init", trust_domain)
            return writer.head

    def trust_domain(self) -> str:
        with self._db.reading() as connection:
            name: str | None = connection.scalar(select(fleet.c.trust_domain))
        if name is None:
            raise NotFound(EMPTY)
        return name

    def put_secret(self, secret: SecretRow, actor: Actor, now: int) -> None:
        with self._db.writing(now) as writer:
            secretsql.put(writer.connection, secret, self._master_key)
            writer.note(actor, "put-secret", f"{secret.kind} {secret.id}: {secret.stage}")

    def put_secrets(
        self, secrets: Sequence[SecretRow], key_set: bytes | None, actor: Actor, now: int
    ) -> None:
        """Several in one moment, as a change of stages is, and the key set that it makes."""
        with self._db.writing(now) as writer:
            for secret in secrets:
                secretsql.put(writer.connection, secret, self._master_key)
                writer.note(actor, "put-secret", f"{secret.kind} {secret.id}: {secret.stage}")
            if any(secret.kind == secretsql.SIGNING_KEY for secret in secrets):
                writer.version(Cause.EPOCH)  # everything that is in force is to be signed anew
            if key_set is not None:
                secretsql.put_key_set(writer.connection, key_set, now)
                writer.note(actor, "put-key-set", "")

    def put_key_set(self, key_set: bytes, actor: Actor, now: int) -> None:
        with self._db.writing(now) as writer:
            secretsql.put_key_set(writer.connection, key_set, now)
            writer.note(actor, "put-key-set", "")

    def certificates_end(self, issued_before: int) -> int:
        """When the last certificate that was issued before then ends; 0 if there is none."""
        older = certificates.c.issued < issued_before
        query = select(func.max(certificates.c.expires)).where(older, ~certificates.c.revoked)
        with self._db.reading() as connection:
            return connection.scalar(query) or 0

    def raise_epoch(self, actor: Actor, why: str, now: int) -> Head:
        with self._db.writing(now) as writer:
            reported = select(func.coalesce(func.max(host_seen.c.store_epoch), 0))
            highest = writer.connection.scalar(reported) or 0
            epoch = max(highest, writer.head.store_epoch) + 1
            writer.raise_epoch(epoch, SKIPPED_HOSTS)
            writer.version(Cause.EPOCH)
            writer.note(actor, "raise-epoch", str(epoch), why)
            return writer.head

    def check(self) -> Sequence[str]:
        """Sentences about what should not be."""
        with self._db.reading() as connection:
            return checking.findings(connection, self._master_key)
