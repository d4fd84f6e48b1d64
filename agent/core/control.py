# SPDX-License-Identifier: Apache-2.0
"""The agent's end of the policy stream: `Control.handle(event) -> list[Command]`. Pure.

offline -> connecting -> syncing -> (unconfirmed) -> in_sync. What it decides: when to connect, what
Hello says, what is taken and what refused, and that a policy under which no controller is heard is
taken back. What comes into the kernel goes the way of every policy (agent.core.intake): here a
snapshot is only asked for, and what became of it is told to `applied` and `not_applied`.

One thing at a time is on its way into the kernel. Records and keys are taken at once, for they
change nothing by themselves, and come into force with the policy that follows, or alone if none
does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from agent.core import acceptance, stream
from agent.core.acceptance import Refused
from agent.core.backoff import MOST_SECONDS, Backoff
from agent.core.commands import Command, Level, Log
from agent.core.events import Event, PolicyApplied, SnapshotRead, Source
from agent.core.held import KeySet, NackReason, Record, Release, Stand
from agent.core.keyring import KeyRing
from agent.core.stream import Nack, Say, SetTimer, Timer

WELCOME_SECONDS = 30.0
"""From the opening of a stream to Welcome; a controller that is busy says so instead."""
UNCONFIRMED_SECONDS = 0.2
"""Between attempts while a policy waits for its proof."""
MOST_UNANSWERED = 3
RENEW_AT_MOST = 3600.0
"""Timers follow the monotonic clock, certificates the wall's: looked at again so often."""
RENEW_RETRY = 60.0
RESYNC_SECONDS = 120.0
MAX_CONFIRM_SECONDS = 300


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
    """What is public is for reading."""

    def __init__(self, enrolled: Enrolled) -> None:
        self.in_sync = False
        """On the open stream everything of the moment of Hello has come."""
        self.refused = ""
        """Why the newest policy from the controller is not in force; empty if it is."""
        self.controller = ""
        """Who was heard last."""
        self.confirmed: Stand | None = None
        self.unconfirmed: Stand | None = None
        self._enrolled = enrolled
        self._key_set = enrolled.key_set
        self._controllers = enrolled.controllers
        self._renew_after = enrolled.renew_after
        self._record: Record | None = None
        self._ring = KeyRing()
        self._floor: Release | None = None
        self._epoch_seconds = 0
        self._begun = False
        self._open = False
        self._welcomed = False
        self._stream = 0
        self._judged_from: int | None = None
        self._backoff = Backoff()
        self._away: stream.GoingAway | None = None
        self._clock_offset = 0.0
        self._heartbeat_seconds = 15.0
        self._confirm_seconds = 10.0
        self._beats = 0
        self._unanswered = 0
        self._waiting: deque[stream.PolicyCame] = deque()
        self._changed = False
        self._job: _Job | None = None
        self._acked = (0, 0)
        self._unheard: Nack | None = None
        self._resynced = -RESYNC_SECONDS
        self._at = 0.0

    @property
    def phase(self) -> Phase:
        if self.unconfirmed is not None:
            return Phase.UNCONFIRMED
        if not self._open:
            return Phase.OFFLINE
        if not self._welcomed:
            return Phase.CONNECTING
        return Phase.IN_SYNC if self.in_sync else Phase.SYNCING

    @property
    def in_force(self) -> Stand | None:
        return self.unconfirmed or self.confirmed

    def unix(self, at: float) -> float:
        """The controller's time, once one was heard."""
        return self._clock_offset + at

    # Told by the agent.

    def _restore(self, stand: Stand) -> None:
        """It was confirmed in an earlier run."""
        self.confirmed = self._raise_floor(stand)
        self._record, self._ring = stand.record, stand.ring

    def cache_not_applied(self) -> None:
        """It is not in force, and still nothing older may be taken."""
        self.confirmed = None

    def begin(self, at: float, unix: float, random: float) -> list[Command]:
        """The datapath is loaded, and the cache in force if there is one. Once."""
        if self._begun:
            return []
        self._begun, self._at = True, at
        self._clock_offset = unix - at
        return [self._renew_timer(at), *self._connect(random)]

    def read(self, event: SnapshotRead) -> None:
        """The cache at start, or what was asked for here: good, and on its way."""
        self._epoch_seconds = event.snapshot.settings.epoch_seconds
        if event.source is Source.CACHE and event.stand is not None:
            self._restore(event.stand)

    def applied(self, event: PolicyApplied) -> list[Command]:
        """Something of the agent's is in force: the cache's, or what was asked for here."""
        if self._judged_from is None:
            self._judged_from = self._stream + 1
        job, self._job = self._job, None
        if job is None:
            return []
        ends = {Kind.POLICY: self._switched, Kind.REKEY: self._rekeyed, Kind.RETURN: self._returned}
        return [*ends[job.kind](job, event), *self._go_on(self._at)]

    def not_applied(self, reason: NackReason, sentence: str) -> list[Command]:
        """What was asked for here is not in force, and will not be."""
        job, self._job = self._job, None
        if job is None:
            return []
        commands: list[Command] = []
        if job.kind is Kind.POLICY:
            commands = self._nack(job.stream, job.nonce, Refused(reason, sentence), job.stand)
        elif job.kind is Kind.RETURN:
            commands = [SetTimer(Timer.CONFIRM, self._confirm_seconds)]
        return [*commands, *self._go_on(self._at)]

    def handle(self, event: Event) -> list[Command]:
        self._at = max(self._at, getattr(event, "at", 0.0))
        match event:
            case stream.StreamSaid():
                if event.number != self._stream or not self._open:
                    return []
                return self._on_said(event)
            case stream.StreamEnded():
                return self._on_ended(event) if event.number == self._stream else []
            case stream.TimerFired():
                return self._on_timer(event)
            case stream.CertificateRenewed():
                return self._on_renewed(event)
            case stream.CertificateNotRenewed():
                said = _log(
                    Level.WARNING,
                    "the certificate could not be renewed, will retry in a minute",
                    reason=event.reason,
                )
                return [said, SetTimer(Timer.RENEW, RENEW_RETRY * (0.5 + event.random))]
            case _:
                raise AssertionError(f"unexpected event: {event}")

    # Streams.

    def _connect(self, random: float) -> list[Command]:
        self._stream += 1
        self._open, self._welcomed, self.in_sync = True, False, False
        self._away, self._unanswered = None, 0
        self._waiting.clear()
        controller = self._controllers[int(random * len(self._controllers))]
        return [
            stream.OpenStream(self._stream, controller, self._hello()),
            SetTimer(Timer.WELCOME, WELCOME_SECONDS),
            SetTimer(Timer.BEAT, None),
        ]

    def _hello(self) -> stream.Hello:
        return stream.Hello(
            host=self._enrolled.host,
            host_name=self._enrolled.host_name,
            policy=self.confirmed.release if self.confirmed else None,
            unconfirmed=self.unconfirmed.release if self.unconfirmed else None,
            record_serial=self._record.serial if self._record else 0,
            keys_serial=self._ring.serial,
            last_epoch=self._ring.last_epoch,
            key_set_serial=self._key_set.serial,
            refused=replace(self._unheard, nonce=0) if self._unheard else None,
        )

    def _on_ended(self, event: stream.StreamEnded) -> list[Command]:
        return self._offline(event.random, event.retry_seconds, event.reason, event.sentence)

    def _offline(self, random: float, retry: float, reason: str, sentence: str) -> list[Command]:
        """The stream is over; when the next one begins."""
        lasted = self.in_sync
        away = self._away
        self._open, self._welcomed, self.in_sync = False, False, False
        self._waiting.clear()
        wait = self._wait(random, max(retry, away.retry_seconds if away else 0.0), reason)
        commands: list[Command] = [
            SetTimer(Timer.WELCOME, None),
            SetTimer(Timer.BEAT, None),
            SetTimer(Timer.CONNECT, wait),
        ]
        if lasted or self._backoff.attempts in (1, 4, 7):
            said = away.sentence if away and away.sentence else sentence
            commands.append(
                _log(
                    Level.ERROR if reason in ("STORE_BEHIND", "REVOKED") else Level.WARNING,
                    "no controller is heard, policy stays and enforcement goes on",
                    reason=reason,
                    what=said,
                    retry_seconds=round(wait, 2),
                )
            )
        if away is not None and away.why is stream.Away.CERTIFICATE:
            commands.append(stream.RenewCertificate())
        return commands

    def _wait(self, random: float, least: float, reason: str) -> float:
        if self.unconfirmed is not None:
            return UNCONFIRMED_SECONDS
        if reason in ("STORE_BEHIND", "REVOKED"):
            least = max(least, MOST_SECONDS / 2)
        return least * (1 + random) + self._backoff.wait(random)

    def _on_timer(self, event: stream.TimerFired) -> list[Command]:
        match event.timer:
            case Timer.CONNECT:
                return [] if self._open else self._connect(event.random)
            case Timer.WELCOME:
                return self._give_up(event, "no Welcome came")
            case Timer.CONFIRM:
                return self._take_back(event.at)
            case Timer.BEAT:
                return self._on_beat(event)
            case Timer.RENEW:
                if self.unix(event.at) < self._renew_after:
                    return [self._renew_timer(event.at)]
                return [stream.RenewCertificate()]

    def _give_up(self, event: stream.TimerFired, sentence: str) -> list[Command]:
        if not self._open:
            return []
        gone = self._offline(event.random, 0.0, "SILENT", sentence)
        return [stream.CloseStream(), *gone]

    def _on_beat(self, event: stream.TimerFired) -> list[Command]:
        if not self._welcomed:
            return []
        if self._unanswered >= MOST_UNANSWERED:
            return self._give_up(event, f"{MOST_UNANSWERED} heartbeats were not answered")
        self._beats += 1
        self._unanswered += 1
        held = self.in_force
        beat = stream.Beat(self._beats, held.release.version if held else 0)
        seconds = self._heartbeat_seconds * (0.8 + 0.4 * event.random)
        commands: list[Command] = [Say(beat), SetTimer(Timer.BEAT, seconds)]
        if self._ring.crowded and event.at - self._resynced >= RESYNC_SECONDS:
            self._resynced = event.at
            commands.append(Say(stream.AskKeys()))
        return commands

    # What the controller says.

    def _on_said(self, event: stream.StreamSaid) -> list[Command]:
        message, at = event.message, event.at
        match message:
            case stream.Welcome():
                return self._on_welcome(message, event)
            case stream.RecordCame():
                return self._taking(message.nonce, lambda: self._take_record(message), at)
            case stream.KeysCame():
                return self._taking(message.nonce, lambda: self._take_keys(message, at), at)
            case stream.PolicyCame():
                self._waiting.append(message)
                return self._go_on(at)
            case stream.BadCame():
                refusal = Refused(message.reason, message.sentence)
                return self._nack(
                    self._stream, message.nonce, refusal, None, message.version, message.store_epoch
                )
            case stream.Confirmed():
                return self._on_confirmed(message, event)
            case stream.InSync():
                self.in_sync = True
                self._backoff.reset()
                return [_log(Level.INFO, "in sync", controller=self.controller)]
            case stream.BeatAnswered():
                self._unanswered = 0
                self._clock_offset = message.now - at
                return []
            case stream.GoingAway():
                self._away = message
                return []
            case _:
                raise AssertionError(f"unexpected message: {message}")

    def _on_welcome(self, message: stream.Welcome, event: stream.StreamSaid) -> list[Command]:
        self._welcomed, self._unheard = True, None
        self.controller = message.controller
        self._clock_offset = message.now - event.at
        self._heartbeat_seconds = float(message.heartbeat_seconds)
        self._confirm_seconds = float(message.confirm_seconds)
        commands: list[Command] = [
            SetTimer(Timer.WELCOME, None),
            SetTimer(Timer.BEAT, self._heartbeat_seconds * (0.5 + 0.5 * event.random)),
        ]
        commands += self._take_key_set(message.key_set)
        commands += self._take_controllers(message.controllers)
        if message.confirmed and self.unconfirmed is not None:
            commands += self._confirm(event.at)
        return commands

    def _take_key_set(self, came: KeySet | None) -> list[Command]:
        if came is None or came.serial <= self._key_set.serial:
            return []
        self._key_set = came
        return [stream.WriteKeySet(came)]

    def _take_controllers(self, controllers: tuple[str, ...]) -> list[Command]:
        if not controllers or controllers == self._controllers:
            return []
        self._controllers = controllers
        return [stream.WriteControllers(controllers)]

    def _taking(self, nonce: int, take: Callable[[], None], at: float) -> list[Command]:
        try:
            take()
        except Refused as refusal:
            return self._nack(self._stream, nonce, refusal, None)
        return [Say(stream.Ack(nonce)), *self._go_on(at)]

    def _take_record(self, message: stream.RecordCame) -> None:
        self._record = acceptance.record(message.record, self._enrolled.host, self._record)
        self._changed = True

    def _take_keys(self, message: stream.KeysCame, at: float) -> None:
        ring = acceptance.keys(message.keys, self._enrolled.host, self._ring)
        self._ring = ring.drop(ring.peers, self._epoch(at), self.unix(at))
        self._changed = True

    def _epoch(self, at: float) -> int:
        """0 as long as no policy has said how long one is: nothing is dropped then."""
        return int(self.unix(at)) // self._epoch_seconds if self._epoch_seconds else 0

    # Into the kernel, one after the other.

    def _go_on(self, at: float) -> list[Command]:
        commands: list[Command] = []
        while self._job is None and self._waiting:
            commands += self._take_policy(self._waiting.popleft(), at)
        if self._job is None and self._changed:
            commands += self._rekey(at)
        return commands

    def _take_policy(self, came: stream.PolicyCame, at: float) -> list[Command]:
        try:
            acceptance.release(came.release, self._record, self._floor, self.unix(at))
            entries = acceptance.entries(came.body, self.confirmed, came.release.digest)
        except Refused as refusal:
            head = came.release
            return self._nack(
                self._stream, came.nonce, refusal, None, head.version, head.store_epoch
            )
        assert self._record is not None, "a release is accepted by its audience"
        stand = Stand(self._record, came.release, entries, self._ring)
        self._changed = False
        return self._start(_Job(Kind.POLICY, stand, came.nonce, self._stream), at)

    def _rekey(self, at: float) -> list[Command]:
        """Newer keys, or a newer record for the same audience, under the policy that is there."""
        held = self.in_force
        if held is None or self._record is None:
            return []
        if self._record.audience != held.release.audience:
            return []
        self._changed = False
        stand = replace(held, record=self._record, ring=self._ring)
        return self._start(_Job(Kind.REKEY, stand), at)

    def _start(self, job: _Job, at: float, *, opened: bool = False) -> list[Command]:
        self._job = job
        fresh = job.kind is Kind.POLICY
        now = self.unix(at)
        return [stream.AssemblePolicy(self._stream, job.stand, now, opened, fresh)]

    def _switched(self, job: _Job, event: PolicyApplied) -> list[Command]:
        self.unconfirmed = job.stand
        self._acked = (job.stream, job.nonce)
        self.refused = ""
        commands: list[Command] = [SetTimer(Timer.CONFIRM, self._confirm_seconds)]
        if job.stream == self._stream and self._welcomed:
            took = int(event.seconds * 1000)
            version = job.stand.release.version
            commands.append(Say(stream.Ack(job.nonce, version, took, event.entries)))
        elif not self._open:
            commands.append(SetTimer(Timer.CONNECT, UNCONFIRMED_SECONDS))
        return commands

    def _rekeyed(self, job: _Job, event: PolicyApplied) -> list[Command]:
        if self.unconfirmed is not None:
            self.unconfirmed = job.stand
            return []
        self.confirmed = job.stand
        return [stream.WritePolicyCache(job.stand, self._key_set)]

    # Commit-confirm.

    def _on_confirmed(self, message: stream.Confirmed, event: stream.StreamSaid) -> list[Command]:
        if self.unconfirmed is None or self._acked != (self._stream, message.nonce):
            return []
        if self._judged_from is None or self._stream >= self._judged_from:
            return self._confirm(event.at)
        # This connection is older than the first policy, which lets it pass unjudged for a while,
        # so it proves nothing. The next one's Welcome does.
        return [stream.CloseStream(), *self._connect(event.random)]

    def _confirm(self, at: float) -> list[Command]:
        stand = self.unconfirmed
        assert stand is not None, "it was looked at before"
        peers = stand.peers
        self._ring = self._ring.drop(peers, self._epoch(at), self.unix(at))
        ring = stand.ring.drop(peers, self._epoch(at), self.unix(at))
        self.confirmed = self._raise_floor(replace(stand, ring=ring))
        self.unconfirmed, self._acked = None, (0, 0)
        return [
            SetTimer(Timer.CONFIRM, None),
            stream.WritePolicyCache(self.confirmed, self._key_set),
            _log(Level.INFO, "policy confirmed", version=stand.release.version,
                 controller=self.controller),
        ]  # fmt: skip

    def _raise_floor(self, stand: Stand) -> Stand:
        if self._floor is None or stand.release.order > self._floor.order:
            self._floor = stand.release
        return stand

    def _take_back(self, at: float) -> list[Command]:
        if self.unconfirmed is None:
            return []
        if self._job is not None:  # what is on its way may be what helps
            return [SetTimer(Timer.CONFIRM, self._confirm_seconds)]
        said = _log(
            Level.ERROR,
            "no controller is heard under the new policy, taking it back",
            version=self.unconfirmed.release.version,
            seconds=self._confirm_seconds,
        )
        before = self.confirmed
        job = _Job(Kind.RETURN, before or self.unconfirmed)
        return [said, *self._start(job, at, opened=before is None)]

    def _returned(self, job: _Job, event: PolicyApplied) -> list[Command]:
        taken_back = self.unconfirmed
        assert taken_back is not None, "it was in force"
        self.unconfirmed = None
        seconds = f"{self._confirm_seconds:.0f} s"
        refusal = Refused(
            NackReason.UNCONFIRMED, f"no controller was heard under it within {seconds}"
        )
        acked, self._acked = self._acked, (0, 0)
        self._changed = self._ring.order != job.stand.ring.order
        return self._nack(acked[0], acked[1], refusal, taken_back)

    def _nack(
        self,
        number: int,
        nonce: int,
        refusal: Refused,
        stand: Stand | None,
        version: int = 0,
        store_epoch: int = 0,
    ) -> list[Command]:
        """Said now if the stream still is, and in the next Hello in any case where none is sure."""
        if stand is not None:
            version, store_epoch = stand.release.version, stand.release.store_epoch
        nack = Nack(nonce, refusal.reason, str(refusal), version, store_epoch)
        if version:
            self.refused = str(refusal)
        said = _log(
            Level.WARNING,
            "refused what the controller sent, what was in force stays",
            version=version,
            why=refusal.reason.name.lower(),
            reason=str(refusal),
        )
        heard = number == self._stream and self._welcomed
        if version and (not heard or refusal.reason is NackReason.UNCONFIRMED):
            self._unheard = nack
        return [said, Say(nack)] if heard else [said]

    # Certificates.

    def _on_renewed(self, event: stream.CertificateRenewed) -> list[Command]:
        self._renew_after = event.renew_after
        return [
            _log(Level.INFO, "certificate renewed", renew_after=int(event.renew_after)),
            *self._take_key_set(event.key_set),
            *self._take_controllers(event.controllers),
            self._renew_timer(event.at),
        ]

    def _renew_timer(self, at: float) -> Command:
        left = self._renew_after - self.unix(at)
        return SetTimer(Timer.RENEW, min(max(left, 1.0), RENEW_AT_MOST))


def _log(level: Level, message: str, **fields: str | int | float) -> Log:
    return Log(level, message, tuple(fields.items()))
