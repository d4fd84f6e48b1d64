# SPDX-License-Identifier: Apache-2.0
"""The edges of the agent's end of the policy stream, played for `Control`: no clock but the test's,
and a kernel that does as it is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.core import content, events, stream
from agent.core.commands import Command
from agent.core.content import Entries, Section
from agent.core.control import Control, Enrolled
from agent.core.held import KeySet, Record, Release, Stand
from agent.core.keyring import KeyUpdate
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


def welcomed() -> Host:
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
