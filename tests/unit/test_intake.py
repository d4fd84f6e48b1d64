# SPDX-License-Identifier: Apache-2.0
"""Snapshots on their way into the kernel: the newest first, one at a time, none lost too early."""

from __future__ import annotations

import pytest

from agent.core.events import Source
from agent.core.intake import Candidate, Intake
from agent.core.snapshot import Held
from tests.unit import snapshots


def candidate(version: int, digest: bytes = b"", source: Source = Source.FILE) -> Candidate:
    made = snapshots.snapshot(version=version)
    return Candidate(source, made, b"", digest or bytes([version]))


def test_nothing_is_held_and_nothing_waits_at_first() -> None:
    intake = Intake()
    assert intake.held is None
    assert intake.take() is None


def test_held_is_the_newest_at_hand_whether_it_waits_or_is_in_force() -> None:
    intake = Intake()
    for version in (1, 2):
        intake.offer(candidate(version))
        assert intake.held == Held(0, version, bytes([version]))
    assert intake.take() == candidate(2)
    assert intake.held == Held(0, 2, bytes([2]))
    intake.succeed()
    assert intake.held == Held(0, 2, bytes([2]))


def test_the_newest_is_taken_and_one_at_a_time() -> None:
    intake = Intake()
    intake.offer(candidate(1))
    intake.offer(candidate(2))
    assert intake.take() == candidate(2)
    assert intake.take() is None
    intake.fail()
    assert intake.take() == candidate(1)


def test_what_is_older_than_what_is_in_force_has_had_its_time() -> None:
    intake = Intake()
    intake.offer(candidate(1))
    intake.offer(candidate(2))
    intake.take()
    intake.offer(candidate(3))
    assert intake.succeed() == candidate(2)
    assert intake.take() == candidate(3)
    intake.fail()
    assert intake.take() is None


def test_what_is_at_hand_is_not_taken_twice() -> None:
    intake = Intake()
    for _ in range(2):
        assert intake.offer(candidate(1)) is None
    intake.take()
    assert intake.offer(candidate(1)) is None
    intake.succeed()
    assert intake.offer(candidate(1)) is None
    assert intake.take() is None


@pytest.mark.parametrize("how_far", ["waiting", "being applied", "in force"])
def test_older_or_other_content_is_refused_however_far_the_newer_one_is(how_far: str) -> None:
    intake = Intake()
    intake.offer(candidate(2))
    if how_far != "waiting":
        intake.take()
    if how_far == "in force":
        intake.succeed()
    assert intake.offer(candidate(1)) == "revision 1 is older than 2, which came meanwhile"
    assert intake.offer(candidate(2, b"x")) == "revision 2 came meanwhile with other content"
    assert intake.held == Held(0, 2, bytes([2]))


def test_a_newest_one_that_fails_is_lost() -> None:
    intake = Intake()
    intake.offer(candidate(1))
    intake.take()
    intake.succeed()
    intake.offer(candidate(2))
    intake.take()
    assert not intake.has_lost((0, 2))
    intake.fail()
    assert intake.has_lost((0, 2))
    assert not intake.has_lost((0, 1))
    assert not intake.has_lost(None)


def test_keys_in_the_content_are_not_shown() -> None:
    assert "secret" not in repr(Candidate(Source.FILE, snapshots.snapshot(), b"secret", b""))
