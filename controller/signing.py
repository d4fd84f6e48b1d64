# SPDX-License-Identifier: Apache-2.0
"""The policy's signing key: Ed25519, made once, as PEM text. Pure but for the random numbers.

What is signed, and how a signature is checked, is the snapshot codec's.
"""

from __future__ import annotations

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
