# SPDX-License-Identifier: Apache-2.0
"""Says that there is a newer version: to this process by a call, between processes by PostgreSQL.

A bell that nobody hears costs nothing but time: whoever waits looks for himself after a while. So
the listener may lose its connection, and says so by ringing when it has one again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable

import psycopg

CHANNEL = "cordon"
_SLICE_SECONDS = 0.5
"""How long the listener may take to notice that it should end."""
_PAUSE_SECONDS = 2.0


class Bell:
    """Any thread rings, loops wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = 0
        self._waiting: set[Callable[[], None]] = set()

    @property
    def heard(self) -> int:
        """The newest version that was rung; 0 for none yet."""
        return self._version

    def ring(self, version: int) -> None:
        """0 means: perhaps there is something, look."""
        with self._lock:
            self._version = max(self._version, version)
            woken, self._waiting = self._waiting, set()
        for wake in woken:
            wake()

    async def wait(self, after_version: int, seconds: float) -> None:
        """Until a version above `after_version` was rung or may have been missed, or so long."""
        loop, heard = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(heard.set)

        with self._lock:
            if self._version > after_version:
                return
            self._waiting.add(wake)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(heard.wait(), seconds)
        finally:
            with self._lock:
                self._waiting.discard(wake)


class Listener:
    """A thread that turns PostgreSQL's notifications into rings."""

    def __init__(self, bell: Bell, conninfo: str) -> None:
        self._bell = bell
        self._conninfo = conninfo
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cordon-bell", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join(_SLICE_SECONDS + _PAUSE_SECONDS + 5)

    def _run(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(psycopg.Error, OSError):
                self._listen()
            self._ending.wait(_PAUSE_SECONDS)

    def _listen(self) -> None:
        with psycopg.connect(self._conninfo, autocommit=True, connect_timeout=5) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            self._bell.ring(0)  # what was rung while nobody listened
            while not self._ending.is_set():
                for notification in connection.notifies(timeout=_SLICE_SECONDS):
                    self._bell.ring(_number(notification.payload))
                    if self._ending.is_set():
                        return


def _number(payload: str) -> int:
    return int(payload) if payload.isascii() and payload.isdigit() and len(payload) < 20 else 0
