# SPDX-License-Identifier: Apache-2.0
"""Tells at once when something happens in a file's folder (inotify(7)).

Only a quickener: a watch sees nothing of network file systems, of targets behind symbolic links in
other folders, or of a folder that was moved away. The daemon looks at the file every second anyhow,
which costs a tenth of looking ten times as often.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

_IN_ATTRIB, _IN_CLOSE_WRITE = 0x4, 0x8
_IN_MOVED_FROM, _IN_MOVED_TO, _IN_DELETE = 0x40, 0x80, 0x200
_EVENTS = _IN_ATTRIB | _IN_CLOSE_WRITE | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_DELETE
_READ_BYTES = 65536


class FileWatch:
    """`fileno()` becomes readable when something happened; -1 where nothing can be watched."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._fd < 0:
            return
        if libc.inotify_add_watch(self._fd, os.fsencode(path.parent), _EVENTS) < 0:
            self.close()

    def fileno(self) -> int:
        return self._fd

    def drain(self) -> None:
        """Forget what happened so far: what is the case now is looked up, not told."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, _READ_BYTES):
                pass

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
