# SPDX-License-Identifier: Apache-2.0
"""What a host holds of its controller's word, and what of it is in force. Pure.

Records and keys are taken at once, for they change nothing by themselves: they come into force
with the policy that follows, or alone if none does.
"""

from __future__ import annotations

from dataclasses import replace

from agent.core import acceptance
from agent.core.held import Record, Release, Stand
from agent.core.keyring import KeyRing, KeyUpdate
from agent.core.stream import PolicyCame


class Holding:
    """confirmed: a controller was heard under it. unconfirmed: in force and not confirmed yet.

    record, ring: the newest, in force or not. epoch_seconds: 0 as long as no policy has said it.
    changed: record or ring are newer than what is in force.
    """

    def __init__(self, host: int) -> None:
        self.confirmed: Stand | None = None
        self.unconfirmed: Stand | None = None
        self.record: Record | None = None
        self.ring = KeyRing()
        self.epoch_seconds = 0
        self.changed = False
        self._host = host
        self._floor: Release | None = None

    @property
    def in_force(self) -> Stand | None:
        return self.unconfirmed or self.confirmed

    def restore(self, stand: Stand) -> None:
        """It was confirmed in an earlier run."""
        self.confirmed = self._raise_floor(stand)
        self.record, self.ring = stand.record, stand.ring

    # Taking; each raises acceptance.Refused.

    def take_record(self, came: Record) -> None:
        self.record = acceptance.record(came, self._host, self.record)
        self.changed = True

    def take_keys(self, came: KeyUpdate, now: float) -> None:
        ring = acceptance.keys(came, self._host, self.ring)
        self.ring = ring.drop(ring.peers, self._epoch(now), now)
        self.changed = True

    def take_policy(self, came: PolicyCame, now: float) -> Stand:
        """What is to be in force."""
        acceptance.release(came.release, self.record, self._floor, now)
        entries = acceptance.entries(came.body, self.confirmed, came.release.digest)
        assert self.record is not None, "a release is accepted by its audience"
        self.changed = False
        return Stand(self.record, came.release, entries, self.ring)

    def rekeyed(self) -> Stand | None:
        """What is in force, with the newest record and keys; None where these add nothing yet."""
        held = self.in_force
        if not self.changed or held is None or self.record is None:
            return None
        if self.record.audience != held.release.audience:
            return None
        self.changed = False
        return replace(held, record=self.record, ring=self.ring)

    # In force.

    def put(self, stand: Stand) -> bool:
        """The same policy with other keys is in force. Whether it is a confirmed one."""
        if self.unconfirmed is not None:
            self.unconfirmed = stand
            return False
        self.confirmed = stand
        return True

    def confirm(self, now: float) -> Stand:
        """What was unconfirmed; keys that it has no use for are gone."""
        stand = self.unconfirmed
        assert stand is not None, "the caller has looked"
        self.ring = self.ring.drop(stand.peers, self._epoch(now), now)
        ring = stand.ring.drop(stand.peers, self._epoch(now), now)
        self.confirmed = self._raise_floor(replace(stand, ring=ring))
        self.unconfirmed = None
        return self.confirmed

    def returned(self, to: Stand) -> Stand:
        """What was unconfirmed, and is in force no more."""
        stand = self.unconfirmed
        assert stand is not None, "the caller has looked"
        self.unconfirmed = None
        self.changed = self.ring.order != to.ring.order or self.record != to.record
        return stand

    def _epoch(self, now: float) -> int:
        """0 as long as nobody has said how long one is: nothing is dropped then."""
        return int(now) // self.epoch_seconds if self.epoch_seconds else 0

    def _raise_floor(self, stand: Stand) -> Stand:
        if self._floor is None or stand.release.order > self._floor.order:
            self._floor = stand.release
        return stand
