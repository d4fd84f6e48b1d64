# SPDX-License-Identifier: Apache-2.0
"""What the store keeps about who gets in: tokens, certificates, secrets, administrators.

As controller.records, of which this is the other half; times are unix seconds. What is secret is
left out of every `repr`, so that no log line can have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from agent.core.model import IPAddress, IPNetwork
from controller.records import Labels


class Role(IntEnum):
    """Each may what the one before may. Numbers are the contract's."""

    VIEWER = 1
    EDITOR = 2
    OPERATOR = 3


class TokenState(Enum):
    ACTIVE = "active"
    SPENT = "spent"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class HostGrant:
    """What a join token gives. addresses: empty for those that the host reports."""

    name: str
    labels: Labels
    networks: tuple[IPNetwork, ...] = ()
    addresses: tuple[IPAddress, ...] = ()
    replace: bool = False


@dataclass(frozen=True, slots=True)
class AdministratorGrant:
    """What a login token gives."""

    name: str
    role: Role
    certificate_seconds: int


@dataclass(frozen=True, slots=True)
class NewToken:
    """id and secret_hash (SHA-256 of the secret) as controller.tokens made them."""

    id: str
    secret_hash: bytes = field(repr=False)
    grant: HostGrant | AdministratorGrant
    expires: int


@dataclass(frozen=True, slots=True)
class TokenRow:
    """key_digest: SHA-256 of the public key that spent it, which may come again; empty before."""

    id: str
    secret_hash: bytes = field(repr=False)
    grant: HostGrant | AdministratorGrant
    state: TokenState
    created: int
    created_by: str
    expires: int
    used: int
    used_from: str
    key_digest: bytes


@dataclass(frozen=True, slots=True)
class Joining:
    """A host whose token was found good. facts: a serialised cordon.v1.HostFacts."""

    key_digest: bytes
    addresses: tuple[IPAddress, ...]
    facts: bytes
    at: int


@dataclass(frozen=True, slots=True)
class SecretRow:
    """An authority's key and certificate, a signing key: opened. stage: "next", "active", "retired"
    (still believed, no longer used)."""

    kind: str
    id: str
    stage: str
    since: int
    public: bytes
    private: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Secrets:
    """root: of the tag keys. key_set: the newest signed PolicyKeySet."""

    authorities: Sequence[SecretRow]
    signing_keys: Sequence[SecretRow]
    root: bytes = field(repr=False)
    key_set: bytes


@dataclass(frozen=True, slots=True)
class Revoked:
    """What no caller may show any more. hosts: numbers. serials: of certificates not ended yet."""

    hosts: frozenset[int]
    serials: frozenset[int]
    administrators: frozenset[str]


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """subject: SPIFFE ID. host: the number, 0 for others."""

    serial: int
    subject: str
    host: int
    expires: int


@dataclass(frozen=True, slots=True)
class AdministratorRow:
    name: str
    role: Role
    expires: int
    revoked: bool
    seen: int
