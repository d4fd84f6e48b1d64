# SPDX-License-Identifier: Apache-2.0
"""The datapath's sources: found, joined into one translation unit, and fingerprinted.

bcc rewrites map accesses only in the main buffer it is given, so `#include "x.h"` of our own files
is resolved here, each file once. The result is ordinary C that names its origin by `#line`, so a
compiler's message points at the real file.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_INCLUDE = re.compile(r'^#include "([A-Za-z0-9_./-]+)"\s*$')
_LAYOUT = ("abi.h", "maps.h")
MAIN = "cordon.bpf.c"


def source_root() -> Path:
    """The folder `bpf/`: beside the packages in a checkout and in an installation alike."""
    return Path(__file__).resolve().parents[2] / "bpf"


def assemble(root: Path, main: str = MAIN) -> str:
    """One translation unit from `root/main`. Raises FileNotFoundError for a missing include."""
    return "\n".join(_expand(root, main, seen=set())) + "\n"


def _expand(root: Path, name: str, seen: set[str]) -> list[str]:
    if name in seen:
        return []
    seen.add(name)
    lines = [f'#line 1 "bpf/{name}"']
    for number, line in enumerate((root / name).read_text().splitlines(), start=1):
        include = _INCLUDE.match(line)
        if include is None:
            lines.append(line)
            continue
        lines.extend(_expand(root, include.group(1), seen))
        lines.append(f'#line {number + 1} "bpf/{name}"')
    return lines


def fingerprint(*parts: str) -> int:
    """64 bits that differ when any part does; never 0, which in the kernel means "nothing"."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") or 1


def layout_fingerprint(root: Path) -> int:
    """Of the files that say what maps look like: pinned maps of another one cannot be kept."""
    return fingerprint(*((root / name).read_text() for name in _LAYOUT))
