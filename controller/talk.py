# SPDX-License-Identifier: Apache-2.0
"""What is said on a policy stream, as values: events that come in, actions that go out.

The contract is proto/cordon/v1/policy.proto; these are its messages without their form, so that
`controller.sync` can be walked through by tests without a wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from controller.fleet.changes import HostRecordFields
from controller.keyserver import HeldKeys, HostKeysFields
from controller.releases import Release


class NackReason(IntEnum):
    """Numbers are the contract's."""

    SIGNATURE = 1
    AUDIENCE = 2
    OLDER = 3
    TIME = 4
    DELTA = 5
    CONTENT = 6
    TOO_LARGE = 7
    KERNEL = 8
    UNCONFIRMED = 9


class AwayReason(IntEnum):
    """Numbers are the contract's."""

    SHUTDOWN = 1
    ADMISSION = 2
    REPLACED = 3
    SLOW = 4
    REVOKED = 5
    CERTIFICATE = 6


@dataclass(frozen=True, slots=True)
class HeldPolicy:
    """What an agent has in force. audience: empty if it does not say."""

    store_epoch: int
    version: int
    digest: bytes
    expires: int
    audience: bytes = b""

    @property
    def order(self) -> tuple[int, int]:
        return self.store_epoch, self.version

    def is_of(self, audience: bytes) -> bool:
        """Whether it may stay where this audience's content is the same."""
        return self.audience in (b"", audience)


class Event:
    """Base of what an agent says, and of what happens at the controller."""


@dataclass(frozen=True, slots=True)
class Acked(Event):
    nonce: int
    version: int = 0


@dataclass(frozen=True, slots=True)
class Nacked(Event):
    """reason 0: one that this controller does not know."""

    nonce: int
    reason: int
    message: str = ""
    version: int = 0
    store_epoch: int = 0


@dataclass(frozen=True, slots=True)
class Hello(Event):
    """keys: what is known of them from the message alone: their peers follow from the policy."""

    protocol: int
    host: int
    name: str
    policy: HeldPolicy | None = None
    unconfirmed: HeldPolicy | None = None
    record_serial: int = 0
    keys: HeldKeys = field(default_factory=HeldKeys)
    key_set_serial: int = 0
    refused: Nacked | None = None


@dataclass(frozen=True, slots=True)
class Beat(Event):
    sequence: int


@dataclass(frozen=True, slots=True)
class Resync(Event):
    content: bool
    keys: bool


@dataclass(frozen=True, slots=True)
class Changed(Event):
    """There may be something new for this host."""


class Action:
    """Base of what is to be done for a stream."""


@dataclass(frozen=True, slots=True)
class Welcome(Action):
    confirmed: bool
    key_set: bool


@dataclass(frozen=True, slots=True)
class SendRecord(Action):
    nonce: int
    record: HostRecordFields


@dataclass(frozen=True, slots=True)
class SendKeys(Action):
    nonce: int
    keys: HostKeysFields


@dataclass(frozen=True, slots=True)
class SendPolicy(Action):
    """base: digest of what the agent holds; None: it needs the whole."""

    nonce: int
    release: Release
    base: bytes | None


@dataclass(frozen=True, slots=True)
class SendInSync(Action):
    version: int


@dataclass(frozen=True, slots=True)
class SendConfirm(Action):
    nonce: int


@dataclass(frozen=True, slots=True)
class SendBeat(Action):
    sequence: int


@dataclass(frozen=True, slots=True)
class NoteEnforced(Action):
    """For the rollout. order: (store_epoch, version)."""

    order: tuple[int, int]


@dataclass(frozen=True, slots=True)
class NoteRefused(Action):
    order: tuple[int, int]
    message: str


@dataclass(frozen=True, slots=True)
class End(Action):
    """status: a name of gRPC's codes."""

    status: str
    reason: str
    message: str
