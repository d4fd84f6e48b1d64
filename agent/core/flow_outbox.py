# SPDX-License-Identifier: Apache-2.0
"""Requests with flow records that wait for the controller: in order, bounded, losses counted. Pure.

The oldest go first when there is no more room: who looks for a fault looks at the newest.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

MAX_BYTES = 4 * 1024 * 1024
"""An ordinary host makes some 10 KiB a minute: a night without a controller."""


@dataclass(slots=True)
class Waiting:
    """body: the request's records, encoded. lost: what it tells of losses before it, fixed when it
    is first sent, for it may be taken and only the answer get lost."""

    sequence: int
    body: bytes
    judgements: int
    lost: int = 0
    sent: bool = False


class Outbox:
    """One per run of the agent."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._waiting: deque[Waiting] = deque()
        self._sequence = 0
        self._bytes = 0
        self._untold = 0
        self.lost = 0
        """Judgements in what was thrown away, in all."""
        self.shipped = 0
        """Judgements in what was taken, in all."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, body: bytes, judgements: int) -> None:
        self._sequence += 1
        self._waiting.append(Waiting(self._sequence, body, judgements))
        self._bytes += len(body)
        while self._bytes > self._max_bytes:
            self._lose(self._waiting.popleft())

    def head(self) -> Waiting | None:
        """What is to be sent next; the same until it is `taken` or `refused`."""
        if not self._waiting:
            return None
        head = self._waiting[0]
        if not head.sent:
            head.sent, head.lost, self._untold = True, self._untold, 0
        return head

    def taken(self, sequence: int) -> None:
        """The controller has it."""
        if self._waiting and self._waiting[0].sequence == sequence:
            self._bytes -= len(self._waiting[0].body)
            self.shipped += self._waiting.popleft().judgements

    def refused(self, sequence: int) -> None:
        """The controller will never take it."""
        if self._waiting and self._waiting[0].sequence == sequence:
            self._lose(self._waiting.popleft())

    def _lose(self, waiting: Waiting) -> None:
        self._bytes -= len(waiting.body)
        self.lost += waiting.judgements
        self._untold += waiting.judgements + waiting.lost
