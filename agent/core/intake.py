# SPDX-License-Identifier: Apache-2.0
"""Good snapshots on their way into the kernel: one is being applied, newer ones wait. Pure.

An older one that waits is kept until a newer one is in force, for that one may still fail: at
start the cache stands behind a file that the kernel has no room for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.core.events import Source
from agent.core.model import Snapshot
from agent.core.snapshot import Held


@dataclass(frozen=True, slots=True)
class Candidate:
    """Signature and content are good. `content` is the signed bytes, `digest` the payload's.

    seconds: what reading and checking took.
    """

    source: Source
    snapshot: Snapshot
    content: bytes = field(repr=False)
    digest: bytes
    seconds: float = 0.0

    @property
    def held(self) -> Held:
        return Held(self.snapshot.store_epoch, self.snapshot.version, self.digest)


class Intake:
    """What is in force, what is being applied, what waits."""

    def __init__(self) -> None:
        self._in_force: Held | None = None
        self._applying: Candidate | None = None
        self._waiting: list[Candidate] = []

    @property
    def held(self) -> Held | None:
        at_hand = [candidate.held for candidate in self._candidates()]
        if self._in_force is not None:
            at_hand.append(self._in_force)
        return max(at_hand, key=lambda held: held.order, default=None)

    def has_lost(self, order: tuple[int, int] | None) -> bool:
        """Whether that was the newest one at hand, and has failed since."""
        return order is not None and (self.held is None or self.held.order < order)

    def _candidates(self) -> list[Candidate]:
        applying = [self._applying] if self._applying is not None else []
        return [*self._waiting, *applying]

    def offer(self, candidate: Candidate) -> str | None:
        """Take it in, unless it is at hand already. Returns the sentence that refuses it.

        While it was read and checked a newer one may have come, so it is measured once more.
        """
        held, version, order = self.held, candidate.snapshot.version, candidate.held.order
        if held is not None and order < held.order:
            return f"revision {version} is older than {held.version}, which came meanwhile"
        if held is not None and order == held.order and candidate.digest != held.digest:
            return f"revision {version} came meanwhile with other content"
        if held is None or order > held.order:
            self._waiting.append(candidate)
        return None

    def put(self, candidate: Candidate) -> None:
        """Take it in whatever is at hand: agent.core.control says what is newer, one at a time, and
        may return to what is older."""
        self._waiting = [candidate]

    def take(self) -> Candidate | None:
        """The newest one that waits, to be applied; None while another one is."""
        if self._applying is not None or not self._waiting:
            return None
        self._applying = max(self._waiting, key=lambda c: c.held.order)
        self._waiting.remove(self._applying)
        return self._applying

    def succeed(self) -> Candidate:
        """The one being applied is in force; what is older has had its time."""
        done = self._end()
        self._in_force = done.held
        self._waiting = [c for c in self._waiting if c.held.order > done.held.order]
        return done

    def fail(self) -> Candidate:
        """The one being applied is not in force and will not be."""
        return self._end()

    def _end(self) -> Candidate:
        assert self._applying is not None, "nothing is being applied"
        done, self._applying = self._applying, None
        return done
