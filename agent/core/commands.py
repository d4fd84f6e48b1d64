# SPDX-License-Identifier: Apache-2.0
"""Wishes, in the imperative: everything that core ever asks for. Frozen values, no behaviour.

`agent.daemon` carries them out in the order given. What succeeds or fails comes back as an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from agent.core.abi import Process
from agent.core.adoption import SocketTag
from agent.core.attest import Facts
from agent.core.events import ProcessReport, Source
from agent.core.interest import Interest
from agent.core.model import Snapshot
from agent.core.snapshot import Held


class Level(Enum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Command:
    """Base of all commands."""


@dataclass(frozen=True, slots=True)
class Load(Command):
    """Run the loader: pin programs and maps, attach nothing."""


@dataclass(frozen=True, slots=True)
class Attach(Command):
    """Attach every pinned program."""


@dataclass(frozen=True, slots=True)
class ReadSnapshot(Command):
    """held: an older one is refused, and another one of the same version."""

    source: Source
    held: Held | None


@dataclass(frozen=True, slots=True)
class ApplyPolicy(Command):
    """Build it aside in the kernel and switch."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class WriteCache(Command):
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class BeginControl(Command):
    """The datapath stands: tell the time and something random, for a controller is looked for."""


@dataclass(frozen=True, slots=True)
class ReadFacts(Command):
    """interest: what the policy in force asks for; nothing else is looked at."""

    report: ProcessReport
    interest: Interest


@dataclass(frozen=True, slots=True)
class WalkProcesses(Command):
    """Read the facts of every process of the instance."""

    interest: Interest


@dataclass(frozen=True, slots=True)
class WalkSockets(Command):
    """Look at the sockets of every process of the instance, or of this one."""

    pid: int | None = None


@dataclass(frozen=True, slots=True)
class TagSockets(Command):
    """Write the states; and make listeners speak in these network namespaces, of each of which a
    process is named."""

    tags: tuple[SocketTag, ...]
    namespaces: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class EndAdoption(Command):
    """Judge what passed until now for being older than the first policy."""


@dataclass(frozen=True, slots=True)
class HashExecutable(Command):
    """Hash the process's executable beside everything else, if it is still the one of `facts`; what
    came of it is told in any case."""

    report: ProcessReport
    facts: Facts
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class TagProcess(Command):
    """Write the entry if it is still `before`; if it is not, or the facts have changed once it is
    written, the process is reported again."""

    facts: Facts
    before: Process | None
    after: Process


@dataclass(frozen=True, slots=True)
class TagUnreadable(Command):
    """As TagProcess, for a process of which no facts are known."""

    pid: int
    before: Process
    after: Process


@dataclass(frozen=True, slots=True)
class ForgetProcess(Command):
    """Delete the entry of a process that is gone, if it is still this one."""

    pid: int
    before: Process


@dataclass(frozen=True, slots=True)
class RememberExecutable(Command):
    """The kernel may tag the next exec of this file, user and cgroup at once."""

    key: bytes
    identity: int


@dataclass(frozen=True, slots=True)
class ForgetExecutables(Command):
    """Every exec is attested anew."""


@dataclass(frozen=True, slots=True)
class SweepExecutables(Command):
    """Forget those of cgroups that are gone."""


@dataclass(frozen=True, slots=True)
class SetObserve(Command):
    """Whether allowed connections make events too."""

    on: bool


@dataclass(frozen=True, slots=True)
class NotifyReady(Command):
    """Tell the service manager that enforcement stands."""


@dataclass(frozen=True, slots=True)
class Verify(Command):
    """Ask the kernel now whether it runs what was loaded."""


@dataclass(frozen=True, slots=True)
class Repair(Command):
    """Pin and attach again what is missing."""

    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FeedWatchdog(Command):
    """Tell the service manager that enforcement was looked at and found in order."""


@dataclass(frozen=True, slots=True)
class NotifyStatus(Command):
    text: str


@dataclass(frozen=True, slots=True)
class Log(Command):
    level: Level
    message: str
    fields: tuple[tuple[str, str | int | float], ...] = ()


def log(level: Level, message: str, **fields: str | int | float) -> Log:
    """A Log with its fields by name."""
    return Log(level, message, tuple(fields.items()))


@dataclass(frozen=True, slots=True)
class Stop(Command):
    """End the daemon. Enforcement goes on in the kernel."""

    code: int
