# SPDX-License-Identifier: Apache-2.0
"""The agent's end of the policy stream: what it takes, what it refuses, what it takes back.

`Host` plays the edges: it has no clock but the test's, and a kernel that does as it is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from agent.core import content, events, stream
from agent.core.commands import Command, Level, Log
from agent.core.content import Entries, Section
from agent.core.control import Control, Enrolled
from agent.core.held import KeySet, NackReason, Record, Release, Stand
from agent.core.keyring import KeyRing, KeyUpdate
from agent.core.line import MOST_UNANSWERED
from agent.core.model import EpochKey
from agent.core.stream import Ack, Nack, Say, Timer
from tests.unit import snapshots

AUDIENCE, ELSEWHERE = b"a" * 16, b"e" * 16
UNIX = 1_700_000_000.0
EPOCH = int(UNIX) // snapshots.snapshot().settings.epoch_seconds
RECORD = Record(1, 5, 7, "a", AUDIENCE)
EMPTY: Entries = {Section.PEERS: {}}


def entries(*peers: int) -> Entries:
    return {Section.PEERS: {peer: b"peer %d" % peer for peer in peers}}


def release(version: int, held: Entries = EMPTY, epoch: int = 1) -> Release:
    now = int(UNIX)
    return Release(epoch, version, now, now + 3600, AUDIENCE, content.digest(held))


def keys(serial: int, *peers: int, epoch: int = 1) -> KeyUpdate:
    key = (EpochKey(EPOCH, bytes(16)),)
    return KeyUpdate(epoch, serial, 7, False, key, dict.fromkeys(peers, key), int(UNIX) + 3600)


@dataclass
class Host:
    """said: to the controller, on the stream that is open. opened: every Hello."""

    control: Control = field(
        default_factory=lambda: Control(
            Enrolled(7, "a", ("c:1", "d:2"), KeySet(1, (bytes(32),)), UNIX + 1000)
        )
    )
    at: float = 100.0
    kernel: bool = True
    said: list[stream.Up] = field(default_factory=list)
    opened: list[stream.OpenStream] = field(default_factory=list)
    assembled: list[stream.AssemblePolicy] = field(default_factory=list)
    cached: list[Stand] = field(default_factory=list)
    timers: dict[Timer, float] = field(default_factory=dict)
    other: list[Command] = field(default_factory=list)
    nonce: int = 0

    def begin(self) -> Host:
        self.carry_out(self.control.begin(self.at, UNIX, 0.0))
        return self

    def carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Say():
                    self.said.append(command.message)
                case stream.OpenStream():
                    self.opened.append(command)
                    self.said.clear()
                case stream.SetTimer(timer=timer, seconds=None):
                    self.timers.pop(timer, None)
                case stream.SetTimer(timer=timer, seconds=float() as seconds):
                    self.timers[timer] = seconds
                case stream.WritePolicyCache():
                    self.cached.append(command.stand)
                case stream.AssemblePolicy():
                    self.assembled.append(command)
                    if self.kernel:
                        self.apply()
                case _:
                    self.other.append(command)

    def apply(self) -> None:
        """What was asked for last is read and in force."""
        stand = self.assembled[-1].stand
        source = events.Source.CONTROLLER
        self.control.read(events.SnapshotRead(source, snapshots.snapshot(), b"", b"", 0.0, stand))
        version = stand.release.version
        self.carry_out(self.control.applied(events.PolicyApplied(version, 1, 3, 0.01)))

    def hear(self, message: stream.Down, number: int | None = None) -> None:
        number = self.opened[-1].number if number is None else number
        self.carry_out(self.control.handle(stream.StreamSaid(number, message, self.at, 0.5)))

    def welcome(self, *, confirmed: bool = False, spread_seconds: float = 0.0) -> None:
        now = UNIX + self.at - 100
        said = stream.Welcome("ctl", 1, 9, now, 15, 10, confirmed, None, (), spread_seconds)
        self.hear(said)

    def policy(self, of: Release, body: object) -> int:
        self.nonce += 1
        self.hear(stream.PolicyCame(self.nonce, of, body))  # type: ignore[arg-type]
        return self.nonce

    def fire(self, timer: Timer, random: float = 0.5) -> None:
        self.timers.pop(timer, None)
        self.carry_out(self.control.handle(stream.TimerFired(timer, self.at, random)))

    def end(self, reason: str = "UNAVAILABLE", retry: float = 0.0) -> None:
        number = self.opened[-1].number
        ended = stream.StreamEnded(number, reason, "gone", retry, self.at, 0.5)
        self.carry_out(self.control.handle(ended))

    def reconnect(self) -> None:
        self.end()
        self.fire(Timer.CONNECT)
        self.welcome()

    @property
    def phase(self) -> str:
        return self.control.phase.name

    @property
    def nacks(self) -> list[Nack]:
        return [message for message in self.said if isinstance(message, Nack)]

    @property
    def acks(self) -> list[Ack]:
        return [message for message in self.said if isinstance(message, Ack)]


@pytest.fixture
def host() -> Host:
    """Welcomed, with its record, on a connection that the kernel judges."""
    made = Host()
    made.control.applied(events.PolicyApplied(1, 1, 1, 0.0))  # a cache's
    made.begin().welcome()
    made.nonce += 1
    made.hear(stream.RecordCame(made.nonce, RECORD))
    made.said.clear()
    return made


def confirmed(host: Host, version: int = 1, held: Entries = EMPTY) -> Release:
    of = release(version, held)
    host.hear(stream.Confirmed(host.policy(of, held)))
    assert host.control.confirmed is not None
    assert host.control.confirmed.release == of
    host.said.clear()
    return of


# Taking.


def test_a_policy_is_acknowledged_when_the_kernel_judges_by_it_and_not_before(host: Host) -> None:
    host.kernel = False
    nonce = host.policy(release(1), EMPTY)
    assert host.said == []
    host.apply()
    assert host.said == [Ack(nonce, 1, 10, 3)]
    assert host.phase == "UNCONFIRMED"


def test_the_cache_is_written_when_it_is_confirmed_and_not_before(host: Host) -> None:
    nonce = host.policy(release(1), EMPTY)
    assert host.cached == []
    host.hear(stream.Confirmed(nonce))
    assert [stand.release.version for stand in host.cached] == [1]
    assert Timer.CONFIRM not in host.timers


def test_in_sync_is_what_the_controller_says(host: Host) -> None:
    confirmed(host)
    assert host.phase == "SYNCING"
    host.hear(stream.InSync(1))
    assert host.phase == "IN_SYNC"


def test_a_delta_leads_from_what_is_confirmed_to_what_is_signed(host: Host) -> None:
    before = confirmed(host, 1, entries(2, 3))
    body = (before.digest, {Section.PEERS: [3]}, {Section.PEERS: {4: b"peer 4"}})
    host.policy(release(2, entries(2, 4)), body)
    assert host.control.unconfirmed is not None
    assert host.control.unconfirmed.peers == {2, 4}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ((b"x" * 32, {}, {}), NackReason.DELTA),
        (None, NackReason.DELTA),
        (entries(9), NackReason.DELTA),
    ],
    ids=["other base", "unchanged", "other content"],
)
def test_what_does_not_lead_to_the_signed_digest_is_refused(
    host: Host, body: object, reason: NackReason
) -> None:
    confirmed(host, 1, entries(2))
    host.policy(release(2, entries(3)), body)
    assert [nack.reason for nack in host.nacks] == [reason]
    assert host.phase == "SYNCING"


def test_what_is_for_others_old_ended_or_of_the_future_is_refused(host: Host) -> None:
    of = confirmed(host, 5)
    wrong = {
        replace(of, version=6, audience=ELSEWHERE): NackReason.AUDIENCE,
        replace(of, version=4): NackReason.OLDER,
        replace(of, store_epoch=0, version=99): NackReason.OLDER,
        replace(of, issued=of.issued - 1): NackReason.OLDER,
        replace(of, version=6, expires=int(UNIX) - 1): NackReason.TIME,
        replace(of, version=6, issued=int(UNIX) + 301): NackReason.TIME,
    }
    for one, reason in wrong.items():
        host.policy(one, None)
        assert host.nacks[-1].reason is reason, one
    assert host.control.confirmed is not None
    assert host.control.confirmed.release == of


def test_a_higher_epoch_of_the_store_goes_before_a_higher_version(host: Host) -> None:
    confirmed(host, 50)
    host.policy(release(3, EMPTY, epoch=2), EMPTY)
    assert host.nacks == []


def test_records_and_keys_are_of_this_host_and_newer_than_what_is_held(host: Host) -> None:
    host.hear(stream.RecordCame(2, replace(RECORD, host=8, serial=9)))
    host.hear(stream.RecordCame(3, RECORD))
    host.hear(stream.KeysCame(4, replace(keys(9), host=8)))
    host.hear(stream.KeysCame(5, keys(9)))
    host.hear(stream.KeysCame(6, keys(9)))
    reasons = [(nack.nonce, nack.reason) for nack in host.nacks]
    assert reasons == [
        (2, NackReason.AUDIENCE),
        (3, NackReason.OLDER),
        (4, NackReason.AUDIENCE),
        (6, NackReason.OLDER),
    ]
    assert [ack.nonce for ack in host.acks] == [5]


def test_keys_that_come_alone_come_into_force_under_the_policy_that_is_there(host: Host) -> None:
    confirmed(host, 1, entries(2))
    host.hear(stream.KeysCame(7, keys(9, 2)))
    assert host.assembled[-1].stand.ring.serial == 9
    assert host.assembled[-1].stand.release.version == 1
    assert host.cached[-1].ring.serial == 9


def test_a_record_of_another_audience_waits_for_its_release(host: Host) -> None:
    confirmed(host)
    count = len(host.assembled)
    host.hear(stream.RecordCame(7, replace(RECORD, serial=6, audience=ELSEWHERE)))
    assert len(host.assembled) == count
    host.policy(replace(release(2), audience=ELSEWHERE), EMPTY)
    assert host.assembled[-1].stand.record.serial == 6


def test_keys_of_hosts_that_are_no_peers_any_more_are_gone_when_it_is_confirmed(
    host: Host,
) -> None:
    host.hear(stream.KeysCame(7, keys(9, 2, 3)))
    confirmed(host, 1, entries(2))
    assert host.cached[-1].ring.keys(2)
    assert not host.cached[-1].ring.keys(3)


def test_one_thing_at_a_time_is_on_its_way_into_the_kernel(host: Host) -> None:
    confirmed(host)
    host.kernel = False
    host.hear(stream.KeysCame(7, keys(9)))
    host.policy(release(2), EMPTY)
    assert [command.stand.release.version for command in host.assembled[1:]] == [1]
    host.apply()
    assert [command.stand.release.version for command in host.assembled[1:]] == [1, 2]


def test_what_the_kernel_has_no_room_for_is_refused_as_such(host: Host) -> None:
    host.kernel = False
    nonce = host.policy(release(1), EMPTY)
    host.carry_out(host.control.not_applied(NackReason.TOO_LARGE, "too large"))
    assert host.nacks == [Nack(nonce, NackReason.TOO_LARGE, "too large", 1, 1)]
    assert host.control.refused == "too large"


# Taking back.


def test_a_policy_under_which_nobody_is_heard_is_taken_back_and_said_so(host: Host) -> None:
    confirmed(host, 1, entries(2))
    nonce = host.policy(release(2, entries(3)), entries(3))
    host.at += 10
    host.fire(Timer.CONFIRM)
    assert host.assembled[-1].stand.release.version == 1
    assert not host.assembled[-1].opened
    assert host.control.unconfirmed is None
    assert (host.nacks[-1].nonce, host.nacks[-1].reason) == (nonce, NackReason.UNCONFIRMED)
    assert [stand.release.version for stand in host.cached] == [1]
    host.end()
    host.fire(Timer.CONNECT)
    refused = host.opened[-1].hello.refused
    assert refused is not None
    assert (refused.nonce, refused.version) == (0, 2)
    host.welcome()
    host.reconnect()
    assert host.opened[-1].hello.refused is None, "it was heard"


def test_where_nothing_was_before_it_everything_passes_again(host: Host) -> None:
    host.policy(release(1), EMPTY)
    host.fire(Timer.CONFIRM)
    assert host.assembled[-1].opened
    assert host.control.unconfirmed is host.control.confirmed is None


def test_a_stream_that_breaks_meanwhile_comes_back_at_once_and_confirms(host: Host) -> None:
    confirmed(host)
    host.policy(release(2), EMPTY)
    host.end()
    assert host.timers[Timer.CONNECT] < 0.5
    host.fire(Timer.CONNECT)
    hello = host.opened[-1].hello
    assert hello.policy is not None
    assert hello.unconfirmed is not None
    assert (hello.policy.version, hello.unconfirmed.version) == (1, 2)
    host.welcome(confirmed=True)
    assert host.control.confirmed is not None
    assert host.control.confirmed.release.version == 2


def test_a_connection_older_than_the_first_policy_confirms_nothing() -> None:
    host = Host().begin()
    host.welcome()
    host.hear(stream.RecordCame(1, RECORD))
    host.hear(stream.Confirmed(host.policy(release(1), EMPTY)))
    assert host.control.confirmed is None
    assert len(host.opened) == 2
    host.welcome(confirmed=True)
    assert host.control.confirmed is not None


def test_a_confirm_of_another_nonce_or_stream_confirms_nothing(host: Host) -> None:
    nonce = host.policy(release(1), EMPTY)
    host.hear(stream.Confirmed(nonce + 1))
    host.hear(stream.Confirmed(nonce), number=99)
    host.reconnect()
    host.hear(stream.Confirmed(nonce))
    assert host.control.confirmed is None


def test_a_return_that_the_kernel_refuses_is_tried_again(host: Host) -> None:
    confirmed(host)
    host.policy(release(2), EMPTY)
    host.kernel = False
    host.fire(Timer.CONFIRM)
    host.carry_out(host.control.not_applied(NackReason.KERNEL, "busy"))
    assert Timer.CONFIRM in host.timers
    host.kernel = True
    host.fire(Timer.CONFIRM)
    assert host.control.unconfirmed is None


# Connecting.


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
