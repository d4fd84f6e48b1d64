# SPDX-License-Identifier: Apache-2.0
"""What waits to be written on one stream. Bounded in number and in time: who does not read is told
so by the end of the stream, and asks anew for what it needs.

There is a task only while something waits, for most streams have nothing to say most of the time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import grpc

from controller.services.patience import Patience

MOST = 16
"""Messages that may wait."""
WRITE_SECONDS = 30.0

Write = Callable[[bytes], Awaitable[None]]


class Outbox:
    """`put` bodies; they are numbered and written in their order.

    slow: called once, when too many wait or one waits too long.
    """

    def __init__(self, write: Write, number: Callable[[int, bytes], bytes],
                 slow: Callable[[], None]) -> None:  # fmt: skip
        self._write = write
        self._number = number
        self._slow = slow
        self._waiting: deque[bytes] = deque()
        self._task: asyncio.Task[None] | None = None
        self._sequence = 0
        self._closed = False
        self._patience = Patience(self._too_long)

    def put(self, body: bytes) -> None:
        if self._closed:
            return
        if len(self._waiting) >= MOST:
            self._closed = True
            self._slow()
            return
        self._waiting.append(body)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._waiting:
                self._patience.begin(WRITE_SECONDS)
                self._sequence += 1
                await self._write(self._number(self._sequence, self._waiting.popleft()))
        except (grpc.aio.BaseError, asyncio.InvalidStateError, grpc.aio.AioRpcError):
            self._closed = True  # the stream has ended; its reader knows
        finally:
            self._patience.end()
            self._task = None

    def _too_long(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()
        self._slow()

    def quiet(self) -> None:
        """No timer is left, until something is put."""
        self._patience.close()

    async def close(self, last: bytes | None, seconds: float) -> None:
        """Write what waits and one last message, if that goes within so long."""
        if last is not None:
            self.put(last)
        self._closed = True
        task = self._task
        if task is not None:
            await asyncio.wait([task], timeout=seconds)
            task.cancel()
        self.quiet()
