# SPDX-License-Identifier: Apache-2.0
"""Log lines, with a stable event name in each, to the journal or to stderr. No secret comes here.

Under systemd, and if the journal's socket is there, a line goes to it in its native protocol, with
the fields as fields of their own (`journalctl CORDON_EVENT=snapshot_refused`); elsewhere it is
`level message key=value ... event=NAME` on stderr. Of one event so many lines are told in so many
seconds; the next one after that says how many were not.

The agent writes from its loop alone but for the odd thread; a line is one system call, so they do
not mix.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from agent.core.log_events import event_name

LEVELS = ("debug", "info", "warning", "error")
JOURNAL = Path("/run/systemd/journal/socket")
WINDOW_SECONDS = 10.0
LINES = 100
"""Of one event in a window; of debug's events a thousand."""
DEBUG_LINES = 1000
MAX_EVENTS = 256
MAX_VALUE = 4096
"""Letters of one value; what is longer is cut, for a datagram has a bound too."""
_NOT_IN_NAMES = re.compile(r"[^A-Z0-9_]")
_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3}
Field = tuple[str, object]


def format_line(level: str, message: str, fields: Iterable[Field]) -> str:
    return " ".join([level, message, *_pairs(fields)])


def _pairs(fields: Iterable[Field]) -> list[str]:
    return [f"{key}={_quote(value)}" for key, value in fields]


def _quote(value: object) -> str:
    """Text with blanks or line ends is quoted, so that a line stays one line."""
    text = _cut(value)
    if text and all(c.isprintable() and c not in ' "=\\' for c in text):
        return text
    inner = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in inner) + '"'


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}..."


class Limiter:
    """How many lines of an event may still be told."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[str, list[float]] = {}

    def suppressed(self, event: str, limit: int) -> int | None:
        """None: do not tell this one. Else how many were not told before it."""
        now = self._clock()
        if event not in self._told and len(self._told) >= MAX_EVENTS:
            self._told.clear()
        window = self._told.setdefault(event, [now, 0, 0])
        if now - window[0] >= WINDOW_SECONDS:
            window[0], window[1] = now, 0
        window[1] += 1
        if window[1] > limit:
            window[2] += 1
            return None
        count, window[2] = int(window[2]), 0
        return count


class Logger:
    """journal: the socket of the journal, None for stderr."""

    def __init__(
        self, level: str = "info", instance: str = "", journal: Path | None = None
    ) -> None:
        self._lowest = LEVELS.index(level)
        self._instance = instance
        self._limiter = Limiter()
        self._journal = _open_journal(journal) if journal is not None else None

    def enabled(self, level: str) -> bool:
        return LEVELS.index(level) >= self._lowest

    def write(self, level: str, message: str, fields: Iterable[Field] = ()) -> None:
        if not self.enabled(level):
            return
        event = event_name(message)
        limit = DEBUG_LINES if level == "debug" else LINES
        suppressed = self._limiter.suppressed(event, limit)
        if suppressed is None:
            return
        told = [*fields, *([("suppressed", suppressed)] if suppressed else ())]
        if self._journal is None or not self._send(level, message, told):
            _to_stderr(level, format_line(level, message, [*told, ("event", event)]))

    def _send(self, level: str, message: str, fields: list[Field]) -> bool:
        assert self._journal is not None, "asked only with a journal"
        entry = journal_entry(level, message, [*fields, ("instance", self._instance)])
        try:
            self._journal.send(entry)
        except OSError:
            return False
        return True

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()


def journal_entry(level: str, message: str, fields: Iterable[Field] = ()) -> bytes:
    """One entry in the journal's native protocol, each field under a name of ours."""
    named = [(key, value) for key, value in fields if value != ""]
    shown = [(key, value) for key, value in named if key != "instance"]
    entries: list[Field] = [
        ("MESSAGE", " ".join([message, *_pairs(shown)])),
        ("PRIORITY", _PRIORITY[level]),
        ("SYSLOG_IDENTIFIER", "cordon-agent"),
        ("CORDON_EVENT", event_name(message)),
    ]
    entries += [(f"CORDON_{_NOT_IN_NAMES.sub('_', key.upper())}", _cut(v)) for key, v in named]
    return b"".join(_journal_field(name, str(value)) for name, value in entries)


def _journal_field(name: str, value: str) -> bytes:
    """A value with line ends goes with its length, so that it cannot make a field of its own."""
    data = value.encode(errors="backslashreplace")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"


def _open_journal(path: Path) -> socket.socket | None:
    out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        out.connect(str(path))
        out.setblocking(False)
    except OSError:
        out.close()
        return None
    return out


def _to_stderr(level: str, line: str) -> None:
    """systemd reads the leading `<n>` as the priority when stderr goes to the journal."""
    prefix = f"<{_PRIORITY[level]}>" if "JOURNAL_STREAM" in os.environ else ""
    with contextlib.suppress(OSError):  # nobody reads: the work matters more than the news
        sys.stderr.write(f"{prefix}{line}\n")
        sys.stderr.flush()


def stderr_is_journal() -> bool:
    """Whether systemd connected stderr to the journal: JOURNAL_STREAM is its device and inode."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


_logger = Logger()


def configure(level: str, instance: str) -> None:
    """What the configuration says; before it, lines of info and above go to stderr."""
    global _logger
    _logger.close()
    _logger = Logger(level, instance, JOURNAL if stderr_is_journal() else None)


def write(level: str, message: str, fields: Iterable[Field] = ()) -> None:
    _logger.write(level, message, fields)


def record(level: str, message: str, fields: Iterable[Field] = ()) -> bool:
    """To the journal in any case: for what an administrator does and others shall find later.

    False where there is no journal, or where it does not take the entry.
    """
    journal = _open_journal(JOURNAL)
    if journal is None:
        return False
    with journal:
        try:
            journal.send(journal_entry(level, message, fields))
        except OSError:
            return False
    return True


def trace(message: str, value: object) -> None:
    """At debug level, what passes between edges and core. Secrets have no part in any repr."""
    if _logger.enabled("debug"):
        _logger.write("debug", message, [("what", repr(value))])
