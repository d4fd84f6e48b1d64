# SPDX-License-Identifier: Apache-2.0
"""The controller's end of one policy stream: every order that the contract asks for. Pure.

What an agent is missing goes out as one batch (record, keys, policy, in this order) and nothing
more until all of it is answered: so a change merges into the next batch, keys are there before the
policy that needs them, and a record before the release of its audience. Time comes in with each
event; what there is to send is asked of a `Board`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from controller.board import Board
from controller.fleet.changes import HostRecordFields
from controller.keyserver import HeldKeys, after
from controller.needs import held_keys, held_of, store_behind, wants
from controller.refusals import Refusals
from controller.releases import Release
from controller.talk import (
    Acked,
    Action,
    Beat,
    Changed,
    End,
    Event,
    HeldPolicy,
    Hello,
    Nacked,
    NackReason,
    NoteEnforced,
    NoteRefused,
    Resync,
    SendBeat,
    SendConfirm,
    SendInSync,
    SendKeys,
    SendPolicy,
    SendRecord,
    Welcome,
)

PROTOCOL = 1
MOST_NACKS = 10
NACK_SECONDS = 60.0
RESYNC_SECONDS = 60.0
ANSWER_SECONDS = 120.0
"""After which an agent that beats and does not answer is cut off."""

Sent = SendRecord | SendKeys | SendPolicy


class Stream:
    """One stream of one host. `greet`, then `welcome`, then `handle` to the end.

    `begin`, when it is its turn to be brought in step: at once or in a while.
    """

    def __init__(self, host: int, name: str, board: Board) -> None:
        self.in_sync = False
        self.held: HeldPolicy | None = None
        self.host = host
        self._name = name
        self._board = board
        self._record = 0
        self._keys = HeldKeys()
        self._nonce = 0
        self._pending: dict[int, Sent] = {}
        self._sent_at = 0.0
        self._policy_nonce = 0
        self._before: HeldPolicy | None = None
        self._whole = False
        self._refused = Refusals()
        self._nacks: deque[float] = deque()
        self._resynced: dict[str, float] = {}
        self._welcome = Welcome(confirmed=False, key_set=False)
        self._begun = False

    @property
    def busy(self) -> bool:
        """Something is unanswered."""
        return bool(self._pending)

    # The beginning.

    def greet(self, hello: Hello, now: float) -> list[Action]:
        """An End if the stream cannot be, else nothing."""
        if hello.protocol != PROTOCOL:
            message = f"this controller speaks protocol {PROTOCOL}, not {hello.protocol}"
            return [End("FAILED_PRECONDITION", "PROTOCOL_VERSION", message)]
        if (hello.host, hello.name) != (self.host, self._name):
            message = f"the certificate is of host {self._name} ({self.host}), not of that in Hello"
            return [End("PERMISSION_DENIED", "WRONG_HOST", message)]
        if behind := store_behind(hello, self._board):
            return [End("FAILED_PRECONDITION", "STORE_BEHIND", behind)]
        self._take(hello, now)
        return []

    def _take(self, hello: Hello, now: float) -> None:
        board = self._board
        known = hello.unconfirmed is not None and board.known(hello.unconfirmed.digest)
        self.held = hello.unconfirmed if known else hello.policy
        key_set = hello.key_set_serial < board.key_set_serial
        self._welcome = Welcome(confirmed=bool(known), key_set=key_set)
        renewed = self.held is not None and self.held.store_epoch != board.head.store_epoch
        self._record = 0 if renewed else hello.record_serial
        self._keys = held_keys(board, self.held, hello.keys)
        if hello.refused is not None:
            order = (hello.refused.store_epoch, hello.refused.version)
            self._whole = hello.refused.reason == NackReason.DELTA
            if not self._whole:
                self._refused.add(order, hello.refused.reason, now)

    def wants(self, now: float) -> bool:
        """Whether it has to be brought in step: cheap, asked before `begin`."""
        record = self._board.record(self._name)
        if record is None:
            return False
        target = self._target(record)
        if record.serial != self._record or target is None:
            return True
        missing = self._board.keys_missing(self.host, target, self._keys)
        return missing or self._wants_policy(target, now)

    def welcome(self) -> list[Action]:
        """It is heard from now on."""
        actions: list[Action] = [self._welcome]
        if self.held is not None:
            actions.append(NoteEnforced(self._counts_as()))
        return actions

    def begin(self, now: float) -> list[Action]:
        """It is let in: what it is missing goes out."""
        self._begun = True
        return self._go_on(now)

    # What comes after.

    def handle(self, event: Event, now: float) -> list[Action]:
        """What to do now that `event` has happened. Nothing is to be done after an End."""
        match event:
            case Acked():
                return self._on_ack(event, now)
            case Nacked():
                return self._on_nack(event, now)
            case Beat():
                return self._on_beat(event, now)
            case Resync():
                return self._on_resync(event, now)
            case Changed():
                return self._pump(now) if self.in_sync else []
            case Hello():
                return [_protocol("Hello comes first, and once")]
            case _:
                raise AssertionError(f"unexpected event: {event}")

    def _on_ack(self, event: Acked, now: float) -> list[Action]:
        sent = self._pending.get(event.nonce)
        if sent is None:
            return [_protocol(f"nonce {event.nonce} is not waiting for an answer")]
        if isinstance(sent, SendPolicy) and event.version != sent.release.head.version:
            return [_protocol(f"nonce {event.nonce} is of another version than {event.version}")]
        del self._pending[event.nonce]
        actions: list[Action] = []
        match sent:
            case SendRecord():
                self._record = sent.record.serial
            case SendKeys():
                self._keys = after(self._keys, sent.keys)
            case SendPolicy():
                self._before, self.held = self.held, held_of(sent.release)
                self._policy_nonce, self._whole = event.nonce, False
                self._keep_keys_of(sent.release)
                actions = [SendConfirm(event.nonce), NoteEnforced(self._counts_as())]
        return [*actions, *self._go_on(now)]

    def _keep_keys_of(self, release: Release) -> None:
        """The agent drops keys of hosts that are no peers any more, when it is confirmed."""
        keys = self._keys
        if keys.peers is not None:
            self._keys = HeldKeys(keys.serial, keys.last_epoch, keys.peers & release.peers)

    def _on_nack(self, event: Nacked, now: float) -> list[Action]:
        if self._too_many(now):
            return [_protocol(f"more than {MOST_NACKS} refusals within {NACK_SECONDS:.0f} s")]
        taken_back = (
            event.reason == NackReason.UNCONFIRMED
            and event.nonce == self._policy_nonce
            and event.nonce not in self._pending
        )
        if taken_back:
            return self._on_taken_back(event, now)
        sent = self._pending.pop(event.nonce, None)
        if sent is None:
            return [_protocol(f"nonce {event.nonce} is not waiting for an answer")]
        if not isinstance(sent, SendPolicy):
            self._refused.pause(sent, now)
            return [NoteRefused((0, 0), event.message), *self._go_on(now)]
        order = (sent.release.head.store_epoch, sent.release.head.version)
        if event.reason == NackReason.DELTA and sent.base is not None:
            self._whole = True
            return self._pump(now)
        self._refused.add(order, event.reason, now)
        return [NoteRefused(order, event.message), *self._go_on(now)]

    def _on_taken_back(self, event: Nacked, now: float) -> list[Action]:
        """It was in force and acknowledged, and the agent has returned to what was before."""
        assert self.held is not None, "what was acknowledged is held"
        order, self.held, self._policy_nonce = self.held.order, self._before, 0
        self._refused.add(order, event.reason, now)
        self._keys = HeldKeys(self._keys.serial, self._keys.last_epoch, None)
        return [NoteRefused(order, event.message), *self._go_on(now)]

    def _too_many(self, now: float) -> bool:
        self._nacks.append(now)
        while self._nacks[0] <= now - NACK_SECONDS:
            self._nacks.popleft()
        return len(self._nacks) > MOST_NACKS

    def _on_beat(self, event: Beat, now: float) -> list[Action]:
        if self._pending and now - self._sent_at > ANSWER_SECONDS:
            message = f"no answer to nonce {min(self._pending)} for {ANSWER_SECONDS:.0f} s"
            return [End("UNAVAILABLE", "NO_ANSWER", message)]
        return [SendBeat(event.sequence), *(self._pump(now) if self.in_sync else [])]

    def _on_resync(self, event: Resync, now: float) -> list[Action]:
        for kind, asked in (("content", event.content), ("keys", event.keys)):
            if not asked:
                continue
            if now - self._resynced.get(kind, -RESYNC_SECONDS) < RESYNC_SECONDS:
                return [_protocol(f"{kind} was asked for whole less than a minute ago")]
            self._resynced[kind] = now
        if event.content:
            self._whole = True
        if event.keys:
            self._keys = HeldKeys(self._keys.serial, 0, None)
        return self._pump(now)

    # What is missing.

    def _go_on(self, now: float) -> list[Action]:
        """After a beginning or an answer: in sync, the first time that nothing is unanswered."""
        if self._pending:
            return []
        sends = self._pump(now)
        if not self.in_sync and not self._first_batch_follows(sends):
            self.in_sync = True
            return [SendInSync(self._counts_as()[1]), *sends]
        return sends

    def _first_batch_follows(self, sends: list[Action]) -> bool:
        return bool(sends) and self._nonce == len(sends)

    def _pump(self, now: float) -> list[Action]:
        """All that is missing, as one batch."""
        record = self._board.record(self._name)
        if self._pending or record is None or not self._begun:
            return []
        sends = list(self._missing(record, now))
        self._pending = {sent.nonce: sent for sent in sends}
        self._sent_at = now
        return list(sends)

    def _missing(self, record: HostRecordFields, now: float) -> Iterator[Sent]:
        if record.serial != self._record and not self._refused.paused("record", now):
            yield SendRecord(self._next(), record)
        target = self._target(record)
        if target is None:
            return
        if not self._refused.paused("keys", now):
            for keys in self._board.keys(self.host, target, self._keys):
                yield SendKeys(self._next(), keys)
        if self._wants_policy(target, now):
            base = None if self._whole or self.held is None else self.held.digest
            yield SendPolicy(self._next(), target, base)

    def _next(self) -> int:
        self._nonce += 1
        return self._nonce

    def _target(self, record: HostRecordFields) -> Release | None:
        return self._board.release(record.audience, self.held)

    def _wants_policy(self, target: Release, now: float) -> bool:
        if self._refused.holds(target.order[:2], now):
            return False
        return self._whole or wants(self._board, self.held, target)

    def _counts_as(self) -> tuple[int, int]:
        """What is held, as the newest version that it is as good as."""
        record = self._board.record(self._name)
        if self.held is None:
            return (0, 0)
        target = self._target(record) if record is not None else None
        if target is None or target.digest != self.held.digest:
            return self.held.order
        return max(self.held.order, (target.head.store_epoch, target.head.version))


def _protocol(message: str) -> End:
    return End("INVALID_ARGUMENT", "PROTOCOL", message)
