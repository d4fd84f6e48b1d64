# SPDX-License-Identifier: Apache-2.0
"""Read a signed snapshot file: bounded, verified, decoded; or refused with one sentence.

The signature alone makes a file trustworthy, so symbolic links are followed: configuration
management swaps files by them. Whether the snapshot may come into force is agent.core.snapshot's
question. Nothing is written here, and no part of the content is ever put in a message: it has keys.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from agent.core.model import Snapshot
from agent.core.snapshot import MAX_SNAPSHOT_BYTES, payload_digest
from agent.edge import snapshot_codec
from agent.edge.snapshot_codec import SnapshotDecodeError

_MAX_KEY_BYTES = 64 * 1024


class SnapshotRefused(ValueError):
    """The text is a sentence that names the file."""


class SnapshotNotFound(SnapshotRefused):
    """There is no file, which at start is no fault."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """content: the file's bytes, for the cache. digest: of the payload, for core.snapshot.check."""

    snapshot: Snapshot
    content: bytes = field(repr=False)
    digest: bytes


def load(path: Path, key: Ed25519PublicKey) -> Loaded:
    """Raises SnapshotRefused."""
    return parse(read(path), key, f"snapshot {path}")


def parse(content: bytes, key: Ed25519PublicKey, what: str) -> Loaded:
    """The same for bytes in hand; `what` names them in the sentence. Raises SnapshotRefused."""
    try:
        payload = snapshot_codec.unseal(content, key)
        return Loaded(snapshot_codec.decode(payload), content, payload_digest(payload))
    except SnapshotDecodeError as error:
        raise SnapshotRefused(f"{what} is refused: {error}") from None


def read(path: Path, limit: int = MAX_SNAPSHOT_BYTES) -> bytes:
    """The content of a regular file that not everybody can write. Raises SnapshotRefused."""
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            _require_plain(path, os.fstat(file.fileno()))
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise SnapshotNotFound(f"{path} does not exist") from None
    except OSError as error:
        raise SnapshotRefused(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > limit:
        raise SnapshotRefused(f"{path} is larger than {limit} bytes")
    return content


def _require_plain(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SnapshotRefused(f"{path} is not a regular file")
    if status.st_mode & stat.S_IWOTH:
        raise SnapshotRefused(f"{path} is writable by everybody; make it mode 0600")


def load_public_key(path: Path) -> Ed25519PublicKey:
    """The policy's signing key, as PEM. Raises SnapshotRefused."""
    try:
        key = load_pem_public_key(read(path, _MAX_KEY_BYTES))
    except SnapshotRefused:
        raise
    except (ValueError, UnsupportedAlgorithm):
        raise SnapshotRefused(f"{path}: expected an Ed25519 public key as PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise SnapshotRefused(f"{path}: expected an Ed25519 public key, got one of another kind")
    return key
