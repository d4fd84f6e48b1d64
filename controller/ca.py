# SPDX-License-Identifier: Apache-2.0
"""The certificate authority: its own certificate, and those that it gives. Pure but for the random
numbers in keys and signatures.

Only the public key of a request is read; whatever else it asks for is not granted. Leaves are
backdated a little, for hosts whose clocks go behind. RFC 5280, and the X.509-SVID of SPIFFE: one
URI name, no CA, key usage for signatures alone.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller.access_records import SecretRow
from controller.spiffe import Kind, Subject

AUTHORITY = "authority"
MAX_CSR_BYTES = 8 * 1024
AUTHORITY_SECONDS = 10 * 365 * 86_400
BACKDATED_SECONDS = 300

PublicKey = ec.EllipticCurvePublicKey | Ed25519PublicKey


class CsrRefused(ValueError):
    """The request is not one that a certificate is given for; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A root and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def id(self) -> str:
        return spki_pin(self.certificate).hex()[:16]

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate to be given. names: DNS names and addresses, for controllers alone."""

    subject: Subject
    serial: int
    seconds: int
    names: tuple[str, ...] = ()


def new_authority(trust_domain: str, now: int, serial: int) -> Authority:
    """A root for `trust_domain` with a new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Cordon"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{trust_domain[:40]} {serial:x}"[:60]),
        ]
    )
    domain = x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")
    builder = (
        _dated(name, name, serial, now, AUTHORITY_SECONDS)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectAlternativeName([domain]), critical=False)
        .add_extension(identifier, critical=False)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def issue(authority: Authority, public_key: PublicKey, leaf: Leaf, now: int) -> x509.Certificate:
    """A certificate for `leaf.seconds` from now, or until the authority's own end."""
    issuer = authority.certificate
    until = int(issuer.not_valid_after_utc.timestamp())
    common = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, leaf.subject.name)])
    alternative = [x509.UniformResourceIdentifier(str(leaf.subject)), *_names(leaf.names)]
    roles = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if leaf.subject.kind is Kind.CONTROLLER:
        roles.append(ExtendedKeyUsageOID.SERVER_AUTH)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = (
        _dated(common, issuer.subject, leaf.serial, now, min(leaf.seconds, until - now))
        .public_key(public_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(roles), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        .add_extension(identifier, critical=False)
    )
    return builder.sign(authority.key, hashes.SHA256())


def _dated(
    subject: x509.Name, issuer: x509.Name, serial: int, now: int, seconds: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(serial)
        .not_valid_before(datetime.fromtimestamp(now - BACKDATED_SECONDS, UTC))
        .not_valid_after(datetime.fromtimestamp(now + seconds, UTC))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _names(names: tuple[str, ...]) -> list[x509.GeneralName]:
    return [_general_name(name) for name in names]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def read_csr(der: bytes) -> PublicKey:
    """The public key of a request that is signed with its own. Raises CsrRefused."""
    if not 0 < len(der) <= MAX_CSR_BYTES:
        raise CsrRefused(f"expected a request of 1 to {MAX_CSR_BYTES} bytes, got {len(der)}")
    try:
        request = x509.load_der_x509_csr(der)
        key, good = request.public_key(), request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CsrRefused("expected a PKCS 10 request as DER") from error
    if not isinstance(key, Ed25519PublicKey) and not _is_p256(key):
        raise CsrRefused("expected a key of ECDSA P-256 or Ed25519")
    if not good:
        raise CsrRefused("expected a request that is signed by its own key")
    return key  # type: ignore[return-value] # narrowed above


def _is_p256(key: object) -> bool:
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def key_digest(key: PublicKey) -> bytes:
    """SHA-256 of the key's SubjectPublicKeyInfo."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).digest()


def spki_pin(certificate: x509.Certificate) -> bytes:
    """What tokens carry of the authority: it stays when its certificate is renewed."""
    der = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).digest()


def to_secret(authority: Authority, stage: str, since: int) -> SecretRow:
    """As the store keeps it."""
    private = authority.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    public = authority.certificate.public_bytes(Encoding.DER)
    return SecretRow(AUTHORITY, authority.id, stage, since, public, private)


def from_secret(row: SecretRow) -> Authority:
    key = load_der_private_key(row.private, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey), "to_secret wrote no other"
    return Authority(x509.load_der_x509_certificate(row.public), key)
