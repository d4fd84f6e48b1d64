# SPDX-License-Identifier: Apache-2.0
"""The controller's own certificate on its two ports, renewed without a restart.

The key is made at every start and every renewal and lives in memory only. grpc asks the fetcher at
each handshake; open connections go on with what they began with. The chain that is shown has the
root in it: that is what a joining host looks for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controller.services.issuing import Grant, Issued, Issuer
from controller.spiffe import Kind, Subject


@dataclass(frozen=True, slots=True)
class Shown:
    """What the ports show, and whom the main port believes; one generation of it."""

    generation: int
    chain: bytes
    key: bytes
    roots: bytes
    issued: Issued


class OwnCertificate:
    """The newest one. Made once, given to both ports."""

    def __init__(self, issuer: Issuer, name: str, names: tuple[str, ...], seconds: int) -> None:
        self._issuer = issuer
        self._name = name
        self._names = names
        self._seconds = seconds
        self._shown: Shown | None = None

    @property
    def shown(self) -> Shown:
        assert self._shown is not None, "renewed before any port is opened"
        return self._shown

    def due(self, now: float) -> bool:
        return self._shown is None or now >= self._shown.issued.renew_after

    async def renew(self) -> Shown:
        """With a new key. Raises StorageError."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = Subject(self._issuer.trust_domain, Kind.CONTROLLER, self._name)
        grant = Grant(subject, self._seconds, names=self._names)
        issued = await self._issuer.issue(key.public_key(), grant)
        self._shown = Shown(
            generation=self._shown.generation + 1 if self._shown else 1,
            chain=issued.leaf + issued.authority.pem,
            key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            roots=issued.roots,
            issued=issued,
        )
        return self._shown


def main_credentials(own: OwnCertificate) -> grpc.ServerCredentials:
    """Mutual TLS: no connection without a certificate of one of our authorities."""
    return _credentials(own, demands_certificate=True)


def enrolment_credentials(own: OwnCertificate) -> grpc.ServerCredentials:
    """For those who have no certificate yet."""
    return _credentials(own, demands_certificate=False)


def _credentials(own: OwnCertificate, *, demands_certificate: bool) -> grpc.ServerCredentials:
    served = own.shown.generation

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """None: as before. Called by grpc in threads of its own."""
        nonlocal served
        shown = own.shown
        if shown.generation == served:
            return None
        served = shown.generation
        return _configuration(shown, demands_certificate=demands_certificate)

    first = _configuration(own.shown, demands_certificate=demands_certificate)
    fetcher = cast("Callable[[], grpc.ServerCertificateConfiguration]", fetch)
    return grpc.dynamic_ssl_server_credentials(
        first, fetcher, require_client_authentication=demands_certificate
    )


def _configuration(
    shown: Shown, *, demands_certificate: bool
) -> grpc.ServerCertificateConfiguration:
    roots = shown.roots if demands_certificate else None
    return grpc.ssl_server_certificate_configuration([(shown.key, shown.chain)], roots)
