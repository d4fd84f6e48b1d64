# SPDX-License-Identifier: Apache-2.0
"""Whether a decoded snapshot may come into force: for this host, now, and sound in itself.

The signature was checked before (agent.edge.snapshot_file), so a fault found here is the
controller's mistake and not an attacker's; still nothing of it is taken, for half a policy is no
policy. Each check yields whole sentences; the first one is the answer. What depends neither on host
nor time nor what is in force is agent.core.soundness's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.core.model import Snapshot
from agent.core.soundness import content_sentences

SIGNED_CONTEXT = b"cordon snapshot v1\n"
"""Stands before the payload under the signature, so that it can sign nothing else."""
MAX_SNAPSHOT_BYTES = 64 * 1024 * 1024
CLOCK_TOLERANCE_SECONDS = 300
"""How far in the future a snapshot may be issued."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a new snapshot is measured by: the newest one at hand. digest: its `payload_digest`."""

    store_epoch: int
    version: int
    digest: bytes

    @property
    def order(self) -> tuple[int, int]:
        """Newer is larger."""
        return self.store_epoch, self.version


def key_id(public_key: bytes) -> bytes:
    """First 8 bytes of the SHA-256 of the raw Ed25519 public key."""
    return hashlib.sha256(public_key).digest()[:8]


def signed_bytes(payload: bytes) -> bytes:
    """What the signature is over."""
    return SIGNED_CONTEXT + payload


def payload_digest(payload: bytes) -> bytes:
    """By which two snapshots of one revision are told apart."""
    return hashlib.sha256(payload).digest()


def check(
    snapshot: Snapshot,
    *,
    host: str | int,
    now: float,
    digest: bytes | None = None,
    held: Held | None = None,
) -> str | None:
    """The sentence that refuses the snapshot, or None.

    host: this host's name or number. now: unix seconds. digest: `payload_digest` of this one.
    """
    for sentence in _all_sentences(snapshot, host, now, digest, held):
        return sentence
    return None


def _all_sentences(
    snapshot: Snapshot,
    host: str | int,
    now: float,
    digest: bytes | None,
    held: Held | None,
) -> Iterator[str]:
    yield from _host_sentences(snapshot, host)
    yield from _version_sentences(snapshot, digest, held)
    yield from _time_sentences(snapshot, now)
    yield from content_sentences(snapshot)
    yield from _current_epoch_sentences(snapshot, now)


def _host_sentences(snapshot: Snapshot, host: str | int) -> Iterator[str]:
    own = snapshot.host if isinstance(host, int) else snapshot.host_name
    if own != host:
        yield f"it is for host {snapshot.host_name!r} ({snapshot.host}), this is host {host!r}"


def _version_sentences(
    snapshot: Snapshot, digest: bytes | None, held: Held | None
) -> Iterator[str]:
    if held is None:
        return
    own = (snapshot.store_epoch, snapshot.version)
    if snapshot.store_epoch < held.store_epoch:
        yield (
            f"it is of epoch {snapshot.store_epoch} of the controller's store, which is older than "
            f"{held.store_epoch} in force"
        )
    if own < held.order:
        yield f"revision {snapshot.version} is older than {held.version} in force"
    if own == held.order and digest != held.digest:
        yield (
            f"revision {snapshot.version} is in force with other content; "
            "a changed policy needs a higher revision"
        )


def _date(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"unix second {seconds}"


def _time_sentences(snapshot: Snapshot, now: float) -> Iterator[str]:
    if snapshot.expires <= now:
        yield f"it expired at {_date(snapshot.expires)}"
    if snapshot.issued > now + CLOCK_TOLERANCE_SECONDS:
        yield (
            f"it was issued at {_date(snapshot.issued)}, which is in the future here; "
            "compare this host's clock with the controller's"
        )


def _current_epoch_sentences(snapshot: Snapshot, now: float) -> Iterator[str]:
    epoch = int(now) // snapshot.settings.epoch_seconds
    if all(secret.epoch != epoch for secret in snapshot.receive_secrets):
        yield f"it has no receive secret for the current key epoch {epoch}"
