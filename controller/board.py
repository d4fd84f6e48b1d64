# SPDX-License-Identifier: Apache-2.0
"""What there is for hosts at this moment, as streams read it: the hand-over between the thread that
compiles and the loop that serves. A `Batch` is made in the one and applied in the other, whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agent.core.content import EMPTY, Entries
from controller import keyserver
from controller.fleet.assemble import Content
from controller.fleet.changes import HostRecordFields, Touched
from controller.fleet.compile import Fleet
from controller.keys import KeyRing
from controller.keyserver import HeldKeys, HostKeysFields, Moment
from controller.records import FleetSettings, Head
from controller.releases import Known, Release, Releases, Sealing, make_release, stamp
from controller.talk import HeldPolicy


class Board(Protocol):
    """What there is for hosts, now."""

    @property
    def head(self) -> Head: ...

    @property
    def settings(self) -> FleetSettings: ...

    @property
    def unix(self) -> int: ...

    @property
    def key_set_serial(self) -> int: ...

    def record(self, name: str) -> HostRecordFields | None: ...

    def release(self, audience: bytes, held: HeldPolicy | None) -> Release | None:
        """The newest, which is newer than what is held, if it is not the same."""

    def known(self, digest: bytes) -> Known | None: ...

    def keys_missing(self, host: int, release: Release, held: HeldKeys) -> bool: ...

    def keys(self, host: int, release: Release, held: HeldKeys) -> Sequence[HostKeysFields]: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step of the compiler has made. records: None for hosts that are gone.

    moment: as of when contents hold. changed: audiences whose content is another one than before.
    next_end: when the next document ends.
    """

    head: Head
    moment: int
    settings: FleetSettings
    records: Mapping[str, HostRecordFields | None] = field(default_factory=dict)
    releases: Sequence[tuple[Release, Content]] = ()
    gone: frozenset[bytes] = frozenset()
    changed: frozenset[bytes] = frozenset()
    next_end: int | None = None


def batch_of(
    fleet: Fleet, touched: Touched, sealing: Sealing, now: int, *, everything: bool = False
) -> Batch:
    """Signs what was touched, or everything, for then all of it may be of another epoch."""
    issued = stamp(fleet.moment, sealing.validity_seconds, now)
    audiences = fleet.audiences if everything else touched.audiences
    return Batch(
        head=fleet.head,
        moment=fleet.moment,
        settings=fleet.settings,
        records={
            name: fleet.record(name) if name in fleet.hosts else None for name in touched.hosts
        },
        releases=[
            (make_release(audience, content, fleet.head, issued, sealing), content)
            for audience in audiences
            for content in [fleet.content(audience)]
        ],
        gone=touched.gone,
        changed=touched.audiences,
        next_end=fleet.next_end(),
    )


class Desk:
    """The `Board` of one controller. `unix_ms` is set as time goes on."""

    def __init__(self) -> None:
        self.head = Head(0, 0, 0)
        self.moment = 0
        self.settings = FleetSettings()
        self.next_end: int | None = None
        self.unix_ms = 0
        self.key_set_serial = 0
        self.sealing: Sealing | None = None
        self.releases = Releases()
        self.records: dict[str, HostRecordFields] = {}
        self._members: dict[bytes, set[str]] = {}
        self._root = b""
        self._ring: tuple[range, KeyRing] | None = None

    @property
    def unix(self) -> int:
        return self.unix_ms // 1000

    def use_root(self, root: bytes) -> None:
        """Of keys."""
        if root != self._root:
            self._root, self._ring = root, None

    def apply(self, batch: Batch) -> frozenset[str]:
        """Whose policy or record may be another one now."""
        self.head, self.moment = batch.head, batch.moment
        self.settings, self.next_end = batch.settings, batch.next_end
        for name, record in batch.records.items():
            self._seat(name, record)
        for audience in batch.gone:
            self.releases.drop(audience)
        for release, content in batch.releases:
            self.releases.put(release, content, self.settings)
        touched = (release.audience for release, _ in batch.releases)
        return frozenset(batch.records).union(self.members(touched))

    def _seat(self, name: str, record: HostRecordFields | None) -> None:
        before = self.records.pop(name, None)
        if before is not None:
            self._members[before.audience].discard(name)
        if record is not None:
            self.records[name] = record
            self._members.setdefault(record.audience, set()).add(name)

    def members(self, audiences: Iterable[bytes]) -> frozenset[str]:
        """Hosts of these audiences."""
        return frozenset().union(*(self._members.get(a, ()) for a in audiences))

    def renewals(self) -> list[bytes]:
        """Audiences whose release has had half of its time."""
        now = self.unix
        return [a for a, release in self.releases.current.items() if release.renew_at <= now]

    def renewed(self, audience: bytes) -> Release:
        """Another release over the same content, as of now."""
        assert self.sealing is not None, "the publisher has begun"
        issued = stamp(self.moment, self.sealing.validity_seconds, self.unix)
        found = self.releases.current[audience]
        return make_release(audience, found, self.head, issued, self.sealing)

    # What a stream asks.

    def record(self, name: str) -> HostRecordFields | None:
        return self.records.get(name)

    def newest(self, name: str) -> tuple[int, int] | None:
        """(store_epoch, version) of what the host should hold; None for one that is not here."""
        record = self.records.get(name)
        found = self.releases.get(record.audience) if record is not None else None
        return found.order[:2] if found is not None else None

    def entries(self, name: str) -> Entries:
        """Of a host's newest release; empty for one that is not here."""
        record = self.records.get(name)
        found = self.releases.get(record.audience) if record is not None else None
        known = self.releases.known(found.digest) if found is not None else None
        return known.entries if known is not None else EMPTY

    def moved(self, batch: Batch) -> frozenset[str]:
        """Hosts that come by it to another audience, asked before it is applied."""
        pairs = ((self.records.get(name), record) for name, record in batch.records.items())
        return frozenset(
            record.name
            for before, record in pairs
            if before is not None and record is not None and before.audience != record.audience
        )

    def release(self, audience: bytes, held: HeldPolicy | None) -> Release | None:
        found = self.releases.get(audience)
        if found is None or held is None or found.order[:2] > held.order:
            return found
        same = found.digest == held.digest and held.is_of(audience)
        if found.head == self.head or (same and found.order[:2] == held.order):
            return found
        # The host comes from an audience that was changed later than this one.
        self.releases.renew(again := self.renewed(audience))
        return again

    def known(self, digest: bytes) -> Known | None:
        return self.releases.known(digest)

    def _moment(self) -> Moment:
        return Moment(self.unix_ms, self.settings)

    def keys_missing(self, host: int, release: Release, held: HeldKeys) -> bool:
        return keyserver.missing(host, release.peers, held, self._moment())

    def keys(self, host: int, release: Release, held: HeldKeys) -> Sequence[HostKeysFields]:
        moment = self._moment()
        if not keyserver.missing(host, release.peers, held, moment):
            return ()
        live = keyserver.all_epochs(moment)
        if self._ring is None or self._ring[0] != live:
            self._ring = (live, KeyRing(self._root, live))
        return keyserver.updates(host, release.peers, held, moment, self._ring[1])
