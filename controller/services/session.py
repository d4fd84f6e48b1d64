# SPDX-License-Identifier: Apache-2.0
"""One open policy stream: grpc on one side, `controller.sync.Stream` on the other.

It decides nothing of the contract's order. What is its own: time-outs, the outbox, and that a
stream that ends says so first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import grpc.aio

from controller.services.callers import Caller, Context
from controller.services.outbox import Outbox
from controller.services.patience import Patience
from controller.services.stream_codec import going_away, numbered
from controller.talk import Action, AwayReason, End

LAST_WORDS_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Away:
    """Why a stream ends from this side. reason None: no GoingAway."""

    reason: AwayReason | None
    end: End
    retry_seconds: float = 0.0


class Session:
    """Reading is the rpc's own task; `end` from outside interrupts it."""

    def __init__(self, context: Context, who: Caller, instance: bytes = b"") -> None:
        self.who = who
        self.instance = instance
        self.away: Away | None = None
        self._context = context
        self._task = asyncio.current_task()
        self._outbox = Outbox(context.write, numbered, self._slow)
        self._patience = Patience(self._silent)
        self._silence = 0.0
        self._kept: Sequence[bytes] = ()

    def send(self, bodies: Sequence[bytes]) -> None:
        for body in (*self._kept, *bodies):
            self._outbox.put(body)
        self._kept = ()

    def keep(self, bodies: Sequence[bytes]) -> None:
        """To be sent with what comes next, or by `release`."""
        self._kept = (*self._kept, *bodies)

    def release(self) -> None:
        self.send(())

    def end(self, away: Away) -> None:
        """The reader stops as soon as it can; only the first reason counts."""
        if self.away is None:
            self.away = away
            if self._task is not None and self._task is not asyncio.current_task():
                self._task.cancel()

    def _slow(self) -> None:
        message = "the agent did not read for too long"
        self.end(Away(AwayReason.SLOW, End("UNAVAILABLE", "SLOW", message), 1.0))

    async def read(self, seconds: float) -> bytes | None:
        """The next message; None: the agent has ended the stream, or `away` says why we do."""
        if self.away is not None:
            return None
        self._silence = seconds
        self._patience.begin(seconds)
        data = await self._context.read()
        self._patience.end()
        return None if data is grpc.aio.EOF else data

    def _silent(self) -> None:
        message = f"nothing was heard for {self._silence:.0f} s"
        self.end(Away(None, End("UNAVAILABLE", "SILENT", message)))

    def quiet(self) -> None:
        """It is over, or about to say its last words: no timer is left."""
        if self.away is None:  # the agent is gone
            self._kept = ()
        self._patience.close()
        self._outbox.quiet()

    def interrupted(self) -> bool:
        """Whether it was `end` that cancelled the reader, and not the agent that is gone."""
        if self.away is None or self._task is None:
            return False
        self._task.uncancel()
        return True

    async def last_words(self) -> None:
        self.release()
        away = self.away
        last = None
        if away is not None and away.reason is not None:
            last = going_away(away.reason, away.retry_seconds, away.end.message)
        await self._outbox.close(last, LAST_WORDS_SECONDS)


def ended(actions: Sequence[Action]) -> End | None:
    """The end that they come to."""
    return next((action for action in actions if isinstance(action, End)), None)


def going(reason: AwayReason, message: str, retry_seconds: float) -> Away:
    return Away(reason, End("UNAVAILABLE", reason.name, message), retry_seconds)


def revoked(who: Caller) -> Away:
    message = f"{who.spiffe_id} was revoked; only a new token helps"
    return Away(AwayReason.REVOKED, End("PERMISSION_DENIED", "REVOKED", message))
