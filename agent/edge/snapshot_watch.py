# SPDX-License-Identifier: Apache-2.0
"""When the snapshot file is looked at: as its folder stirs, and every second anyhow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from agent.core.events import Event, SnapshotChanged
from agent.edge.file_watch import FileWatch
from agent.edge.snapshot_source import SnapshotSource

POLL_SECONDS = 1.0


class SnapshotWatch:
    """Tells that the file is another one; what it is, a read will show."""

    def __init__(self, source: SnapshotSource, file: Path, tell: Callable[[Event], None]) -> None:
        self._source = source
        self._file = file
        self._tell = tell
        self._opened = ExitStack()

    def open(self) -> None:
        """In the running loop."""
        loop = asyncio.get_running_loop()
        watch = self._opened.enter_context(closing(FileWatch(self._file)))
        if watch.fileno() >= 0:
            loop.add_reader(watch.fileno(), self._stirred, watch)
            self._opened.callback(loop.remove_reader, watch.fileno())

    @property
    def starved(self) -> bool:
        """What the file holds is not in force, and only for want of descriptors or memory."""
        return self._source.starved

    def close(self) -> None:
        self._opened.close()

    async def poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            self._look()

    def _stirred(self, watch: FileWatch) -> None:
        watch.drain()
        self._look()

    def _look(self) -> None:
        if self._source.changed():
            self._tell(SnapshotChanged())
