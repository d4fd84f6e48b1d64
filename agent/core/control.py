# SPDX-License-Identifier: Apache-2.0
"""The agent's end of the policy stream: `Control.handle(event) -> list[Command]`. Pure.

offline -> connecting -> syncing -> (unconfirmed) -> in_sync. What it decides: when to connect, what
Hello says, what is taken and what refused, and that a policy under which no controller is heard is
taken back. What comes into the kernel goes the way of every policy (agent.core.intake): here a
snapshot is only asked for, and what became of it is told to `applied` and `not_applied`. One thing
at a time is on its way.

Long, because it is one state machine: what has a state of its own (the line, what is held, renewal)
has its module, and what is left changes the same few fields in every method.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from agent.core import stream
from agent.core.acceptance import Refused
from agent.core.commands import Command, Level, log
from agent.core.events import Event, PolicyApplied, SnapshotRead, Source
from agent.core.held import KeySet, NackReason, Release, Stand
from agent.core.holding import Holding
from agent.core.line import URGENT_SECONDS, Line
from agent.core.renewal import Renewal
from agent.core.stream import Nack, Say, SetTimer, Timer

RESYNC_SECONDS = 120.0


class Phase(Enum):
    OFFLINE = "offline"
    CONNECTING = "connecting"
    SYNCING = "syncing"
    UNCONFIRMED = "unconfirmed"
    IN_SYNC = "in_sync"


class Kind(Enum):
    """Why something is on its way into the kernel."""

    POLICY = 0
    REKEY = 1
    RETURN = 2


@dataclass(frozen=True, slots=True)
class _Job:
    """nonce and stream: what is to be answered, and where."""

    kind: Kind
    stand: Stand
    nonce: int = 0
    stream: int = 0


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What joining left on the host. renew_after: unix seconds."""

    host: int
    host_name: str
    controllers: tuple[str, ...]
    key_set: KeySet
    renew_after: float


