# SPDX-License-Identifier: Apache-2.0
"""The signed envelope: made and opened, and nothing known of what is in it.

A signature is over a context and the payload, so that one over a release can never pass for one
over keys. The payload is verified before anybody parses it.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.core.snapshot import key_id
from agent.pb import signed_pb2 as pb

RELEASE = b"cordon release v1\n"
HOST_RECORD = b"cordon host record v1\n"
HOST_KEYS = b"cordon keys v1\n"
KEY_SET = b"cordon key set v1\n"
MAX_PAYLOAD_BYTES = 8 * 1024 * 1024


class SignatureRefused(ValueError):
    """The envelope is not to be believed; the sentence says why and never what is in it."""


def seal(payload: bytes, context: bytes, key: Ed25519PrivateKey) -> pb.Signed:
    """Ed25519 is deterministic: the same payload and key make the same envelope everywhere."""
    assert len(payload) <= MAX_PAYLOAD_BYTES, "larger than any agent takes"
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return pb.Signed(payload=payload, signature=key.sign(context + payload), key_id=key_id(public))


def open_signed(signed: pb.Signed, context: bytes, keys: Iterable[bytes]) -> bytes:
    """The payload, signed by one of `keys` (raw Ed25519 public keys). Raises SignatureRefused."""
    if not signed.payload or not signed.signature:
        raise SignatureRefused("payload or signature is missing")
    if len(signed.payload) > MAX_PAYLOAD_BYTES:
        raise SignatureRefused(f"the payload is larger than {MAX_PAYLOAD_BYTES} bytes")
    trusted = {key_id(key): key for key in keys}
    raw = trusted.get(signed.key_id)
    if raw is None:
        known = ", ".join(sorted(one.hex() for one in trusted)) or "none"
        raise SignatureRefused(
            f"it is signed with key {signed.key_id[:16].hex() or 'unknown'}, "
            f"this host trusts {known}"
        )
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signed.signature, context + signed.payload)
    except InvalidSignature:
        raise SignatureRefused("its signature does not fit its content") from None
    except ValueError:
        raise SignatureRefused(f"the trusted key {signed.key_id.hex()} is no Ed25519 key") from None
    return signed.payload
