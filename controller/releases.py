# SPDX-License-Identifier: Apache-2.0
"""Releases: contents signed per audience, and the bytes by which agents get from one to the next.

Everything here is made once and shared by all streams that need it: a content by the audiences of
one class, a delta by all who hold the same base. Ed25519 and the inputs are the same on every
controller, and so are the bytes. Not pure in the strictest sense, for it signs; it knows no time
and no network.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.core.content import Entries, difference
from agent.edge import content_codec, signed
from agent.edge.content_codec import Difference, serialised
from agent.pb import policy_pb2 as pb
from controller.fleet.assemble import Content
from controller.memo import Memo
from controller.records import FleetSettings, Head

HISTORY = 64
"""Contents of each audience that deltas may start from."""
MEMO_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Release:
    """order: newer is larger. signed: a serialised Signed. until: as in Content."""

    audience: bytes
    head: Head
    issued: int
    expires: int
    digest: bytes
    peers: frozenset[int]
    until: int | None
    renew_at: int
    signed: bytes = field(repr=False)

    @property
    def order(self) -> tuple[int, int, int]:
        return self.head.store_epoch, self.head.version, self.issued


def stamp(moment: int, validity_seconds: int, now: int) -> int:
    """What a release says under `issued`: the moment of the change, or the newest of the renewals
    that followed it, at each half of the validity. The same on every controller."""
    half = validity_seconds // 2
    return moment + max(0, now - moment) // half * half


def make_release(
    audience: bytes, content: Content | Release, head: Head, issued: int, sealing: Sealing
) -> Release:
    """Over a content as of `head`, or over that of an older release. issued: see `stamp`."""
    expires = issued + sealing.validity_seconds
    if content.until is not None:
        expires = min(expires, content.until)
    message = pb.Release(
        store_epoch=head.store_epoch,
        version=head.version,
        issued=issued,
        expires=max(expires, issued + 1),
        audience=audience,
        content_digest=content.digest,
        revision=head.revision,
    )
    envelope = signed.seal(serialised(message), signed.RELEASE, sealing.key)
    return Release(
        audience=audience,
        head=head,
        issued=issued,
        expires=message.expires,
        digest=content.digest,
        peers=content.peers,
        until=content.until,
        renew_at=issued + sealing.validity_seconds // 2,
        signed=serialised(envelope),
    )


@dataclass(frozen=True, slots=True)
class Sealing:
    """What releases are made with."""

    key: Ed25519PrivateKey = field(repr=False)
    validity_seconds: int


@dataclass(frozen=True, slots=True)
class Known:
    """A content that some agent may hold. epoch_seconds: which its keys are counted in."""

    version: int
    entries: Entries = field(repr=False)
    peers: frozenset[int]
    epoch_seconds: int


class Releases:
    """The newest release of each audience, and the contents of those before."""

    def __init__(self) -> None:
        self._current: dict[bytes, Release] = {}
        self._histories: dict[bytes, deque[bytes]] = {}
        self._known: dict[bytes, Known] = {}
        self._uses: dict[bytes, int] = {}
        self._memo = Memo(MEMO_BYTES)

    @property
    def current(self) -> Mapping[bytes, Release]:
        return self._current

    def get(self, audience: bytes) -> Release | None:
        return self._current.get(audience)

    def known(self, digest: bytes) -> Known | None:
        """None: never made here, or too long ago."""
        return self._known.get(digest)

    def put(self, release: Release, content: Content, settings: FleetSettings) -> None:
        """The newest of its audience; over the same content, the newer of the two stays."""
        before = self._current.get(release.audience)
        if before is not None and before.digest == release.digest:
            if before.order <= release.order:
                self._current[release.audience] = release
            return
        assert before is None or before.order < release.order, "releases never go back"
        self._current[release.audience] = release
        version = release.head.version
        known = Known(version, content.entries, content.peers, settings.epoch_seconds)
        self._remember(release.audience, release.digest, known)

    def renew(self, release: Release) -> None:
        """Another one over the content that is there, unless it was replaced meanwhile."""
        before = self._current.get(release.audience)
        if before is not None and before.digest == release.digest and before.order < release.order:
            self._current[release.audience] = release

    def _remember(self, audience: bytes, digest: bytes, known: Known) -> None:
        history = self._histories.setdefault(audience, deque())
        history.append(digest)
        self._known.setdefault(digest, known)
        self._uses[digest] = self._uses.get(digest, 0) + 1
        if len(history) > HISTORY:
            self._release_use(history.popleft())

    def _release_use(self, digest: bytes) -> None:
        self._uses[digest] -= 1
        if not self._uses[digest]:
            del self._uses[digest], self._known[digest]
            self._memo.forget(digest)

    def drop(self, audience: bytes) -> None:
        """No host has it any more."""
        if self._current.pop(audience, None) is not None:
            for digest in self._histories.pop(audience):
                self._release_use(digest)

    def delta(self, release: Release, base_digest: bytes) -> bytes | None:
        """A serialised Delta to the release's content; None if the base is not known any more, or
        if the whole is no larger."""
        base, target = self._known.get(base_digest), self._known[release.digest]
        if base is None:
            return None
        made = self._memo.made(
            (base_digest, release.digest), lambda: _delta(base, base_digest, target)
        )
        return made or None

    def whole(self, release: Release) -> bytes:
        """A serialised Content."""
        entries = self._known[release.digest].entries
        return self._memo.made((b"", release.digest), lambda: content_codec.encode_content(entries))


def _delta(base: Known, base_digest: bytes, target: Known) -> bytes:
    """Empty if the whole is better."""
    removals, upserts = difference(base.entries, target.entries)
    changed = sum(map(len, removals.values())) + sum(map(len, upserts.values()))
    if changed >= sum(map(len, target.entries.values())):
        return b""
    return content_codec.encode_delta(Difference(base.version, base_digest, removals, upserts))