class Control:
    """What is public is for reading.

    refused: why the newest policy from the controller is not in force; empty if it is.
    controller: who was heard last.
    """

    def __init__(self, enrolled: Enrolled) -> None:
        self.refused = ""
        self.controller = ""
        self._enrolled = enrolled
        self._key_set = enrolled.key_set
        self._line = Line(enrolled.controllers)
        self._held = Holding(enrolled.host)
        self._renewal = Renewal(enrolled.renew_after)
        self._begun = False
        self._judged_from: int | None = None
        self._at = 0.0
        self._clock_offset = 0.0
        self._confirm_seconds = 10.0
        self._waiting: deque[stream.PolicyCame] = deque()
        self._job: _Job | None = None
        self._acked = (0, 0)
        self._unheard: Nack | None = None
        self._resynced = -RESYNC_SECONDS

    @property
    def phase(self) -> Phase:
        if self.unconfirmed is not None:
            return Phase.UNCONFIRMED
        if not self._line.open:
            return Phase.OFFLINE
        if not self._line.welcomed:
            return Phase.CONNECTING
        return Phase.IN_SYNC if self.in_sync else Phase.SYNCING

    @property
    def in_sync(self) -> bool:
        return self._line.in_sync

    @property
    def speaking(self) -> int:
        """The number of the stream on which everything has come; 0 where there is none."""
        return self._line.number if self.in_sync else 0

    @property
    def heartbeat_seconds(self) -> float:
        """How often the controller wants to hear of us."""
        return self._line.heartbeat_seconds

    def clock_offset(self, at: float, unix: float) -> float:
        """Seconds by which a host's clock that says `unix` at the moment `at` is ahead of the
        controller's."""
        return unix - (self._clock_offset + at)

    @property
    def confirmed(self) -> Stand | None:
        return self._held.confirmed

    @property
    def unconfirmed(self) -> Stand | None:
        return self._held.unconfirmed

    def _now(self) -> float:
        """Unix seconds, by the controller's clock once one was heard."""
        return self._clock_offset + self._at

    # Told by the agent.

    def read(self, event: SnapshotRead) -> None:
        """The cache at start, or what was asked for here: good, and on its way."""
        self._held.epoch_seconds = event.snapshot.settings.epoch_seconds
        if event.source is Source.CACHE and event.stand is not None:
            self._held.restore(event.stand)

    def cache_not_applied(self) -> None:
        """It is not in force, and still nothing older may be taken."""
        self._held.confirmed = None

    def begin(self, at: float, unix: float, random: float) -> list[Command]:
        """The datapath is attached, and the cache in force if there is one. Once."""
        if self._begun:
            return []
        self._begun, self._at = True, at
        self._clock_offset = unix - at
        return [self._renewal.timer(self._now()), *self._connect(random)]

    def applied(self, event: PolicyApplied) -> list[Command]:
        """Something of the agent's is in force: the cache's, or what was asked for here."""
        if self._judged_from is None:
            self._judged_from = self._line.number + 1
        job, self._job = self._job, None
        if job is None:
            return []
        ends = {Kind.POLICY: self._switched, Kind.REKEY: self._rekeyed, Kind.RETURN: self._returned}
        return [*ends[job.kind](job, event), *self._go_on()]

    def not_applied(self, reason: NackReason, sentence: str) -> list[Command]:
        """What was asked for here is not in force, and will not be."""
        job, self._job = self._job, None
        if job is None:
            return []
        commands: list[Command] = []
        if job.kind is Kind.POLICY:
            nack = _nack(job.nonce, Refused(reason, sentence), job.stand.release)
            commands = self._refuse(nack, job.stream)
        elif job.kind is Kind.RETURN:
            commands = [SetTimer(Timer.CONFIRM, self._confirm_seconds)]
        return [*commands, *self._go_on()]

    def handle(self, event: Event) -> list[Command]:
        self._at = max(self._at, getattr(event, "at", 0.0))
        match event:
            case stream.StreamSaid():
                if event.number != self._line.number or not self._line.open:
                    return []
                return self._on_said(event.message, event.random)
            case stream.StreamEnded():
                return self._on_ended(event) if event.number == self._line.number else []
            case stream.TimerFired():
                return self._on_timer(event.timer, event.random)
            case stream.CertificateRenewed():
                return [
                    *self._renewal.renewed(event, self._now()),
                    *self._take_key_set(event.key_set),
                    *self._take_controllers(event.controllers),
                ]
            case stream.CertificateNotRenewed():
                return self._renewal.failed(event)
            case _:
                raise AssertionError(f"unexpected event: {event}")

    # The line.

    def _connect(self, random: float) -> list[Command]:
        self._waiting.clear()
        return self._line.connect(self._hello(), random)

    def _hello(self) -> stream.Hello:
        held = self._held
        return stream.Hello(
            host=self._enrolled.host,
            host_name=self._enrolled.host_name,
            policy=held.confirmed.release if held.confirmed else None,
            unconfirmed=held.unconfirmed.release if held.unconfirmed else None,
            record_serial=held.record.serial if held.record else 0,
            keys_serial=held.ring.serial,
            last_epoch=held.ring.last_epoch,
            key_set_serial=self._key_set.serial,
            refused=replace(self._unheard, nonce=0) if self._unheard else None,
        )

    def _on_ended(self, event: stream.StreamEnded) -> list[Command]:
        self._waiting.clear()
        return self._line.end(event, urgent=self.unconfirmed is not None)

    def _give_up(self, sentence: str, random: float) -> list[Command]:
        if not self._line.open:
            return []
        number = self._line.number
        ended = stream.StreamEnded(number, "SILENT", sentence, 0.0, self._at, random)
        return [stream.CloseStream(), *self._on_ended(ended)]

    def _on_timer(self, timer: Timer, random: float) -> list[Command]:
        match timer:
            case Timer.CONNECT:
                return [] if self._line.open else self._connect(random)
            case Timer.WELCOME:
                return self._give_up("no Welcome came", random)
            case Timer.CONFIRM:
                return self._take_back()
            case Timer.BEAT:
                return self._on_beat(random)
            case Timer.RENEW:
                return self._renewal.fired(self._now())

    def _on_beat(self, random: float) -> list[Command]:
        if not self._line.welcomed:
            return []
        held = self._held.in_force
        commands = self._line.beat(held.release.version if held else 0, random)
        if commands is None:
            return self._give_up("heartbeats were not answered", random)
        if self._held.ring.crowded and self._at - self._resynced >= RESYNC_SECONDS:
            self._resynced = self._at
            commands.append(Say(stream.AskKeys()))
        return commands

    # What the controller says.

    def _on_said(self, message: stream.Down, random: float) -> list[Command]:
        match message:
            case stream.Welcome():
                return self._on_welcome(message, random)
            case stream.InSync():
                self._line.synced()
                return [log(Level.INFO, "in sync", controller=self.controller)]
            case stream.BeatAnswered():
                self._line.answered()
                self._clock_offset = message.now - self._at
                return []
            case stream.GoingAway():
                self._line.going_away(message)
                return []
            case stream.Confirmed():
                return self._on_confirmed(message, random)
            case _:
                return self._on_sent(message)

    def _on_sent(self, message: stream.Down) -> list[Command]:
        """Something that is to be answered."""
        match message:
            case stream.RecordCame(nonce=nonce, record=record):
                return self._take(nonce, lambda: self._held.take_record(record))
            case stream.KeysCame(nonce=nonce, keys=keys):
                return self._take(nonce, lambda: self._held.take_keys(keys, self._now()))
            case stream.PolicyCame():
                self._waiting.append(message)
                return self._go_on()
            case stream.BadCame():
                refusal = Refused(message.reason, message.sentence)
                return self._refuse(_nack(message.nonce, refusal, message.release))
            case _:
                raise AssertionError(f"unexpected message: {message}")

    def _on_welcome(self, message: stream.Welcome, random: float) -> list[Command]:
        self._unheard = None
        self.controller = message.controller
        self._clock_offset = message.now - self._at
        self._confirm_seconds = float(message.confirm_seconds)
        commands = [
            *self._line.welcome(message, random),
            *self._take_key_set(message.key_set),
            *self._take_controllers(message.controllers),
        ]
        if message.confirmed and self.unconfirmed is not None:
            commands += self._confirm()
        return commands

    def _take_key_set(self, came: KeySet | None) -> list[Command]:
        if came is None or came.serial <= self._key_set.serial:
            return []
        self._key_set = came
        return [stream.WriteKeySet(came)]

    def _take_controllers(self, controllers: tuple[str, ...]) -> list[Command]:
        if not controllers or controllers == self._line.controllers:
            return []
        self._line.controllers = controllers
        return [stream.WriteControllers(controllers)]

    def _take(self, nonce: int, take: Callable[[], None]) -> list[Command]:
        try:
            take()
        except Refused as refusal:
            return self._refuse(_nack(nonce, refusal, None))
        return [Say(stream.Ack(nonce)), *self._go_on()]

    # Into the kernel, one after the other.

    def _go_on(self) -> list[Command]:
        commands: list[Command] = []
        while self._job is None and self._waiting:
            commands += self._take_policy(self._waiting.popleft())
        if self._job is None:
            stand = self._held.rekeyed()
            if stand is not None:
                commands += self._start(_Job(Kind.REKEY, stand))
        return commands

    def _take_policy(self, came: stream.PolicyCame) -> list[Command]:
        try:
            stand = self._held.take_policy(came, self._now())
        except Refused as refusal:
            return self._refuse(_nack(came.nonce, refusal, came.release))
        return self._start(_Job(Kind.POLICY, stand, came.nonce, self._line.number))

    def _start(self, job: _Job, *, opened: bool = False) -> list[Command]:
        self._job = job
        fresh = job.kind is Kind.POLICY
        return [stream.AssemblePolicy(job.stand, self._now(), opened, fresh)]

    def _switched(self, job: _Job, event: PolicyApplied) -> list[Command]:
        self._held.unconfirmed = job.stand
        self._acked = (job.stream, job.nonce)
        self.refused = ""
        commands: list[Command] = [SetTimer(Timer.CONFIRM, self._confirm_seconds)]
        if self._speaking_on(job.stream):
            version, took = job.stand.release.version, int(event.seconds * 1000)
            commands.append(Say(stream.Ack(job.nonce, version, took, event.entries)))
        elif not self._line.open:
            commands.append(SetTimer(Timer.CONNECT, URGENT_SECONDS))
        return commands

    def _speaking_on(self, number: int) -> bool:
        return number == self._line.number and self._line.welcomed

    def _rekeyed(self, job: _Job, event: PolicyApplied) -> list[Command]:
        confirmed = self._held.put(job.stand)
        return [stream.WritePolicyCache(job.stand, self._key_set)] if confirmed else []

    # Commit-confirm.

    def _on_confirmed(self, message: stream.Confirmed, random: float) -> list[Command]:
        number = self._line.number
        if self.unconfirmed is None or self._acked != (number, message.nonce):
            return []
        if self._judged_from is None or number >= self._judged_from:
            return self._confirm()
        # This connection is older than the first policy, which lets it pass unjudged for a while,
        # so it proves nothing. The next one's Welcome does.
        return [stream.CloseStream(), *self._connect(random)]

    def _confirm(self) -> list[Command]:
        stand = self._held.confirm(self._now())
        self._acked = (0, 0)
        version = stand.release.version
        return [
            SetTimer(Timer.CONFIRM, None),
            stream.WritePolicyCache(stand, self._key_set),
            log(Level.INFO, "policy confirmed", version=version, controller=self.controller),
        ]

    def _take_back(self) -> list[Command]:
        if self.unconfirmed is None:
            return []
        if self._job is not None:  # what is on its way may be what helps
            return [SetTimer(Timer.CONFIRM, self._confirm_seconds)]
        said = log(
            Level.ERROR,
            "no controller is heard under the new policy, taking it back",
            version=self.unconfirmed.release.version,
            seconds=self._confirm_seconds,
        )
        before = self.confirmed
        job = _Job(Kind.RETURN, before or self.unconfirmed)
        return [said, *self._start(job, opened=before is None)]

    def _returned(self, job: _Job, event: PolicyApplied) -> list[Command]:
        taken_back = self._held.returned(job.stand)
        (number, nonce), self._acked = self._acked, (0, 0)
        sentence = f"no controller was heard under it within {self._confirm_seconds:.0f} s"
        refusal = Refused(NackReason.UNCONFIRMED, sentence)
        return self._refuse(_nack(nonce, refusal, taken_back.release), number)

    def _refuse(self, nack: Nack, number: int | None = None) -> list[Command]:
        """Said now where the stream still is, and in the next Hello where it may not be heard."""
        said = log(
            Level.WARNING,
            "refused what the controller sent, what was in force stays",
            version=nack.version,
            why=nack.reason.name.lower(),
            reason=nack.sentence,
        )
        heard = self._speaking_on(self._line.number if number is None else number)
        if nack.version:
            self.refused = nack.sentence
            if not heard or nack.reason is NackReason.UNCONFIRMED:
                self._unheard = nack
        return [said, Say(nack)] if heard else [said]


def _nack(nonce: int, refusal: Refused, release: Release | None) -> Nack:
    version, epoch = (release.version, release.store_epoch) if release else (0, 0)
    return Nack(nonce, refusal.reason, str(refusal), version, epoch)
