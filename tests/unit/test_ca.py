# SPDX-License-Identifier: Apache-2.0
"""The authority: what it signs, and which requests it refuses."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from controller import ca
from controller.access_records import Role
from controller.spiffe import Kind, NotASubject, Subject, parse

NOW = 1_700_000_000
AUTHORITY = ca.new_authority("example.org", NOW, 1)
HOST = Subject("example.org", Kind.HOST, "web-1")
KEY = ec.generate_private_key(ec.SECP256R1())


def _issue(subject: Subject = HOST, names: tuple[str, ...] = ()) -> x509.Certificate:
    return ca.issue(AUTHORITY, KEY.public_key(), ca.Leaf(subject, 77, 3600, names), NOW)


def _request(key: object, asks_for: str = "web-1") -> bytes:
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, asks_for)]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    hash_ = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, hash_).public_bytes(Encoding.DER)  # type: ignore[arg-type]


def _verifies(certificate: x509.Certificate, root: x509.Certificate, at: int) -> bool:
    moment = datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
    verifier = PolicyBuilder().store(Store([root])).time(moment).build_client_verifier()
    try:
        verifier.verify(certificate, [])
    except VerificationError:
        return False
    return True


def test_a_leaf_is_good_from_a_little_before_until_its_end_and_under_its_root_alone() -> None:
    leaf = _issue()
    assert _verifies(leaf, AUTHORITY.certificate, NOW - ca.BACKDATED_SECONDS + 1)
    assert _verifies(leaf, AUTHORITY.certificate, NOW + 3599)
    assert not _verifies(leaf, AUTHORITY.certificate, NOW + 3601)
    assert not _verifies(leaf, ca.new_authority("example.org", NOW, 1).certificate, NOW)


def test_a_leaf_names_its_subject_and_nothing_that_was_asked_for() -> None:
    key = ca.read_csr(_request(KEY, asks_for="db-1"))
    leaf = ca.issue(AUTHORITY, key, ca.Leaf(HOST, 5, 60), NOW)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["spiffe://example.org/host/web-1"]
    assert leaf.serial_number == 5
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign) == (True, False)
    assert leaf.public_key() == KEY.public_key()


@pytest.mark.parametrize(
    ("kind", "serves"),
    [(Kind.HOST, False), (Kind.CONTROLLER, True)],
)
def test_only_controllers_may_serve(kind: Kind, serves: bool) -> None:
    leaf = _issue(Subject("example.org", kind, "x"))
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.CLIENT_AUTH in usage
    assert (ExtendedKeyUsageOID.SERVER_AUTH in usage) is serves


def test_a_controller_has_its_names_and_addresses() -> None:
    leaf = _issue(Subject("example.org", Kind.CONTROLLER, "c"), ("ctl.example.org", "192.0.2.1"))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["ctl.example.org"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1"]


def test_no_leaf_outlives_its_authority() -> None:
    late = NOW + ca.AUTHORITY_SECONDS - 60
    leaf = ca.issue(AUTHORITY, KEY.public_key(), ca.Leaf(HOST, 1, 3600), late)
    assert leaf.not_valid_after_utc == AUTHORITY.certificate.not_valid_after_utc


def test_an_authority_comes_back_from_the_store() -> None:
    row = ca.to_secret(AUTHORITY, "active", NOW)
    again = ca.from_secret(row)
    assert again.certificate == AUTHORITY.certificate
    assert (again.id, row.kind, len(row.id)) == (AUTHORITY.id, "authority", 16)
    assert repr(row.private) not in repr(row)


def test_the_pin_is_of_the_key() -> None:
    public = AUTHORITY.key.public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert ca.spki_pin(AUTHORITY.certificate) == hashlib.sha256(der).digest()


@pytest.mark.parametrize("key", [KEY, ed25519.Ed25519PrivateKey.generate()])
def test_requests_with_the_two_kinds_of_keys_are_taken(key: object) -> None:
    public = ca.read_csr(_request(key))
    assert len(ca.key_digest(public)) == 32


_FORGED = bytearray(_request(KEY))
_FORGED[-1] ^= 1


@pytest.mark.parametrize(
    ("der", "why"),
    [
        (b"", "expected a request of 1 to 8192 bytes, got 0"),
        (b"0" * 8193, "got 8193"),
        (b"\x30\x03\x02\x01\x01", "PKCS 10"),
        (_request(KEY)[:-5], "PKCS 10"),
        (_request(KEY) + b"x", "PKCS 10"),
        (_request(ec.generate_private_key(ec.SECP384R1())), "P-256 or Ed25519"),
        (_request(rsa.generate_private_key(65537, 2048)), "P-256 or Ed25519"),
        (bytes(_FORGED), "signed by its own key"),
    ],
)
def test_other_requests_are_refused_with_the_reason(der: bytes, why: str) -> None:
    with pytest.raises(ca.CsrRefused, match=why):
        ca.read_csr(der)


@pytest.mark.parametrize(
    "subject",
    [
        HOST,
        Subject("example.org", Kind.CONTROLLER, "ctl-1"),
        *(Subject("example.org", Kind.ADMINISTRATOR, "olga", role) for role in Role),
    ],
)
def test_subjects_read_what_they_write(subject: Subject) -> None:
    assert parse(str(subject)) == subject


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://example.org/host/web-1",
        "spiffe://example.org",
        "spiffe://example.org/",
        "spiffe://example.org/host/",
        "spiffe://example.org/host/*",
        "spiffe://example.org/host/web-1/",
        "spiffe://example.org/host/../admin/operator/olga",
        "spiffe://example.org/host/web-1\n",
        "spiffe://example.org/host/WEB",
        "spiffe:///host/web-1",
        "spiffe://example.org/admin/olga",
        "spiffe://example.org/admin/root/olga",
        "spiffe://example.org/admin/OPERATOR/olga",
        "spiffe://example.org/user/olga",
        "spiffe://example.org/host/" + "a" * 64,
    ],
)
def test_whatever_else_is_no_subject(text: str) -> None:
    with pytest.raises(NotASubject):
        parse(text)
