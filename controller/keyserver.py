# SPDX-License-Identifier: Apache-2.0
"""Which keys a host is missing. Pure.

Keys are handed out ahead of their epochs, and ahead of the policy that needs them. What a host
holds is known from its Hello and its Acks, so whichever controller it talks to goes on where
another one ended: the serial is the time, and more than what the host holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.core.model import EpochKey
from controller.keys import KeyRing
from controller.records import FleetSettings

PEERS_PER_UPDATE = 8192
"""With 16 epochs each, well below the 8 MiB of an envelope."""


@dataclass(frozen=True, slots=True)
class HeldKeys:
    """As a host has them. peers: None is unknown; then all are sent, and what was is forgotten."""

    serial: int = 0
    last_epoch: int = 0
    peers: frozenset[int] | None = frozenset()


@dataclass(frozen=True, slots=True)
class HostKeysFields:
    """What a HostKeys says, but for the serialising. peers: (number, keys towards it)."""

    serial: int
    host: int
    replaces_all: bool
    receive_secrets: tuple[EpochKey, ...]
    peers: tuple[tuple[int, tuple[EpochKey, ...]], ...]
    issued: int
    expires: int


@dataclass(frozen=True, slots=True)
class Moment:
    """now_ms: unix milliseconds."""

    now_ms: int
    settings: FleetSettings

    @property
    def seconds(self) -> int:
        return self.now_ms // 1000

    @property
    def epoch(self) -> int:
        return self.seconds // self.settings.epoch_seconds


def epochs(host: int, moment: Moment) -> range:
    """Those that a host should hold keys of now: the one before, and some ahead.

    The furthest is added in the first half of an epoch, by host number, so that not all are
    served at once.
    """
    settings = moment.settings
    into = moment.seconds % settings.epoch_seconds
    turn = host * 2654435761 % 2**32 * (settings.epoch_seconds // 2) >> 32
    ahead = settings.epochs_ahead - (into < turn)
    return range(max(moment.epoch - 1, 1), moment.epoch + ahead + 1)


def missing(host: int, peers: frozenset[int], held: HeldKeys, moment: Moment) -> bool:
    """Whether `updates` has something to send: cheap."""
    if held.peers is None or held.last_epoch + 1 < epochs(host, moment).stop:
        return True
    return not (peers - held.peers) <= {host}


def updates(
    host: int, peers: Iterable[int], held: HeldKeys, moment: Moment, ring: KeyRing
) -> Sequence[HostKeysFields]:
    """What to send so that the host has all of `epochs` for itself and towards `peers`; nothing if
    it has. ring: of those epochs at least."""
    wanted = epochs(host, moment)
    replaces = held.peers is None
    if replaces:
        held = HeldKeys(held.serial)
    lacking = range(max(wanted.start, held.last_epoch + 1), wanted.stop)
    others = sorted(set(peers) - {host})
    secrets = tuple(key for key in ring.receive_secrets(host) if key.epoch in lacking)
    pairs = [
        (peer, keys)
        for peer in others
        if (keys := _pair(ring, host, peer, lacking if peer in (held.peers or ()) else wanted))
    ]
    if not secrets and not pairs and not replaces:
        return ()
    serial = max(moment.now_ms, held.serial + 1)
    starts = range(0, len(pairs), PEERS_PER_UPDATE) or range(1)
    parts = [tuple(pairs[start : start + PEERS_PER_UPDATE]) for start in starts]
    return [
        HostKeysFields(
            serial=serial + number,
            host=host,
            replaces_all=replaces and number == 0,
            receive_secrets=_share(secrets, number, len(parts)),
            peers=part,
            issued=moment.seconds,
            expires=wanted.stop * moment.settings.epoch_seconds,
        )
        for number, part in enumerate(parts)
    ]


def _share(secrets: tuple[EpochKey, ...], number: int, parts: int) -> tuple[EpochKey, ...]:
    """The last epoch's comes last, for by it a host says that it has everything up to there."""
    if parts == 1:
        return secrets
    return secrets[-1:] if number == parts - 1 else secrets[:-1] if number == 0 else ()


def _pair(ring: KeyRing, host: int, peer: int, wanted: range) -> tuple[EpochKey, ...]:
    return tuple(ring.pair_keys(host, peer, wanted)) if wanted else ()


def all_epochs(moment: Moment) -> range:
    """That a ring for any host needs."""
    return range(max(moment.epoch - 1, 1), moment.epoch + moment.settings.epochs_ahead + 1)


def after(held: HeldKeys, sent: HostKeysFields) -> HeldKeys:
    """What a host holds once it has acknowledged an update."""
    before = frozenset() if sent.replaces_all or held.peers is None else held.peers
    last = max((key.epoch for key in sent.receive_secrets), default=0)
    return HeldKeys(
        serial=max(held.serial, sent.serial),
        last_epoch=last if sent.replaces_all else max(held.last_epoch, last),
        peers=before | {peer for peer, _ in sent.peers},
    )
