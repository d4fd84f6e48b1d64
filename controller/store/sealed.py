# SPDX-License-Identifier: Apache-2.0
"""Secrets as they lie in the database: AES-256-GCM under the master key, which is not in there.

Kind and id are bound as associated data: a sealed secret that is moved to another row opens there
no more. Layout: version (1 byte), nonce (12), ciphertext with its tag (16).
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MASTER_KEY_BYTES = 32
_VERSION = b"\x01"
_NONCE_BYTES = 12
_CONTEXT = b"cordon sealed v1"


class SealBroken(Exception):
    """Another master key, another row, or changed."""


def seal(master: bytes, kind: str, id_: str, plain: bytes) -> bytes:
    """The nonce is random: a key seals a few secrets in its life, far from 2^32."""
    nonce = os.urandom(_NONCE_BYTES)
    return _VERSION + nonce + AESGCM(master).encrypt(nonce, plain, _associated(kind, id_))


def unseal(master: bytes, kind: str, id_: str, sealed: bytes) -> bytes:
    """Raises SealBroken."""
    nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    if sealed[:1] != _VERSION or len(nonce) != _NONCE_BYTES:
        raise SealBroken(f"secret {kind} {id_}: is not in a format of this version")
    try:
        return AESGCM(master).decrypt(nonce, ciphertext, _associated(kind, id_))
    except InvalidTag:
        raise SealBroken(
            f"secret {kind} {id_}: the master key does not open it; every controller of a store "
            "needs the same one"
        ) from None


def _associated(kind: str, id_: str) -> bytes:
    return b"\0".join((_CONTEXT, kind.encode(), id_.encode()))
