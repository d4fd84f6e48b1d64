# SPDX-License-Identifier: Apache-2.0
"""Secrets and key sets: sealed on their way in, opened on their way out."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from controller.access_records import SecretRow, Secrets
from controller.storage import NotFound, Refused
from controller.store import sealed
from controller.store.database import EMPTY
from controller.store.tables import key_sets, secrets

AUTHORITY = "authority"
SIGNING_KEY = "signing-key"
ROOT = "root"
ENDED = "ended"
"""The stage of what nobody believes any more: its private part is gone."""


def read(connection: Connection, master: bytes) -> Secrets:
    """All that are still believed. Raises Refused for another master key, NotFound if empty."""
    query = select(secrets).where(secrets.c.stage != ENDED).order_by(secrets.c.since, secrets.c.id)
    opened = [_opened(row, master) for row in connection.execute(query)]
    root = next((row.private for row in opened if row.kind == ROOT), None)
    newest = select(key_sets.c.signed).order_by(key_sets.c.number.desc()).limit(1)
    key_set = connection.scalar(newest)
    if root is None or key_set is None:
        raise NotFound(EMPTY)
    return Secrets(
        authorities=[row for row in opened if row.kind == AUTHORITY],
        signing_keys=[row for row in opened if row.kind == SIGNING_KEY],
        root=root,
        key_set=key_set,
    )


def _opened(row: Any, master: bytes) -> SecretRow:
    try:
        private = sealed.unseal(master, row.kind, row.id, row.sealed)
    except sealed.SealBroken as error:
        raise Refused(str(error)) from error
    return SecretRow(row.kind, row.id, row.stage, row.since, row.public, private)


def put(connection: Connection, secret: SecretRow, master: bytes) -> None:
    """New, or in the place of the one with the same kind and id."""
    private = b"" if secret.stage == ENDED else secret.private
    values = {
        "stage": secret.stage,
        "since": secret.since,
        "public": secret.public,
        "sealed": sealed.seal(master, secret.kind, secret.id, private),
    }
    same = (secrets.c.kind == secret.kind, secrets.c.id == secret.id)
    if connection.execute(update(secrets).where(*same).values(values)).rowcount == 0:
        connection.execute(insert(secrets).values(kind=secret.kind, id=secret.id, **values))


def put_key_set(connection: Connection, signed: bytes, at: int) -> None:
    """Only the newest is of use; the one before stays for those who look into what happened."""
    last: int = connection.scalar(select(func.coalesce(func.max(key_sets.c.number), 0))) or 0
    connection.execute(insert(key_sets).values(number=last + 1, at=at, signed=signed))
    connection.execute(delete(key_sets).where(key_sets.c.number < last))
