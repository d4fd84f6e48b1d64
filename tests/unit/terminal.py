# SPDX-License-Identifier: Apache-2.0
"""A terminal of a chosen width, and what a program shows on it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
END_SECONDS = 20.0


def on_terminal(argv: Sequence[str], columns: int, env: Mapping[str, str] | None = None) -> str:
    """Run to the end with a terminal for stdout; what it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", **(env or {})}
    child = subprocess.Popen(
        argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=theirs
    )
    os.close(theirs)
    shown = _everything(ours)
    os.close(ours)
    assert child.wait(END_SECONDS) == 0
    return shown.decode().replace("\r\n", "\n")


def _everything(descriptor: int) -> bytes:
    """Until the other side is closed by all who had it (Linux answers EIO then)."""
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:
            piece = b""
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
