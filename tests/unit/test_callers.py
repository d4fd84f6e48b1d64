# SPDX-License-Identifier: Apache-2.0
"""Who calls: as the connection says, and nobody else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from controller import ca
from controller.access_records import Revoked, Role
from controller.services.callers import (
    Context,
    Unidentified,
    caller,
    is_revoked,
    peer_address,
)
from controller.spiffe import Kind, Subject

NOW = 1_700_000_000
AUTHORITY = ca.new_authority("example.org", NOW, 1)


@dataclass
class _Connection:
    """As much of grpc's context as tells who is there."""

    shown: dict[str, list[bytes]] = field(default_factory=dict)
    at: str = "ipv4:192.0.2.7:4711"

    def auth_context(self) -> dict[str, list[bytes]]:
        return self.shown

    def peer(self) -> str:
        return self.at


def _context(subject: Subject | None = None, at: str = "ipv4:192.0.2.7:4711") -> Context:
    shown = {}
    if subject:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        leaf = ca.issue(AUTHORITY, key, ca.Leaf(subject, 77, 3600), NOW)
        shown = {"x509_pem_cert": [leaf.public_bytes(Encoding.PEM)]}
    return cast("Context", _Connection(shown, at))


OLGA = Subject("example.org", Kind.ADMINISTRATOR, "olga", Role.EDITOR)
WEB = Subject("example.org", Kind.HOST, "web-1")


def test_a_caller_is_whom_the_certificate_names() -> None:
    who = caller(_context(OLGA))
    assert (who.kind, who.name, who.role) == (Kind.ADMINISTRATOR, "olga", Role.EDITOR)
    assert (who.serial, who.expires) == (77, NOW + 3600)
    assert (who.actor.who, who.actor.address) == (str(OLGA), "192.0.2.7")
    assert caller(_context(WEB)).role is None


def test_without_a_certificate_there_is_no_caller() -> None:
    with pytest.raises(Unidentified, match="shows none"):
        caller(_context())


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.7:4711", "192.0.2.7"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::1"),
        ("ipv6:[::1]:4711", "::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:4711", "fe80::1"),
        ("unix:/run/x", ""),
        ("", ""),
        ("ipv4:nonsense:1", ""),
    ],
)
def test_the_address_is_without_port_and_zone(peer: str, address: str) -> None:
    assert peer_address(_context(at=peer)) == address


def test_revocation_is_by_certificate_and_for_administrators_by_name() -> None:
    olga, web = caller(_context(OLGA)), caller(_context(WEB))
    nobody: frozenset[int] = frozenset()
    assert not is_revoked(olga, Revoked(nobody, nobody, frozenset()))
    assert is_revoked(web, Revoked(nobody, frozenset({77}), frozenset()))
    names = Revoked(nobody, nobody, frozenset({"olga", "web-1"}))
    assert is_revoked(olga, names)
    assert not is_revoked(web, names), "a host is not an administrator of its name"
