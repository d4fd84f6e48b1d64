# SPDX-License-Identifier: Apache-2.0
"""Log lines: `level message key=value ...` on stderr, one line each. No secret ever comes here.

Under systemd they go to the journal in its own protocol, with each field as CORDON_KEY, so that
`journalctl CORDON_REASON=...` finds them.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Iterable, Sequence

JOURNAL = "/run/systemd/journal/socket"
_PRIORITY = {"info": 6, "warning": 4, "error": 3}
_NOT_IN_NAMES = re.compile(r"[^A-Z0-9_]")

Fields = Sequence[tuple[str, object]]


def format_line(level: str, message: str, fields: Iterable[tuple[str, object]]) -> str:
    return " ".join([level, _text(message, fields)])


def _text(message: str, fields: Iterable[tuple[str, object]]) -> str:
    return " ".join([message, *(f"{key}={_quote(value)}" for key, value in fields)])


def _quote(value: object) -> str:
    """Text with blanks or line ends is quoted, so that a line stays one line."""
    text = str(value)
    if text and all(c.isprintable() and c not in ' "=\\' for c in text):
        return text
    inner = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in inner) + '"'


def journal_entry(level: str, message: str, fields: Fields) -> bytes:
    """One entry in the journal's native protocol: values with line ends have their length first."""
    entries: list[tuple[str, object]] = [
        ("MESSAGE", _text(message, fields)),
        ("PRIORITY", _PRIORITY[level]),
        ("SYSLOG_IDENTIFIER", "cordon-agent"),
        ("CORDON_EVENT", message),
    ]
    entries += [(f"CORDON_{_NOT_IN_NAMES.sub('_', key.upper())}", value) for key, value in fields]
    return b"".join(_journal_field(name, str(value).encode()) for name, value in entries)


def _journal_field(name: str, value: bytes) -> bytes:
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


def write(level: str, message: str, fields: Fields = ()) -> None:
    """To the journal where stderr is the journal, otherwise to stderr."""
    if _stderr_is_journal() and record(level, message, fields):
        return
    try:
        sys.stderr.write(f"{format_line(level, message, fields)}\n")
        sys.stderr.flush()
    except OSError:
        return  # nobody reads: the work matters more than the news


def record(level: str, message: str, fields: Fields = ()) -> bool:
    """To the journal in any case: for what an administrator does and others shall find later.

    False where there is no journal, or where it does not take the entry.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.setblocking(False)
            out.sendto(journal_entry(level, message, fields), JOURNAL)
    except OSError:
        return False
    return True


def _stderr_is_journal() -> bool:
    """systemd.exec(5), JOURNAL_STREAM: device and inode of the stream, which may be redirected."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
