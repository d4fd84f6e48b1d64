# SPDX-License-Identifier: Apache-2.0
"""One agent for each instance: a lock file that names who holds it.

The kernel lets go of the lock when its holder dies, however it dies, so there is nothing stale to
clean up; the file itself stays.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class AlreadyRunning(Exception):
    """Another agent of this instance runs; the sentence names its pid."""


def take_lock(path: Path, instance: str) -> int:
    """Returns the file descriptor, to be kept open for as long as the lock is wanted."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise AlreadyRunning(
            f"an agent of the instance {instance!r} runs already with pid {holder}: stop it first, "
            f"or give this one another `instance` ({path})"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
