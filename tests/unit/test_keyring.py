# SPDX-License-Identifier: Apache-2.0
"""Keys of a host: which count, and when they are gone."""

from __future__ import annotations

from agent.core.abi import EPOCH_SLOTS
from agent.core.keyring import MAX_ENVELOPES, KeyRing, KeyUpdate
from agent.core.model import EpochKey


def update(
    serial: int, *epochs: int, peer: int = 2, whole: bool = False, expires: int = 1000
) -> KeyUpdate:
    made = tuple(EpochKey(epoch, bytes([serial]) * 16) for epoch in epochs)
    return KeyUpdate(1, serial, 7, whole, made, {peer: made}, expires, b"%d" % serial)


def test_the_higher_serial_counts_for_the_same_epoch() -> None:
    ring = KeyRing().add(update(1, 5, 6)).add(update(2, 6, 7))
    assert [(key.epoch, key.key[0]) for key in ring.keys(2)] == [(5, 1), (6, 2), (7, 2)]
    assert (ring.serial, ring.last_epoch) == (2, 7)


def test_an_update_that_replaces_all_leaves_nothing_else() -> None:
    ring = KeyRing().add(update(1, 5, peer=3)).add(update(2, 6, whole=True))
    assert ring.keys(3) == ()
    assert ring.envelopes == (b"2",)


def test_no_more_epochs_are_kept_than_the_kernel_has_slots_for() -> None:
    ring = KeyRing()
    for epoch in range(1, 2 * EPOCH_SLOTS):
        ring = ring.add(update(epoch, epoch))
    kept = [key.epoch for key in ring.receive_secrets]
    assert kept == list(range(EPOCH_SLOTS, 2 * EPOCH_SLOTS))


def test_what_belongs_to_past_epochs_or_to_no_peer_is_dropped() -> None:
    ring = KeyRing().add(update(1, 5, 6, 7, expires=10)).add(update(2, 8, peer=3, expires=99))
    left = ring.drop({2}, epoch=7, now=10)
    assert [key.epoch for key in left.receive_secrets] == [6, 7, 8]
    assert [key.epoch for key in left.keys(2)] == [6, 7]
    assert left.keys(3) == ()
    assert left.envelopes == (b"2",)
    assert ring.keys(3), "a ring never changes"


def test_updates_are_bounded_and_the_ring_says_so_before_they_are_lost() -> None:
    ring = KeyRing()
    for serial in range(1, MAX_ENVELOPES):
        ring = ring.add(update(serial, 5))
        assert len(ring.envelopes) == serial
    assert ring.crowded
    for serial in range(MAX_ENVELOPES, 2 * MAX_ENVELOPES):
        ring = ring.add(update(serial, 5))
    assert len(ring.envelopes) == MAX_ENVELOPES


def test_no_key_is_shown() -> None:
    ring = KeyRing().add(update(65, 5))
    assert "AAAA" not in repr(ring) + repr(update(65, 5))
