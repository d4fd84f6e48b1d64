# SPDX-License-Identifier: Apache-2.0
"""A fleet in a store, and hosts in the fleet, for tests."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from pathlib import Path

from agent.core.model import IPAddress
from controller import ca, keys, signing
from controller.access_records import (
    AdministratorGrant,
    AdministratorRow,
    CertificateRow,
    HostGrant,
    Joining,
    NewToken,
    Role,
    SecretRow,
)
from controller.allocations import Allocations
from controller.records import Actor, DocumentChanges, DocumentRow, FleetSettings, HostRow
from controller.store import SqlStorage, open_store, upgrade

NOW = 1_700_000_000
MASTER = bytes(range(32))
DOMAIN = "example.org"
OPERATOR = Actor(f"spiffe://{DOMAIN}/admin/operator/olga", "192.0.2.200")


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'cordon.db'}"


def fleet(url: str) -> SqlStorage:
    """A store with a fleet that has nobody in it."""
    upgrade(url)
    storage = open_store(url, MASTER)
    authority = ca.new_authority(DOMAIN, NOW, 1)
    signer = signing.new_key()
    storage.initialise(
        DOMAIN,
        FleetSettings(),
        [
            ca.to_secret(authority, "active", NOW),
            signing.to_secret(signer, "active", NOW),
            SecretRow("root", "1", "active", NOW, b"", bytes(keys.ROOT_BYTES)),
        ],
        signing.key_set(1, [signing.raw_public(signer)], signer),
        NOW,
    )
    return storage


def addresses(*texts: str) -> tuple[IPAddress, ...]:
    return tuple(ipaddress.ip_address(text) for text in texts)


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def host_token(storage: SqlStorage, id_: str, grant: HostGrant, now: int = NOW) -> None:
    storage.create_token(NewToken(id_, digest(id_), grant, now + 900), OPERATOR, "", now)


def join(
    storage: SqlStorage,
    name: str,
    *has: str,
    labels: Mapping[str, str] | None = None,
    replace: bool = False,
    now: int = NOW,
) -> HostRow:
    """Enrol a host that has these addresses."""
    id_ = f"{name}-{now}"
    host_token(storage, id_, HostGrant(name, labels or {}, replace=replace), now)
    joining = Joining(digest(f"key of {id_}"), addresses(*has), b"facts", now)
    return storage.enrol(id_, joining, Actor(f"spiffe://{DOMAIN}/host/{name}", "192.0.2.99"))


def login(
    storage: SqlStorage, name: str, role: Role = Role.OPERATOR, now: int = NOW
) -> AdministratorRow:
    """An administrator with a certificate for an hour."""
    id_ = f"login-{name}-{now}"
    grant = AdministratorGrant(name, role, 3600)
    storage.create_token(NewToken(id_, digest(id_), grant, now + 900), OPERATOR, "", now)
    storage.login(id_, digest(f"key of {id_}"), OPERATOR, now)
    subject = f"spiffe://{DOMAIN}/admin/{role.name.lower()}/{name}"
    serial = int.from_bytes(digest(id_)[:19], "big")
    storage.note_certificate(CertificateRow(serial, subject, 0, now + 3600), now)
    return next(row for row in storage.administrators() if row.name == name)


def certify(storage: SqlStorage, host: HostRow, serial: int, now: int = NOW) -> None:
    """A certificate for an hour."""
    subject = f"spiffe://{DOMAIN}/host/{host.name}"
    storage.note_certificate(CertificateRow(serial, subject, host.number, now + 3600), now)


def document(name: str, text: str = "kind: Allow", kind: str = "Allow") -> DocumentRow:
    return DocumentRow(kind, name, text, "policy.yaml", 1, 0)


def changes(
    *put: DocumentRow,
    deleted: tuple[tuple[str, str], ...] = (),
    numbers: Mapping[str, int] | None = None,
    rollback_of: int = 0,
) -> DocumentChanges:
    """numbers: of workloads."""
    return DocumentChanges(put, deleted, Allocations(workloads=numbers or {}), rollback_of)
