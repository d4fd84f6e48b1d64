# SPDX-License-Identifier: Apache-2.0
"""What passes between `Control` and the edges that carry a policy stream. Values only.

Messages are those of cordon.v1 with signatures already checked and payloads opened; events and
commands are of the kind of agent.core.events and agent.core.commands, kept apart because only an
agent that has a controller knows them. Moments (`at`) are seconds of the monotonic clock; what is
random comes with the event that needs it, from 0 up to 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from agent.core.acceptance import Body
from agent.core.commands import Command
from agent.core.events import Event
from agent.core.held import KeySet, NackReason, Record, Release, Stand
from agent.core.keyring import KeyUpdate

# From the controller.


class Down:
    """Base of all messages from the controller."""


@dataclass(frozen=True, slots=True)
class Welcome(Down):
    controller: str
    store_epoch: int
    version: int
    now: float
    """Unix seconds."""
    heartbeat_seconds: int
    confirm_seconds: int
    confirmed: bool
    key_set: KeySet | None
    controllers: tuple[str, ...]
    spread_seconds: float = 0.0
    """Within which to come back, at random, once the stream has broken."""


@dataclass(frozen=True, slots=True)
class RecordCame(Down):
    nonce: int
    record: Record


@dataclass(frozen=True, slots=True)
class KeysCame(Down):
    nonce: int
    keys: KeyUpdate


@dataclass(frozen=True, slots=True)
class PolicyCame(Down):
    """body: as agent.core.acceptance.entries takes it."""

    nonce: int
    release: Release
    body: Body = field(repr=False)


@dataclass(frozen=True, slots=True)
class BadCame(Down):
    """Something that is to be answered and cannot be believed or read."""

    nonce: int
    reason: NackReason
    sentence: str
    release: Release | None = None


@dataclass(frozen=True, slots=True)
class Confirmed(Down):
    nonce: int


@dataclass(frozen=True, slots=True)
class InSync(Down):
    version: int


@dataclass(frozen=True, slots=True)
class BeatAnswered(Down):
    now: float


class Away(Enum):
    """Why the controller ends a stream, as far as the agent does something about it."""

    OTHER = 0
    REVOKED = 5
    CERTIFICATE = 6


@dataclass(frozen=True, slots=True)
class GoingAway(Down):
    why: Away
    retry_seconds: float
    sentence: str


# To the controller.


class Up:
    """Base of all messages to the controller."""


@dataclass(frozen=True, slots=True)
class Nack(Up):
    nonce: int
    reason: NackReason
    sentence: str
    version: int = 0
    store_epoch: int = 0


@dataclass(frozen=True, slots=True)
class Ack(Up):
    nonce: int
    version: int = 0
    apply_ms: int = 0
    entries: int = 0


@dataclass(frozen=True, slots=True)
class Beat(Up):
    sequence: int
    version: int


@dataclass(frozen=True, slots=True)
class AskKeys(Up):
    """Resync, of all keys."""


@dataclass(frozen=True, slots=True)
class Report(Up):
    """How the host is. body: a serialised Report."""

    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Hello(Up):
    host: int
    host_name: str
    policy: Release | None
    unconfirmed: Release | None
    record_serial: int
    keys_serial: int
    last_epoch: int
    key_set_serial: int
    refused: Nack | None


# Events.


@dataclass(frozen=True, slots=True)
class StreamSaid(Event):
    """number: of the stream, as OpenStream gave it."""

    number: int
    message: Down
    at: float
    random: float = 0.0


@dataclass(frozen=True, slots=True)
class StreamEnded(Event):
    """reason: of ErrorInfo, empty if there was none. retry_seconds: of RetryInfo."""

    number: int
    reason: str
    sentence: str
    retry_seconds: float
    at: float
    random: float


class Timer(Enum):
    CONNECT = "connect"
    WELCOME = "welcome"
    CONFIRM = "confirm"
    BEAT = "beat"
    RENEW = "renew"


@dataclass(frozen=True, slots=True)
class TimerFired(Event):
    timer: Timer
    at: float
    random: float


@dataclass(frozen=True, slots=True)
class CertificateRenewed(Event):
    """renew_after: unix seconds. key_set: None if it is no newer one."""

    renew_after: float
    controllers: tuple[str, ...]
    key_set: KeySet | None
    at: float


@dataclass(frozen=True, slots=True)
class CertificateNotRenewed(Event):
    reason: str
    at: float
    random: float


# Commands.


class StreamCommand(Command):
    """Base of what is carried out beside the kernel."""


@dataclass(frozen=True, slots=True)
class OpenStream(StreamCommand):
    """One at a time: what was open before is closed, and nothing more is told of it."""

    number: int
    controller: str
    hello: Hello


@dataclass(frozen=True, slots=True)
class CloseStream(StreamCommand):
    """Nothing more is told of it."""


@dataclass(frozen=True, slots=True)
class Say(StreamCommand):
    message: Up


@dataclass(frozen=True, slots=True)
class SetTimer(StreamCommand):
    """seconds: None stops it. A timer that runs is set anew."""

    timer: Timer
    seconds: float | None


@dataclass(frozen=True, slots=True)
class AssemblePolicy(StreamCommand):
    """Make a snapshot of it; comes back as SnapshotRead or SnapshotRefused of the controller.

    now: unix seconds. opened: with nothing refused. fresh: it must be good for `now`.
    """

    stand: Stand
    now: float
    opened: bool
    fresh: bool


@dataclass(frozen=True, slots=True)
class WritePolicyCache(StreamCommand):
    stand: Stand
    key_set: KeySet


@dataclass(frozen=True, slots=True)
class WriteKeySet(StreamCommand):
    key_set: KeySet


@dataclass(frozen=True, slots=True)
class WriteControllers(StreamCommand):
    controllers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RenewCertificate(StreamCommand):
    """With a new key."""
