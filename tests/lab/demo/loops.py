# SPDX-License-Identifier: Apache-2.0
"""Programs that connect again and again, while something is done to the agents.

Two kinds, for the kernel knows them by different means: a new process each time (bash starts
redis-cli), and one old process that connects by itself (bash's own /dev/tcp). Each attempt leaves
one line or more, and every line must be of the kind that its policy demands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.lab import LabProcess, wait_until
from tests.lab.demo.handshakes import EPERM_WORDS
from tests.lab.demo.scene import DB_PORT, GUEST, PROGRAM_SECONDS, STRANGER, WEB, Call, Scene

_NEW = 'read -r go; while :; do redis-cli -h "$1" ping 2>&1; read -rt 0.01; done'
_OLD = (
    f'read -r go; while :; do {{ : <>"/dev/tcp/$1/{DB_PORT}"; }} 2>&1 && echo connected; '
    "read -rt 0.01; done"
)
_GUEST = f'read -r go; while :; do curl -sS --connect-timeout 0.2 "http://$1:{DB_PORT}/" 2>&1; done'
"""They wait for a line, and afterwards for one that never comes: a pause without a process."""
_REFUSED = f"{EPERM_WORDS}|Connection timed out"
"""A new agent asks anew who a program is. One that connects before the answer is not refused at
once, but held back until it gives up."""


@dataclass(frozen=True)
class Kind:
    """What a loop does, and how its lines are read.

    right: what each line must hold. counted: which lines stand for an attempt.
    patience: how many attempts it is worth to wait for, where each takes long.
    """

    name: str
    script: str
    right: str
    counted: str
    patience: int = 1000


_NEW_ALLOWED = Kind("new redis-cli of web", _NEW, "^PONG$", "^PONG$")
_OLD_ALLOWED = Kind("an old bash of web", _OLD, "^connected$", "^connected$")
_NEW_REFUSED = Kind("new redis-cli of stranger (each tries twice)", _NEW, _REFUSED, _REFUSED)
_OLD_REFUSED = Kind("an old bash of stranger", _OLD, _REFUSED, "/dev/tcp/")
_GUEST_REFUSED = Kind(
    "new curl of someone on guest", _GUEST, r"^curl: \(28\)", r"\(28\)", patience=3
)


@dataclass(frozen=True)
class Attempts:
    """What came of a loop. right: how many since its last mark. wrong: lines that policy does not
    allow to be, since its start, so that none can hide between two marks.
    """

    right: int
    wrong: Sequence[str]


@dataclass
class Loop:
    """A kind of loop, running."""

    kind: Kind
    process: LabProcess
    _from: int = field(default=0)

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def patience(self) -> int:
        return self.kind.patience

    def _all_lines(self) -> list[str]:
        return self.process.output().rpartition("\n")[0].splitlines()

    def lines(self) -> list[str]:
        """Whole lines since the last mark."""
        return self._all_lines()[self._from :]

    def mark(self) -> None:
        self._from += len(self.lines())

    def attempts(self) -> Attempts:
        """How it goes."""
        wrong = [line for line in self._all_lines() if not re.search(self.kind.right, line)]
        right = [
            line
            for line in self.lines()
            if re.search(self.kind.right, line) and re.search(self.kind.counted, line)
        ]
        return Attempts(len(right), wrong)


@dataclass(frozen=True)
class Loops:
    """The allowed and the refused ones."""

    allowed: Sequence[Loop]
    refused: Sequence[Loop]

    @classmethod
    def start(cls, scene: Scene) -> Loops:
        """All of them, each known to the agent of its host before it tries."""

        def loop(who: tuple[str, str], kind: Kind) -> Loop:
            argv = ["bash", "-c", kind.script, "bash", scene.back.v4]
            process = scene.spawn(Call(*who, argv, scene.back.v4, DB_PORT))
            if who[0] in scene.fleet.hosts:
                scene.fleet[who[0]].wait_attested(process.pid)
            process.write_line("go")
            return Loop(kind, process)

        return cls(
            allowed=[loop(WEB, kind) for kind in (_NEW_ALLOWED, _OLD_ALLOWED)],
            refused=[
                *(loop(STRANGER, kind) for kind in (_NEW_REFUSED, _OLD_REFUSED)),
                loop(GUEST, _GUEST_REFUSED),
            ],
        )

    @property
    def all(self) -> list[Loop]:
        return [*self.allowed, *self.refused]

    def mark(self) -> None:
        for loop in self.all:
            loop.mark()

    def wait(self, loops: Sequence[Loop] | None = None, attempts: int = 10) -> Sequence[Loop]:
        """Until each of these, or of all, has made some more attempts; returns them."""
        waited = self.all if loops is None else loops
        enough = [len(loop.lines()) + min(attempts, loop.patience) for loop in waited]
        wait_until(
            lambda: all(
                len(loop.lines()) >= want for loop, want in zip(waited, enough, strict=True)
            ),
            f"{', '.join(loop.name for loop in waited)} to go on trying",
            timeout=PROGRAM_SECONDS,
        )
        return waited


def tally(loops: Iterable[Loop]) -> tuple[list[str], int, list[str]]:
    """A line for each, how many were right, and those that were wrong."""
    found = {loop.name: loop.attempts() for loop in loops}
    lines = [f"{one.right:5} by {name}" for name, one in found.items()]
    wrong = [f"{name}: {line}" for name, one in found.items() for line in one.wrong]
    return lines, sum(one.right for one in found.values()), wrong
