# SPDX-License-Identifier: Apache-2.0
"""How many agents are brought in step at one time; the others stand in line. Pure.

Only those who need something are counted: an agent that holds the newest is in step by one message
each way. Who waits does so on its open stream, welcomed and heard: sending it away would make it
pay, and us, for another handshake, at a time that could only be guessed, and the guess is worst
when it matters: with ten thousand agents coming back at once, measured times are those of the
crowd, and most of the following minutes were idle.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Who = TypeVar("Who", bound=Hashable)


class Admission(Generic[Who]):
    """`enter`, and `leave` when it is in step or gone, also for one that still stands in line."""

    def __init__(self, max_syncing: int) -> None:
        self._max_syncing = max_syncing
        self._inside: set[Who] = set()
        self._line: OrderedDict[Who, None] = OrderedDict()

    @property
    def syncing(self) -> int:
        return len(self._inside)

    @property
    def waiting(self) -> int:
        return len(self._line)

    def enter(self, who: Who) -> bool:
        """Whether it is let in now; otherwise a `leave` of somebody else will name it."""
        if len(self._inside) < self._max_syncing:
            self._inside.add(who)
            return True
        self._line[who] = None
        return False

    def leave(self, who: Who) -> Who | None:
        """The one whose turn it is now: it is let in. Nobody, where `who` was not inside."""
        self._line.pop(who, None)
        if who not in self._inside:
            return None
        self._inside.remove(who)
        if not self._line:
            return None
        following, _ = self._line.popitem(last=False)
        self._inside.add(following)
        return following
