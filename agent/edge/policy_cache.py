# SPDX-License-Identifier: Apache-2.0
"""From a controller's word to a snapshot: what was just heard, and what the cache kept of it.

The cache is checked as if it came from the stream (signatures, host, audience, digest) but for its
age: after a boot with an expired one enforcement goes on, and the state says so.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

from agent.core import acceptance, content, own_lifeline
from agent.core.acceptance import Refused
from agent.core.events import Event, SnapshotMissing, SnapshotRead, SnapshotRefused, Source
from agent.core.held import KeySet, Stand
from agent.core.keyring import MAX_ENVELOPES, KeyRing
from agent.core.model import IPAddress, Snapshot
from agent.core.snapshot import check
from agent.core.soundness import check_content
from agent.core.stream import AssemblePolicy
from agent.edge import content_codec, snapshot_file, stream_codec
from agent.edge.model_codec import SnapshotDecodeError
from agent.edge.signed import SignatureRefused
from agent.edge.snapshot_file import SnapshotNotFound
from agent.edge.snapshot_file import SnapshotRefused as FileRefused
from agent.pb import policy_pb2 as pb
from agent.pb import signed_pb2

MAX_BYTES = 80 * 1024 * 1024
"""Content and its keys."""
Targets = Callable[[], Sequence[tuple[IPAddress, int]]]
"""Where the controllers are now."""


class PolicySource:
    """targets: empty where the agent is to open no way of its own."""

    def __init__(self, cache: Path, host: int, key_set: KeySet, targets: Targets) -> None:
        self._cache = cache
        self._host = host
        self._key_set = key_set
        self._targets = targets
        self._numbers = itertools.count(1)

    def read_cache(self) -> Event:
        started = time.monotonic()
        try:
            stand = decode(snapshot_file.read(self._cache, MAX_BYTES), self._key_set, self._host)
            snapshot = snapshot_of(stand)
        except SnapshotNotFound:
            return SnapshotMissing(Source.CACHE, str(self._cache))
        except (FileRefused, SnapshotDecodeError, SignatureRefused, Refused, DecodeError) as error:
            return SnapshotRefused(Source.CACHE, f"{self._cache}: {error}")
        sentence = check_content(snapshot)
        if sentence is not None:
            return SnapshotRefused(Source.CACHE, f"{self._cache}: {sentence}")
        return self._good(Source.CACHE, stand, snapshot, started)

    def assemble(self, command: AssemblePolicy) -> Event:
        started = time.monotonic()
        try:
            snapshot = snapshot_of(command.stand)
        except SnapshotDecodeError as error:
            return SnapshotRefused(Source.CONTROLLER, str(error))
        sentence = check_content(snapshot)
        if command.fresh:
            sentence = check(snapshot, host=self._host, now=command.now)
        if sentence is not None:
            return SnapshotRefused(Source.CONTROLLER, sentence)
        if command.opened:
            snapshot = own_lifeline.opened(snapshot)
        return self._good(Source.CONTROLLER, command.stand, snapshot, started)

    def _good(self, source: Source, stand: Stand, snapshot: Snapshot, started: float) -> Event:
        """Two of these are never the same: keys may differ, or it is returned to."""
        snapshot = own_lifeline.add(snapshot, self._targets())
        number = next(self._numbers).to_bytes(8, "big")
        digest = hashlib.sha256(stand.release.payload + number).digest()
        seconds = time.monotonic() - started
        return SnapshotRead(source, snapshot, b"", digest, seconds, stand)


def snapshot_of(stand: Stand) -> Snapshot:
    """Raises SnapshotDecodeError."""
    record = pb.HostRecord.FromString(stand.record.payload)
    release = pb.Release.FromString(stand.release.payload)
    return content_codec.snapshot(stand.entries, record, stand.ring, release)


def encode(stand: Stand, key_set: KeySet) -> bytes:
    """A serialised PolicyCache."""
    cache = pb.PolicyCache(
        host_record=signed_pb2.Signed.FromString(stand.record.envelope),
        release=signed_pb2.Signed.FromString(stand.release.envelope),
        keys=map(signed_pb2.Signed.FromString, stand.ring.envelopes[-MAX_ENVELOPES:]),
    )
    if key_set.envelope:
        cache.policy_keys.ParseFromString(key_set.envelope)
    own = content_codec.serialised(cache)
    whole = content_codec.encode_content(stand.entries)
    return own + content_codec.field(pb.PolicyCache.CONTENT_FIELD_NUMBER, whole)


def decode(data: bytes, key_set: KeySet, host: int) -> Stand:
    """Raises SnapshotDecodeError, SignatureRefused, Refused, DecodeError."""
    cache = pb.PolicyCache.FromString(data)
    if len(cache.keys) > MAX_ENVELOPES:
        raise SnapshotDecodeError(f"{len(cache.keys)} sets of keys are more than {MAX_ENVELOPES}")
    keys = _trusted(cache, key_set)
    record = acceptance.record(stream_codec.record_of(cache.host_record, keys), host, None)
    release = stream_codec.release_of(cache.release, keys)
    acceptance.release(release, record, None, now=release.issued)
    entries = content_codec.decode_content(cache.content)
    if content.digest(entries) != release.digest:
        raise SnapshotDecodeError("the content has not the digest that was signed")
    ring = KeyRing()
    for envelope in cache.keys:
        ring = acceptance.keys(stream_codec.keys_of(envelope, keys), host, ring)
    return Stand(record, release, entries, ring)


def _trusted(cache: pb.PolicyCache, key_set: KeySet) -> tuple[bytes, ...]:
    """The keys on this host, and those of the cache's own set where these vouch for it."""
    if not cache.HasField("policy_keys"):
        return key_set.keys
    try:
        found = stream_codec.key_set_of(cache.policy_keys, key_set.keys)
    except SignatureRefused:
        return key_set.keys
    return (*key_set.keys, *found.keys)
