# SPDX-License-Identifier: Apache-2.0
"""The host's identity on disk: key, certificate, roots, policy keys and what the controller said.

Each file is whole or not there, mode 0600 in a folder of mode 0700. Key and certificate are two
files, so a new key waits as `host.key.next` until its certificate is in place: whichever of the two
fits the certificate is the key, and a host that loses its power in between has lost nothing. The
same file makes a join that is repeated show the same key, so that an answer lost on the way costs
no token.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from google.protobuf.message import DecodeError

from agent.core.held import KeySet
from agent.core.model import STRANGER
from agent.edge import failpoint, snapshot_file
from agent.edge.cache_file import write_atomically
from agent.edge.model_codec import SnapshotDecodeError
from agent.edge.snapshot_file import SnapshotNotFound, SnapshotRefused
from agent.edge.stream_codec import key_set_of
from agent.pb import enrolment_pb2, signed_pb2

MAX_BYTES = 256 * 1024
KEY, NEXT_KEY, CERTIFICATE = "host.key", "host.key.next", "host.crt"
ROOTS, POLICY_KEYS, ABOUT = "roots.crt", "policy.keys", "host.json"


class IdentityError(ValueError):
    """There is no identity, or it cannot be used; the sentence says which file and what to do."""


@dataclass(frozen=True, slots=True)
class Identity:
    """key, chain, roots: PEM. expires, renew_after: unix seconds."""

    host: int
    host_name: str
    trust_domain: str
    controllers: tuple[str, ...]
    key_set: KeySet
    chain: bytes
    roots: bytes
    expires: int
    renew_after: int
    key: bytes = field(repr=False)


def exists(folder: Path) -> bool:
    """Whether the host has joined."""
    return (folder / ABOUT).exists()


def load(folder: Path) -> Identity:
    """Raises IdentityError."""
    try:
        about = json.loads(_read(folder / ABOUT))
        chain = _read(folder / CERTIFICATE)
        return Identity(
            host=_number(about["host"]),
            host_name=str(about["host_name"]),
            trust_domain=str(about["trust_domain"]),
            controllers=_controllers(about["controllers"]),
            key_set=_key_set(_read(folder / POLICY_KEYS)),
            chain=chain,
            roots=_read(folder / ROOTS),
            expires=int(about["expires"]),
            renew_after=int(about["renew_after"]),
            key=_fitting_key(folder, chain),
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, IdentityError):
            raise
        raise IdentityError(f"{folder}: the host's identity cannot be read: {error!r}") from None


def _number(value: object) -> int:
    if isinstance(value, int) and 1 <= value < STRANGER:
        return value
    raise ValueError(f"host number {value!r}")


def _controllers(value: object) -> tuple[str, ...]:
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ValueError("no controllers")


def _read(path: Path) -> bytes:
    try:
        return snapshot_file.read(path, MAX_BYTES)
    except SnapshotNotFound:
        raise IdentityError(
            f"{path} does not exist: this host has not joined; run `cordon-agent join`"
        ) from None
    except SnapshotRefused as error:
        raise IdentityError(str(error)) from None


def _key_set(content: bytes) -> KeySet:
    try:
        return key_set_of(signed_pb2.Signed.FromString(content), None)
    except (DecodeError, SnapshotDecodeError) as error:
        raise ValueError(f"{POLICY_KEYS}: {error}") from None


def _fitting_key(folder: Path, chain: bytes) -> bytes:
    wanted = _public(x509.load_pem_x509_certificate(chain).public_key())
    for name in (KEY, NEXT_KEY):
        try:
            content = snapshot_file.read(folder / name, MAX_BYTES)
        except SnapshotRefused:
            continue
        if _public(load_pem_private_key(content, None).public_key()) == wanted:
            return content
    raise IdentityError(
        f"{folder / KEY}: no key fits the certificate {CERTIFICATE}; join anew with a token that "
        "replaces this host"
    )


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]


def next_key(folder: Path, *, fresh: bool) -> bytes:
    """A key that waits for its certificate, PEM. fresh: a new one even if one waits already.

    Raises OSError.
    """
    path = folder / NEXT_KEY
    if not fresh:
        try:
            return snapshot_file.read(path, MAX_BYTES)
        except SnapshotRefused:
            pass
    content = new_key()
    write_atomically(path, content)
    return content


def new_key() -> bytes:
    """PEM, nowhere written yet."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def csr_of(key: bytes) -> bytes:
    """DER. Only the public key is read of it."""
    private = load_pem_private_key(key, None)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.DER)  # type: ignore[arg-type]


def save_joined(folder: Path, answer: enrolment_pb2.EnrolResponse) -> Identity:
    """host.json comes last: until it is there, the host has not joined.

    Raises OSError, IdentityError.
    """
    write_atomically(folder / POLICY_KEYS, answer.policy_keys.SerializeToString())
    _save_credentials(folder, answer.credentials)
    about = {
        "host_name": answer.host_name,
        "host": answer.host,
        "trust_domain": answer.trust_domain,
        "controllers": list(answer.controllers),
        "expires": answer.credentials.expires,
        "renew_after": answer.credentials.renew_after,
    }
    _save_about(folder, about)
    _clean(folder)
    return load(folder)


def save_renewed(folder: Path, held: Identity, answer: enrolment_pb2.RenewResponse) -> Identity:
    """Raises OSError, IdentityError."""
    _save_credentials(folder, answer.credentials)
    renewed = replace(
        held, expires=answer.credentials.expires, renew_after=answer.credentials.renew_after
    )
    save_controllers(folder, renewed, tuple(answer.controllers) or held.controllers)
    _clean(folder)
    return load(folder)


def save_controllers(folder: Path, held: Identity, controllers: tuple[str, ...]) -> None:
    """Raises OSError."""
    about = {
        "host_name": held.host_name,
        "host": held.host,
        "trust_domain": held.trust_domain,
        "controllers": list(controllers),
        "expires": held.expires,
        "renew_after": held.renew_after,
    }
    _save_about(folder, about)


def save_key_set(folder: Path, key_set: KeySet) -> None:
    """Raises OSError."""
    write_atomically(folder / POLICY_KEYS, key_set.envelope)


def _save_about(folder: Path, about: dict[str, object]) -> None:
    write_atomically(folder / ABOUT, (json.dumps(about, indent=1) + "\n").encode())


def _save_credentials(folder: Path, credentials: enrolment_pb2.Credentials) -> None:
    """The certificate decides which key counts, so it comes before the key takes its place."""
    write_atomically(folder / ROOTS, credentials.roots)
    write_atomically(folder / CERTIFICATE, credentials.certificate_chain)
    failpoint.reached("identity.after-certificate")
    write_atomically(folder / KEY, _fitting_key(folder, credentials.certificate_chain))
    failpoint.reached("identity.after-key")


def _clean(folder: Path) -> None:
    """Last of all: a join that is interrupted before may be repeated only with the same key."""
    failpoint.reached("identity.before-cleaning")
    (folder / NEXT_KEY).unlink(missing_ok=True)
