# SPDX-License-Identifier: Apache-2.0
"""Writes a file so that it is whole or not there, also after a power cut: the policy cache."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from agent.edge import failpoint


def write_atomically(path: Path, content: bytes) -> None:
    """Mode 0600, in a folder of mode 0700. Raises OSError; the old file is then untouched."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    try:
        _write_durably(fresh, content)
        failpoint.reached("file.before-rename")
        fresh.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    failpoint.reached("file.after-rename")
    _sync_folder(path.parent)


def _write_durably(path: Path, content: bytes) -> None:
    failpoint.reached("file.before-write")
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as out:
        out.write(content)
        out.flush()
        failpoint.reached("file.before-sync")
        os.fsync(out.fileno())


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
