# SPDX-License-Identifier: Apache-2.0
"""Serialised contents and deltas that are kept because more agents may ask for them.

Bounded twice: what leads from or to a content that nobody can start from any more goes with it, and
of the rest what was asked for longest ago goes when there are too many bytes. The bytes alone are
no bound in practice: deltas of a few rules are small, and what it takes to keep one is not counted.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable

Way = tuple[bytes, bytes]
"""Digests: from which content (empty: from none) to which."""


class Memo:
    """Made once, asked for often."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._made: OrderedDict[Way, bytes] = OrderedDict()
        self._ways: defaultdict[bytes, set[Way]] = defaultdict(set)
        self._size = 0

    def __len__(self) -> int:
        return len(self._made)

    def made(self, way: Way, make: Callable[[], bytes]) -> bytes:
        """What `make` answered the first time."""
        found = self._made.get(way)
        if found is not None:
            self._made.move_to_end(way)
            return found
        found = self._made[way] = make()
        self._size += len(found)
        for digest in way:
            self._ways[digest].add(way)
        while self._size > self._most and len(self._made) > 1:
            self._drop(next(iter(self._made)))
        return found

    def forget(self, digest: bytes) -> None:
        """Nobody starts from it or comes to it any more."""
        for way in list(self._ways.get(digest, ())):
            self._drop(way)

    def _drop(self, way: Way) -> None:
        self._size -= len(self._made.pop(way))
        for digest in set(way):
            self._ways[digest].discard(way)
            if not self._ways[digest]:
                del self._ways[digest]
