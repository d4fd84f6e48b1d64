# SPDX-License-Identifier: Apache-2.0
"""Log lines: `level message key=value ...` on stderr, one line each. No secret ever comes here.

systemd reads the leading `<n>` as the priority when stderr goes to the journal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

_PRIORITY = {"info": 6, "warning": 4, "error": 3}


def format_line(level: str, message: str, fields: Iterable[tuple[str, object]]) -> str:
    parts = [level, message, *(f"{key}={_quote(value)}" for key, value in fields)]
    return " ".join(parts)


def _quote(value: object) -> str:
    """Text with blanks or line ends is quoted, so that a line stays one line."""
    text = str(value)
    if text and all(c.isprintable() and c not in ' "=\\' for c in text):
        return text
    inner = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in inner) + '"'


def write(level: str, message: str, fields: Iterable[tuple[str, object]] = ()) -> None:
    prefix = f"<{_PRIORITY[level]}>" if "JOURNAL_STREAM" in os.environ else ""
    line = f"{prefix}{format_line(level, message, fields)}\n"
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except OSError:
        return  # nobody reads: the work matters more than the news
