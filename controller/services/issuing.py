# SPDX-License-Identifier: Apache-2.0
"""Issues certificates by the authority that is active in the store, and remembers each there first.

Every controller has the same authorities, read again now and then: `rotation.LAG_SECONDS` is how
long one of them may go on with an old active one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from agent.edge import clock
from agent.pb import enrolment_pb2 as pb
from agent.pb import signed_pb2
from controller import ca
from controller.access_records import CertificateRow, Secrets
from controller.ca import Authority, Leaf, PublicKey
from controller.rotation import ACTIVE
from controller.spiffe import Subject
from controller.storage import Storage

JITTER = 0.1
"""Part of a certificate's life over which renewals are spread."""


@dataclass(frozen=True, slots=True)
class Grant:
    """For whom a certificate is. host: the number, 0 for others. names: of controllers."""

    subject: Subject
    seconds: int
    host: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Issued:
    """A leaf, the roots to be believed, and when to ask again."""

    certificate: x509.Certificate
    authority: Authority
    roots: bytes
    renew_after: int

    @property
    def expires(self) -> int:
        return int(self.certificate.not_valid_after_utc.timestamp())

    @property
    def leaf(self) -> bytes:
        """PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    def message(self) -> pb.Credentials:
        return pb.Credentials(
            certificate_chain=self.leaf,
            roots=self.roots,
            expires=self.expires,
            renew_after=self.renew_after,
        )


class Issuer:
    """Call `refresh` before anything else."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._trust_domain = ""
        self._authorities: Sequence[Authority] = ()
        self._active: Authority
        self._secrets: Secrets

    @property
    def trust_domain(self) -> str:
        return self._trust_domain

    @property
    def roots(self) -> bytes:
        """PEM: all authorities that may vouch for somebody."""
        return b"".join(authority.pem for authority in self._authorities)

    @property
    def active(self) -> Authority:
        return self._active

    @property
    def pin(self) -> bytes:
        """What tokens carry."""
        return ca.spki_pin(self._active.certificate)

    @property
    def policy_keys(self) -> signed_pb2.Signed:
        return signed_pb2.Signed.FromString(self._secrets.key_set)

    async def refresh(self) -> bool:
        """Read the secrets again; whether authorities have changed. Raises StorageError."""
        before = self.roots, getattr(self, "_active", None)
        self._trust_domain = self._trust_domain or await asyncio.to_thread(
            self._storage.trust_domain
        )
        self._secrets = await asyncio.to_thread(self._storage.secrets)
        rows = self._secrets.authorities
        self._authorities = [ca.from_secret(row) for row in rows]
        active = next(i for i, row in enumerate(rows) if row.stage == ACTIVE)
        if before[1] is None or before[1].id != self._authorities[active].id:
            self._active = self._authorities[active]
            return True
        return before[0] != self.roots

    async def issue(self, key: PublicKey, grant: Grant) -> Issued:
        """Raises Refused for somebody who is revoked by now, Unavailable."""
        now = int(clock.unix_seconds())
        authority, roots = self._active, self.roots
        leaf = Leaf(grant.subject, x509.random_serial_number(), grant.seconds, grant.names)
        certificate = ca.issue(authority, key, leaf, now)
        expires = int(certificate.not_valid_after_utc.timestamp())
        row = CertificateRow(leaf.serial, str(grant.subject), grant.host, expires)
        await asyncio.to_thread(self._storage.note_certificate, row, now)
        return Issued(certificate, authority, roots, _renew_after(now, expires))


def _renew_after(now: int, expires: int) -> int:
    """Half of its life, and a tenth of it as jitter."""
    life = expires - now
    return now + life // 2 + secrets.randbelow(max(1, int(life * JITTER)))
