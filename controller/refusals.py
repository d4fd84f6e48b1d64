# SPDX-License-Identifier: Apache-2.0
"""What an agent has refused, and so is not sent again, or not yet. Pure."""

from __future__ import annotations

from controller.talk import NackReason, SendKeys, SendRecord

RETRY_SECONDS = 30.0
"""Before a release that was not confirmed, or that the kernel refused, is sent again; doubled each
time."""
MOST_RETRIES = 3
"""Of a release that was not confirmed: each try cuts the host off for a while."""
LONGEST_SECONDS = 480.0
"""Between tries of what the kernel refused. A host may lack memory or descriptors for hours."""


class Refusals:
    """What is not to be sent again, or not yet."""

    def __init__(self) -> None:
        self._order: tuple[int, int] = (0, 0)
        self._until = 0.0
        self._retries = 0
        self._paused: dict[str, float] = {}

    def add(self, order: tuple[int, int], reason: int, now: float) -> None:
        """A release of this version was refused."""
        self._retries = self._retries + 1 if order == self._order else 1
        self._order = order
        self._until = now + self._pause(reason)

    def _pause(self, reason: int) -> float:
        pause: float = RETRY_SECONDS * 2 ** min(self._retries - 1, 10)
        if reason == NackReason.KERNEL:
            return min(pause, LONGEST_SECONDS)
        again = reason == NackReason.UNCONFIRMED and self._retries <= MOST_RETRIES
        return pause if again else float("inf")

    def holds(self, order: tuple[int, int], now: float) -> bool:
        return order == self._order and now < self._until

    def pause(self, sent: SendRecord | SendKeys, now: float) -> None:
        """Of what is made anew each time it is sent."""
        kind = "record" if isinstance(sent, SendRecord) else "keys"
        self._paused[kind] = now + RETRY_SECONDS

    def paused(self, kind: str, now: float) -> bool:
        return now < self._paused.get(kind, 0.0)
