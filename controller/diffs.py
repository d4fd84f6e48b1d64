# SPDX-License-Identifier: Apache-2.0
"""The unified diff of a document, bounded in size and in the time that it takes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import unified_diff

MAX_BYTES = 16 * 1024
MAX_LINES = 2000
"""Above, lines are not matched with each other: that would take their number squared."""
_CUT = "... (cut)\n"


def unified(before: str, after: str) -> str:
    """Without the two lines that name files."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    lines = (
        _plain(old, new) if len(old) + len(new) > MAX_LINES else list(unified_diff(old, new))[2:]
    )
    return _cut(lines)


def _plain(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """All out, all in."""
    head = f"@@ -1,{len(old)} +1,{len(new)} @@\n"
    return [head, *(f"-{line}" for line in old), *(f"+{line}" for line in new)]


def _cut(lines: Sequence[str]) -> str:
    left = MAX_BYTES - len(_CUT)
    shown: list[str] = []
    for line in lines:
        left -= len(line.encode())
        if left < 0:
            return "".join([*shown, _CUT])
        shown.append(line)
    return "".join(shown)
