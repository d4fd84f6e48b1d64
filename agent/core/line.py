# SPDX-License-Identifier: Apache-2.0
"""The line to a controller: which stream is open, how far it is, and when to try again. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.core import stream
from agent.core.backoff import MOST_SECONDS, Backoff
from agent.core.commands import Command, Level, log
from agent.core.stream import Say, SetTimer, Timer

WELCOME_SECONDS = 30.0
"""From the opening of a stream to Welcome; a controller that is busy says so instead."""
URGENT_SECONDS = 0.2
"""Between attempts while a policy waits for its proof."""
MOST_UNANSWERED = 3
_FOR_OPERATORS = ("STORE_BEHIND", "REVOKED")
_TOLD_ATTEMPTS = (1, 4, 7)


@dataclass
class Line:
    """number: of the stream that is or was open last. welcomed: the controller has let us in.

    in_sync: on this stream everything of the moment of Hello has come. heartbeat_seconds: as the
    controller last said.
    """

    controllers: tuple[str, ...]
    number: int = 0
    open: bool = False
    welcomed: bool = False
    in_sync: bool = False
    heartbeat_seconds: float = 15.0
    _backoff: Backoff = field(default_factory=Backoff)
    _spread_seconds: float = 0.0
    _away: stream.GoingAway | None = None
    _beats: int = 0
    _unanswered: int = 0

    def connect(self, hello: stream.Hello, random: float) -> list[Command]:
        """A new stream, to any of the controllers."""
        self.number += 1
        self.open, self.welcomed, self.in_sync = True, False, False
        self._away, self._unanswered = None, 0
        controller = self.controllers[int(random * len(self.controllers))]
        return [
            stream.OpenStream(self.number, controller, hello),
            SetTimer(Timer.WELCOME, WELCOME_SECONDS),
            SetTimer(Timer.BEAT, None),
        ]

    def welcome(self, message: stream.Welcome, random: float) -> list[Command]:
        self.welcomed = True
        self.heartbeat_seconds = float(message.heartbeat_seconds)
        self._spread_seconds = message.spread_seconds
        return [
            SetTimer(Timer.WELCOME, None),
            SetTimer(Timer.BEAT, self.heartbeat_seconds * (0.5 + 0.5 * random)),
        ]

    def synced(self) -> None:
        self.in_sync = True
        self._backoff.reset()

    def going_away(self, message: stream.GoingAway) -> None:
        self._away = message

    def answered(self) -> None:
        self._unanswered = 0

    def beat(self, version: int, random: float) -> list[Command] | None:
        """None: the controller has answered none for long, and is as good as gone."""
        if self._unanswered >= MOST_UNANSWERED:
            return None
        self._beats += 1
        self._unanswered += 1
        seconds = self.heartbeat_seconds * (0.8 + 0.4 * random)
        return [Say(stream.Beat(self._beats, version)), SetTimer(Timer.BEAT, seconds)]

    def end(self, event: stream.StreamEnded, *, urgent: bool) -> list[Command]:
        """The stream is over; when the next one begins. urgent: a policy waits for its proof."""
        lasted, away = self.in_sync, self._away
        self.open, self.welcomed, self.in_sync = False, False, False
        wait = URGENT_SECONDS if urgent else self._wait(event)
        commands: list[Command] = [
            SetTimer(Timer.WELCOME, None),
            SetTimer(Timer.BEAT, None),
            SetTimer(Timer.CONNECT, wait),
        ]
        if lasted or self._backoff.attempts in _TOLD_ATTEMPTS:
            commands.append(
                log(
                    Level.ERROR if event.reason in _FOR_OPERATORS else Level.WARNING,
                    "no controller is heard, policy stays and enforcement goes on",
                    reason=event.reason,
                    what=away.sentence if away and away.sentence else event.sentence,
                    retry_seconds=round(wait, 2),
                )
            )
        if away is not None and away.why is stream.Away.CERTIFICATE:
            commands.append(stream.RenewCertificate())
        return commands

    def _wait(self, event: stream.StreamEnded) -> float:
        least = max(event.retry_seconds, self._away.retry_seconds if self._away else 0.0)
        if event.reason in _FOR_OPERATORS:
            least = max(least, MOST_SECONDS / 2)
        return least * (1 + event.random) + self._backoff.wait(event.random, self._spread_seconds)
