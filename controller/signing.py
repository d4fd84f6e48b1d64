# SPDX-License-Identifier: Apache-2.0
"""The policy's signing keys: Ed25519, as PEM text, and the signed set of those that count.

Pure but for the random numbers. What else is signed, and how a signature is checked, is the
codecs'.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from agent.core.snapshot import key_id
from agent.edge import signed
from agent.pb import signed_pb2 as pb
from controller.access_records import SecretRow

SIGNING_KEY = "signing-key"


class SigningKeyError(Exception):
    """The text is no signing key; the sentence says what was expected."""


def new_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """PKCS 8, unencrypted: the file's mode protects it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: Ed25519PrivateKey) -> bytes:
    """SubjectPublicKeyInfo: what agents are given as `policy_key`."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def load_private(pem: bytes) -> Ed25519PrivateKey:
    """Raises SigningKeyError; the text is never part of the message."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningKeyError("expected an unencrypted Ed25519 private key as PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError("expected an Ed25519 private key, got one of another kind")
    return key


def load_public(pem: bytes) -> Ed25519PublicKey:
    """Raises SigningKeyError."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningKeyError("expected an Ed25519 public key as PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SigningKeyError("expected an Ed25519 public key, got one of another kind")
    return key


def to_secret(key: Ed25519PrivateKey, stage: str, since: int) -> SecretRow:
    """As the store keeps it: the private key as PEM, the public one raw."""
    raw = raw_public(key)
    return SecretRow(SIGNING_KEY, key_id(raw).hex(), stage, since, raw, private_pem(key))


def raw_public(key: Ed25519PrivateKey) -> bytes:
    """32 bytes."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_set(serial: int, keys: Sequence[bytes], signer: Ed25519PrivateKey) -> bytes:
    """A serialised Signed PolicyKeySet of raw public keys."""
    payload = pb.PolicyKeySet(serial=serial, keys=keys).SerializeToString(deterministic=True)
    return signed.seal(payload, signed.KEY_SET, signer).SerializeToString(deterministic=True)


def next_key_set(old: bytes, keys: Sequence[bytes], signer: Ed25519PrivateKey) -> bytes:
    """The set that takes the place of `old`, a serialised Signed of ours."""
    before = pb.PolicyKeySet.FromString(pb.Signed.FromString(old).payload)
    return key_set(before.serial + 1, keys, signer)
