# SPDX-License-Identifier: Apache-2.0
"""The agent's end of the policy stream: when it connects, waits, gives a stream up, and renews its
certificate.
"""

from __future__ import annotations

import pytest

from agent.core import events, stream
from agent.core.commands import Level, Log
from agent.core.held import NackReason, Stand
from agent.core.keyring import KeyRing
from agent.core.line import MOST_UNANSWERED
from agent.core.stream import Timer
from tests.unit import snapshots
from tests.unit.control_host import EMPTY, EPOCH, RECORD, UNIX, Host, keys, release, welcomed


@pytest.fixture
def host() -> Host:
    return welcomed()


def test_what_was_kept_is_held_against_everything_that_comes() -> None:
    host = Host()
    held = Stand(RECORD, release(5), EMPTY, KeyRing().add(keys(3)))
    cache = events.Source.CACHE
    host.control.read(events.SnapshotRead(cache, snapshots.snapshot(), b"", b"", 0.0, held))
    host.control.cache_not_applied()
    host.begin()
    hello = host.opened[-1].hello
    assert hello.policy is None, "it is not in force"
    assert (hello.record_serial, hello.keys_serial, hello.last_epoch) == (5, 3, EPOCH)
    host.welcome()
    host.policy(release(4), EMPTY)
    assert [nack.reason for nack in host.nacks] == [NackReason.OLDER]


def test_backoff_grows_to_a_minute_and_begins_anew_once_in_sync(host: Host) -> None:
    waits = []
    for _ in range(12):
        host.end()
        waits.append(host.timers[Timer.CONNECT])
        host.fire(Timer.CONNECT, random=0.99)
    assert waits[0] == 0.25
    assert waits == sorted(waits)
    assert waits[-1] == 30.0, "half of the most, for the random number is a half"
    assert {command.controller for command in host.opened} == {"c:1", "d:2"}
    host.welcome()
    host.hear(stream.InSync(1))
    host.end()
    assert host.timers[Timer.CONNECT] == 0.25


def test_a_large_fleet_comes_back_over_the_time_that_it_was_told(host: Host) -> None:
    host.welcome(spread_seconds=20.0)
    host.hear(stream.InSync(1))
    waits = []
    for _ in range(8):
        host.end()
        waits.append(host.timers[Timer.CONNECT])
        host.fire(Timer.CONNECT)
    assert waits == [10.0] * 6 + [16.0, 30.0], "half of each, for the random number is a half"


def test_when_to_come_again_is_the_least(host: Host) -> None:
    host.hear(stream.GoingAway(stream.Away.OTHER, 8.0, "many are being brought in step"))
    host.end()
    assert host.timers[Timer.CONNECT] >= 8.0


def test_a_stream_without_welcome_or_without_answers_is_given_up(host: Host) -> None:
    host.reconnect()
    for _ in range(MOST_UNANSWERED):
        host.fire(Timer.BEAT)
    assert host.phase == "SYNCING"
    host.fire(Timer.BEAT)
    assert host.phase == "OFFLINE"
    host.fire(Timer.CONNECT)
    assert host.phase == "CONNECTING"
    host.fire(Timer.WELCOME)
    assert host.phase == "OFFLINE"


def test_an_answered_heartbeat_keeps_the_stream(host: Host) -> None:
    for _ in range(3 * MOST_UNANSWERED):
        host.fire(Timer.BEAT)
        host.hear(stream.BeatAnswered(UNIX))
    assert host.phase == "SYNCING"


def test_nothing_of_an_older_stream_is_heard(host: Host) -> None:
    host.reconnect()
    host.hear(stream.InSync(1), number=1)
    ended = stream.StreamEnded(1, "", "", 0.0, host.at, 0.5)
    host.carry_out(host.control.handle(ended))
    assert host.phase == "SYNCING"


@pytest.mark.parametrize("reason", ["REVOKED", "STORE_BEHIND"])
def test_what_needs_an_operator_is_an_error_and_not_tried_often(host: Host, reason: str) -> None:
    host.end(reason)
    assert host.timers[Timer.CONNECT] >= 30.0
    assert any(isinstance(c, Log) and c.level is Level.ERROR for c in host.other)


def test_a_certificate_is_renewed_when_it_is_time_and_again_if_that_failed(host: Host) -> None:
    host.fire(Timer.RENEW)
    assert stream.RenewCertificate() not in host.other, "not yet"
    host.at += 1000
    host.fire(Timer.RENEW)
    assert host.other[-1] == stream.RenewCertificate()
    failed = stream.CertificateNotRenewed("away", host.at, 0.5)
    host.carry_out(host.control.handle(failed))
    assert host.timers[Timer.RENEW] == 60.0
    renewed = stream.CertificateRenewed(UNIX + 5000, ("e:3",), None, host.at)
    host.carry_out(host.control.handle(renewed))
    assert host.timers[Timer.RENEW] == 3600.0
    assert stream.WriteControllers(("e:3",)) in host.other
