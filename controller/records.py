# SPDX-License-Identifier: Apache-2.0
"""What the store keeps, as frozen values: the seam between the store and everything that decides.

Times are unix seconds. Nothing here knows SQL, gRPC or the wire; a row is what was committed, and
what is not in it is nobody's to assume.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from agent.core.model import IPAddress, IPNetwork
from controller.allocations import Allocations

T = TypeVar("T")
Labels = Mapping[str, str]


class Cause(Enum):
    """What a version changed, and so what must be read anew."""

    POLICY = "policy"
    HOST = "host"
    """Enrolled, revoked, relabelled, addresses, lease ended or taken up again."""
    QUARANTINE = "quarantine"
    SETTINGS = "settings"
    EPOCH = "epoch"
    """The store's epoch, or the root of keys: everything."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it: a SPIFFE ID or "controller", and the address that it came from."""

    who: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest of each."""

    store_epoch: int
    version: int
    revision: int


@dataclass(frozen=True, slots=True)
class VersionRow:
    """object: the host's or the quarantine's name, the revision's number as text, or empty."""

    version: int
    at: int
    cause: Cause
    object: str


@dataclass(frozen=True, slots=True)
class HostRow:
    """One incarnation of a host. Its number is never another's, not even of the same name.

    addresses: in force, whoever gave them. networks: what they must lie in; empty is anywhere.
    fixed: the operator gave the addresses. lost: its lease has ended. record_serial: grows with
    every change that its HostRecord shows, quarantine included; record_at: when it last did.
    """

    name: str
    number: int
    labels: Labels
    addresses: tuple[IPAddress, ...]
    networks: tuple[IPNetwork, ...]
    fixed: bool
    tags: bool
    nat: bool
    lost: bool
    revoked: bool
    record_serial: int
    record_at: int
    enrolled_at: int
    enrolled_by: str
    certificate_expires: int
    seen: Seen

    def state(self, now: int) -> HostState:
        if self.revoked:
            return HostState.REVOKED
        if self.lost:
            return HostState.LOST
        if not self.seen.at:
            return HostState.ENROLLED
        return HostState.CONNECTED if self.seen.streams(now) else HostState.SILENT


@dataclass(frozen=True, slots=True)
class Seen:
    """What a controller last heard of a host; written in batches, so a minute old at times.

    controller: who has its stream; empty if nobody has. report: a serialised cordon.v1.Report.
    """

    at: int = 0
    controller: str = ""
    agent_version: str = ""
    store_epoch: int = 0
    version: int = 0
    refused_version: int = 0
    refused: str = ""
    trouble: str = ""
    report: bytes = field(default=b"", repr=False)

    def streams(self, now: int) -> bool:
        """Whether some controller has its stream."""
        return bool(self.controller) and self.at >= now - STALE_SECONDS


@dataclass(frozen=True, slots=True)
class LabelsJudged:
    """By the documents of this revision, for a host that had these labels before."""

    revision: int
    before: Labels


@dataclass(frozen=True, slots=True)
class HostChange:
    """None: as it is. An empty tuple of addresses: those that the host reports.

    judged: of other labels; a store refuses with `Moved` if that holds no more.
    """

    set_labels: Labels = field(default_factory=dict)
    remove_labels: tuple[str, ...] = ()
    networks: tuple[IPNetwork, ...] | None = None
    addresses: tuple[IPAddress, ...] | None = None
    tags: bool | None = None
    nat: bool | None = None
    judged: LabelsJudged | None = None


@dataclass(frozen=True, slots=True)
class HostsJudged:
    """What documents were judged by: the labels of each host, in this version of the store."""

    version: int
    labels: Mapping[str, Labels]


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """text: its YAML as applied. since: the revision that it came with."""

    kind: str
    name: str
    text: str
    file: str
    line: int
    since: int


@dataclass(frozen=True, slots=True)
class DocumentChanges:
    """From one revision to the next.

    allocations: with numbers for every name and network of the result; the store adds what is new
    and refuses with `Conflict` if somebody else has added meanwhile. judged: and with `Moved` if a
    host has other labels by now.
    """

    put: tuple[DocumentRow, ...]
    deleted: tuple[tuple[str, str], ...]
    """(kind, name)."""
    allocations: Allocations
    rollback_of: int = 0
    what: str = ""
    """For the audit log; empty: Apply or Rollback."""
    judged: HostsJudged | None = None


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """Never changed."""

    number: int
    version: int
    at: int
    who: str
    why: str
    documents: int
    changes: int
    rollback_of: int


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """What is in quarantine: exactly one of the two."""

    host: str = ""
    workload: str = ""


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    target: Target
    until: int
    since: int
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """As cordon.v1.FleetSettings, with its bounds."""

    epoch_seconds: int = 3600
    epochs_ahead: int = 12
    validity_seconds: int = 14 * 86_400
    lease_seconds: int = 3600
    confirm_seconds: int = 10
    certificate_seconds: int = 86_400
    hold_limit_ms: int = 2000
    refusal_events_per_second: int = 200


@dataclass(frozen=True, slots=True)
class FleetRows:
    """All that compiling the fleet reads, of one version. hosts: revoked ones left out."""

    head: Head
    at: int
    """When the version was made: what its releases say under `issued`."""
    trust_domain: str
    settings: FleetSettings
    hosts: Sequence[HostRow]
    documents: Sequence[DocumentRow]
    allocations: Allocations
    quarantines: Sequence[QuarantineRow]


@dataclass(frozen=True, slots=True)
class FleetPart:
    """What some versions touched, as it is at `head`: read in one transaction.

    hosts, documents: name or (kind, name) -> the row, None where it is gone. everything: too much
    has changed for a part to be worth it; read FleetRows.
    """

    head: Head
    at: int
    everything: bool
    settings: FleetSettings
    hosts: Mapping[str, HostRow | None]
    documents: Mapping[tuple[str, str], DocumentRow | None]
    allocations: Allocations
    quarantines: Sequence[QuarantineRow]


@dataclass(frozen=True, slots=True)
class AuditRow:
    number: int
    at: int
    who: str
    address: str
    what: str
    object: str
    why: str
    refused: str
    version: int


class HostState(Enum):
    """How a host stands; the first that holds, from below. Numbers are the contract's."""

    ENROLLED = 1
    """It has never had a stream."""
    CONNECTED = 2
    SILENT = 3
    LOST = 4
    REVOKED = 5


STALE_SECONDS = 180
"""A host whose controller has not written for so long has no stream there: streams that live are
written every minute, and a controller that was killed takes nothing back."""


@dataclass(frozen=True, slots=True)
class HostQuery:
    """states: any of these, as of `now`; empty: all but revoked ones."""

    labels: Labels = field(default_factory=dict)
    states: frozenset[HostState] = frozenset()
    now: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """after: `Paged.next` of the page before; empty for the first."""

    size: int = 100
    after: str = ""

    def of(self, size: int) -> Page:
        """The same place, another size."""
        return Page(size, self.after)


@dataclass(frozen=True, slots=True)
class Paged(Generic[T]):
    """next: empty after the last page. total: of all pages, where that is cheap, else 0."""

    items: Sequence[T]
    next: str = ""
    total: int = 0
