# SPDX-License-Identifier: Apache-2.0
"""A fleet in a real store, as an operator would fill it, with times of now."""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controller import ca
from controller.access_records import Role
from controller.documents import read_documents
from controller.records import DocumentChanges, DocumentRow, Head, HostRow
from controller.rules import network_keys, rule_keys
from controller.spiffe import Kind, Subject
from controller.store import SqlStorage
from controller.yamlfile import parse
from tests.store import making
from tests.unit.policies import BASE, WEB_TO_DB

POLICY = BASE + WEB_TO_DB


def unix() -> int:
    return int(time.time())


@dataclass(frozen=True)
class Identity:
    """What an agent shows: PEM."""

    name: str
    number: int
    serial: int
    chain: bytes
    key: bytes
    roots: bytes


def apply(storage: SqlStorage, text: str, *, deleted: tuple[tuple[str, str], ...] = ()) -> Head:
    """The next revision, with these documents put."""
    revision = read_documents(parse("p.yaml", text.encode()))
    rows = []
    for part in (part for part in text.split("---\n") if part.strip()):
        (placed,) = read_documents(parse("p.yaml", part.encode())).placed
        document = placed.document
        rows.append(DocumentRow(document.kind, document.name, part, "p.yaml", 1, 0))
    before = storage.fleet()
    numbers = before.allocations.extended(
        (d.document.name for d in revision.placed if d.document.kind == "Workload"),
        (),
        rule_keys(revision),
        network_keys(revision),
    )
    changes = DocumentChanges(tuple(rows), deleted, numbers)
    return storage.apply(changes, before.head.revision, making.OPERATOR, "test", unix())


def port(number: int) -> str:
    """The one rule, for another port."""
    return WEB_TO_DB.replace("6379", str(number))


def join(storage: SqlStorage, name: str, number: int, labels: Mapping[str, str]) -> HostRow:
    address = ipaddress.IPv4Address("10.0.0.0") + number
    return making.join(storage, name, str(address), labels=labels, now=unix())


def identity(
    storage: SqlStorage, row: HostRow, *, seconds: int = 3600, trust: ca.Authority | None = None
) -> Identity:
    """A certificate for a host. trust: another authority than the store's."""
    authority = trust or ca.from_secret(storage.secrets().authorities[0])
    roots = ca.from_secret(storage.secrets().authorities[0]).pem
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = ca.Leaf(Subject(making.DOMAIN, Kind.HOST, row.name), secrets.randbits(100), seconds)
    certificate = ca.issue(authority, key.public_key(), leaf, unix())
    making.certify(storage, row, leaf.serial, now=unix())
    return Identity(
        name=row.name,
        number=row.number,
        serial=leaf.serial,
        chain=certificate.public_bytes(Encoding.PEM) + authority.pem,
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        roots=roots,
    )


def administrator(storage: SqlStorage, name: str) -> Identity:
    """An operator's certificate."""
    authority = ca.from_secret(storage.secrets().authorities[0])
    key = ec.generate_private_key(ec.SECP256R1())
    subject = Subject(making.DOMAIN, Kind.ADMINISTRATOR, name, Role.OPERATOR)
    leaf = ca.Leaf(subject, secrets.randbits(100), 3600)
    certificate = ca.issue(authority, key.public_key(), leaf, unix())
    return Identity(
        name=name,
        number=1,
        serial=leaf.serial,
        chain=certificate.public_bytes(Encoding.PEM),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        roots=authority.pem,
    )
