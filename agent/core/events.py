# SPDX-License-Identifier: Apache-2.0
"""Facts, in the past tense: everything that core is ever told. Frozen values, no behaviour.

Time comes in with the event that needs it; core has no clock. Flow events do not pass here: they
change no decision, so the edge hands them to observers directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from agent.core.abi import Process
from agent.core.adoption import SocketFacts
from agent.core.attest import Facts
from agent.core.held import Stand
from agent.core.model import Snapshot


class Source(Enum):
    """Where a snapshot was read."""

    FILE = "file"
    CACHE = "cache"
    CONTROLLER = "controller"


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """The kernel, or a walk, asks who a process is.

    generation: of the entry in `processes` when it asked.
    executable: packed `executable_key`, empty where only the agent can tell.
    """

    pid: int
    generation: int
    executable: bytes = b""


class Event:
    """Base of all events."""


@dataclass(frozen=True, slots=True)
class Started(Event):
    at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Loaded(Event):
    """Programs and maps are pinned. `seconds` is 0 where they were found in place."""

    seconds: float
    attach_pending: bool
    generation: int = 0
    """The kernel's, of the policy that an earlier run left in force; 0 if there is none."""


@dataclass(frozen=True, slots=True)
class LoadFailed(Event):
    reason: str


@dataclass(frozen=True, slots=True)
class Attached(Event):
    """Every hook runs our programs."""


@dataclass(frozen=True, slots=True)
class AttachFailed(Event):
    reason: str


@dataclass(frozen=True, slots=True)
class SnapshotChanged(Event):
    """The file is another one than before, or gone."""


@dataclass(frozen=True, slots=True)
class SnapshotRead(Event):
    """Signature, host, version and expiry are good.

    content: the signed bytes. digest: of the payload; two snapshots are equal if theirs are.
    seconds: what reading and checking took.
    stand: what the controller's cache is made of; None where no controller made it.
    """

    source: Source
    snapshot: Snapshot
    content: bytes = field(repr=False)
    digest: bytes
    seconds: float = 0.0
    stand: Stand | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SnapshotRefused(Event):
    """held: the order of the newest one that it was measured by."""

    source: Source
    reason: str
    held: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class SnapshotMissing(Event):
    source: Source
    path: str


@dataclass(frozen=True, slots=True)
class ControlMayBegin(Event):
    """at: of the monotonic clock. unix: seconds. random: from 0 up to 1."""

    at: float
    unix: float
    random: float


@dataclass(frozen=True, slots=True)
class PolicyApplied(Event):
    """The kernel judges by `version` under `generation` from now on.

    seconds: what compiling, building and switching took.
    adoption_ends: unix seconds; older sockets pass until then. 0 if that is over.
    """

    version: int
    generation: int
    entries: int
    seconds: float
    adoption_ends: float = 0.0


@dataclass(frozen=True, slots=True)
class PolicyNotApplied(Event):
    """Nothing was switched: what was in force before is in force."""

    version: int
    reason: str
    too_large: bool = False


@dataclass(frozen=True, slots=True)
class ProcessReported(Event):
    report: ProcessReport


@dataclass(frozen=True, slots=True)
class ProcessStarted(Event):
    """Somebody without a workload started one that the kernel knew at once."""

    pid: int


@dataclass(frozen=True, slots=True)
class ReportsLost(Event):
    """The kernel had no room to ask who these many processes are."""

    count: int


@dataclass(frozen=True, slots=True)
class FactsRead(Event):
    """before: the kernel's entry, read before the facts; None if there is none."""

    report: ProcessReport
    facts: Facts
    before: Process | None
    now_ns: int
    """CLOCK_MONOTONIC."""


@dataclass(frozen=True, slots=True)
class FactsNotRead(Event):
    """The process lives and its facts could not be read.

    again: we lacked what it takes to look, so another look may tell.
    """

    report: ProcessReport
    before: Process | None
    reason: str
    now_ns: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class ExecutableHashed(Event):
    """A file was hashed for the processes that asked. sha256: empty if it has none, for `reason`.

    path: as the first of them knew it, for people.
    """

    reports: tuple[ProcessReport, ...]
    path: str
    sha256: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ProcessesWalked(Event):
    """All processes of the instance, and the kernel's entries as they were before the walk.

    living: processes that are there, whether their facts could be read or not.
    """

    seen: Mapping[int, Facts]
    living: frozenset[int]
    actual: Mapping[int, Process]
    now_ns: int


@dataclass(frozen=True, slots=True)
class NotWalked(Event):
    """We lacked the descriptors or the memory to look at processes, or at their sockets: of none is
    anything known."""

    reason: str


@dataclass(frozen=True, slots=True)
class SocketsWalked(Event):
    """Sockets of the instance's processes, and the kernel's entries of processes.

    complete: all of them, and not those of one process.
    """

    sockets: tuple[SocketFacts, ...]
    entries: Mapping[int, Process]
    complete: bool


@dataclass(frozen=True, slots=True)
class SocketsTagged(Event):
    """trouble: why listeners older than the agent answer without a tag; empty if they do not."""

    count: int
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class AdoptionEnded(Event):
    """Sockets older than the first policy are judged from now on, under this generation."""

    generation: int


@dataclass(frozen=True, slots=True)
class ObserversChanged(Event):
    count: int


@dataclass(frozen=True, slots=True)
class Ticked(Event):
    at: float


@dataclass(frozen=True, slots=True)
class Verified(Event):
    """The kernel was asked what it runs.

    missing: names of hooks and pins that are not as they should be.
    suspended: an administrator detached the hooks that judge, which are not missing then.
    unseen: why it could not be asked; what is missing is not known then. Empty if it was.
    """

    missing: tuple[str, ...]
    suspended: bool = False
    unseen: str = ""


@dataclass(frozen=True, slots=True)
class Repaired(Event):
    seconds: float


@dataclass(frozen=True, slots=True)
class NotRepaired(Event):
    reason: str


@dataclass(frozen=True, slots=True)
class StopRequested(Event):
    signal: str
