# SPDX-License-Identifier: Apache-2.0
"""The keys of this host: added to by updates, dropped with their epochs and with their peers. Pure.

A ring never changes: an update makes another one, so that a policy that is returned to has the keys
that it had. The envelopes stay beside the keys, for the cache is made of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from agent.core.abi import EPOCH_SLOTS
from agent.core.model import EpochKey

MAX_ENVELOPES = 64
"""Of a cache; well before that all keys are asked for as one."""


@dataclass(frozen=True, slots=True)
class KeyUpdate:
    """A HostKeys. expires: unix seconds, the end of the last epoch in it."""

    store_epoch: int
    serial: int
    host: int
    replaces_all: bool
    receive_secrets: tuple[EpochKey, ...] = field(repr=False)
    peers: Mapping[int, tuple[EpochKey, ...]] = field(repr=False)
    expires: int
    envelope: bytes = field(default=b"", repr=False)


_Keys = Mapping[int, EpochKey]
"""By epoch."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """serial: of the newest update, 0 for none."""

    store_epoch: int = 0
    serial: int = 0
    _secrets: _Keys = field(default_factory=dict, repr=False)
    _peers: Mapping[int, _Keys] = field(default_factory=dict, repr=False)
    _updates: tuple[KeyUpdate, ...] = field(default=(), repr=False)

    @property
    def order(self) -> tuple[int, int]:
        """Newer is larger."""
        return self.store_epoch, self.serial

    @property
    def receive_secrets(self) -> tuple[EpochKey, ...]:
        return _sorted(self._secrets)

    def keys(self, host: int) -> tuple[EpochKey, ...]:
        """K(this host to peer), by epoch."""
        return _sorted(self._peers.get(host, {}))

    @property
    def peers(self) -> Collection[int]:
        """Hosts that there are keys towards."""
        return self._peers.keys()

    @property
    def last_epoch(self) -> int:
        """The last one that there is a receive secret for; 0 for none."""
        return max(self._secrets, default=0)

    @property
    def envelopes(self) -> tuple[bytes, ...]:
        """What the ring was made from, oldest first."""
        return tuple(update.envelope for update in self._updates)

    @property
    def crowded(self) -> bool:
        """So many updates that all keys should be asked for as one."""
        return len(self._updates) > MAX_ENVELOPES // 2

    def add(self, update: KeyUpdate) -> KeyRing:
        """Where both have a key, the update's counts: its serial is the higher one."""
        before = KeyRing() if update.replaces_all else self
        secrets = _merged(before._secrets, update.receive_secrets)
        peers = dict(before._peers)
        for host, keys in update.peers.items():
            peers[host] = _merged(peers.get(host, {}), keys)
        updates = (*before._updates, update)[-MAX_ENVELOPES:]
        return KeyRing(update.store_epoch, update.serial, secrets, peers, updates)

    def drop(self, peers: Collection[int], epoch: int, now: float) -> KeyRing:
        """Without the keys towards others than `peers`, and without those of epochs before the one
        before `epoch`. Updates that have run out at `now` are forgotten."""
        kept = {
            host: _since(keys, epoch - 1) for host, keys in self._peers.items() if host in peers
        }
        updates = tuple(update for update in self._updates if update.expires > now)
        return replace(
            self, _secrets=_since(self._secrets, epoch - 1), _peers=kept, _updates=updates
        )


def _merged(before: _Keys, more: tuple[EpochKey, ...]) -> _Keys:
    """No more epochs than the kernel has slots for, the newest of them."""
    found = {**before, **{key.epoch: key for key in more}}
    return _since(found, max(found, default=0) - EPOCH_SLOTS + 1)


def _since(keys: _Keys, epoch: int) -> _Keys:
    return {at: key for at, key in keys.items() if at >= epoch}


def _sorted(keys: _Keys) -> tuple[EpochKey, ...]:
    return tuple(keys[epoch] for epoch in sorted(keys))
