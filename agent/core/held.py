# SPDX-License-Identifier: Apache-2.0
"""What an agent holds of its controller's word, opened and verified. Values only.

An edge has checked the signatures before one of these exists. The payloads stay beside the fields,
for the cache and for whoever makes a snapshot of them; nothing here knows how they are written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from agent.core.content import Entries, Section
from agent.core.keyring import KeyRing


class NackReason(IntEnum):
    """As cordon.v1.NackReason."""

    SIGNATURE = 1
    AUDIENCE = 2
    OLDER = 3
    TIME = 4
    DELTA = 5
    CONTENT = 6
    TOO_LARGE = 7
    KERNEL = 8
    UNCONFIRMED = 9


@dataclass(frozen=True, slots=True)
class KeySet:
    """Who may sign policy. keys: raw Ed25519. envelope: the serialised Signed."""

    serial: int
    keys: tuple[bytes, ...]
    envelope: bytes = b""


@dataclass(frozen=True, slots=True)
class Record:
    """A host's own part: a HostRecord."""

    store_epoch: int
    serial: int
    host: int
    name: str
    audience: bytes
    payload: bytes = b""
    envelope: bytes = b""

    @property
    def order(self) -> tuple[int, int]:
        """Newer is larger."""
        return self.store_epoch, self.serial


@dataclass(frozen=True, slots=True)
class Release:
    """What a signature on policy is about: a Release."""

    store_epoch: int
    version: int
    issued: int
    expires: int
    audience: bytes
    digest: bytes
    payload: bytes = b""
    envelope: bytes = b""

    @property
    def order(self) -> tuple[int, int, int]:
        """Newer is larger."""
        return self.store_epoch, self.version, self.issued


@dataclass(frozen=True, slots=True)
class Stand:
    """Everything that one policy in the kernel is made of."""

    record: Record
    release: Release
    entries: Entries = field(repr=False)
    ring: KeyRing

    @property
    def peers(self) -> frozenset[int]:
        """Numbers of the hosts that the content names as peers."""
        return frozenset(k for k in self.entries.get(Section.PEERS, {}) if isinstance(k, int))
