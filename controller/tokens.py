# SPDX-License-Identifier: Apache-2.0
"""Join and login tokens: their text, and whether one is good. Pure.

`cordon1.ID.SECRET.PIN`: ID is 10 bytes in lower-case base32, SECRET and PIN are 32 bytes each in
base64url without padding. PIN is for the one who joins; who checks a token does without it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field

from controller.access_records import TokenRow, TokenState

RANDOM_BYTES = 42
"""What `new_token` takes: 10 for the ID, 32 for the secret."""
MAX_BYTES = 256
_ID_BYTES = 10
_ID = re.compile(r"[a-z2-7]{16}", re.ASCII)
_TEXT = re.compile(
    r"cordon1\.([a-z2-7]{16})\.([A-Za-z0-9_-]{43})(?:\.([A-Za-z0-9_-]{43}))?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class TokenParts:
    """pin: empty if it was left out."""

    id: str
    secret: bytes = field(repr=False)
    pin: bytes


def new_token(random: bytes, pin: bytes) -> tuple[str, str, bytes]:
    """The text, the ID, and what is stored of the secret."""
    assert len(random) == RANDOM_BYTES, "an ID and a secret"
    id_ = base64.b32encode(random[:_ID_BYTES]).decode().lower()
    secret = random[_ID_BYTES:]
    text = f"cordon1.{id_}.{_base64(secret)}.{_base64(pin)}"
    return text, id_, secret_hash(secret)


def parse(text: str) -> TokenParts | None:
    """None for what is no token; which part is wrong is nobody's business."""
    match = _TEXT.fullmatch(text) if len(text) <= MAX_BYTES else None
    if match is None:
        return None
    id_, secret, pin = match.groups()
    parts = TokenParts(id_, _bytes(secret), _bytes(pin) if pin else b"")
    written = (_base64(parts.secret), _base64(parts.pin))
    return parts if written == (secret, pin or "") else None  # one text for one token


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def secret_hash(secret: bytes) -> bytes:
    """A plain hash is enough: nobody guesses 32 random bytes."""
    return hashlib.sha256(secret).digest()


def matches(parts: TokenParts, row: TokenRow | None, now: int) -> bool:
    """Whether the secret is the row's and the token may be used, or used again by the same key,
    which the store decides. An unknown ID costs the same time."""
    stored = row.secret_hash if row else bytes(32)
    same = hmac.compare_digest(secret_hash(parts.secret), stored)
    usable = row is not None and row.state in (TokenState.ACTIVE, TokenState.SPENT)
    return same and usable and row is not None and row.expires > now


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=")
