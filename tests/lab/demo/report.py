# SPDX-License-Identifier: Apache-2.0
"""What the viewer reads: each check as it goes, and all of them as a table at the end.

A check that cannot be made is one that did not hold: whatever went wrong stands where its evidence
would stand, and the demo goes on. Colour on terminals only, and not where NO_COLOR is set.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import shorten

import grpc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.lab.errors import LabError

WIDTH = 100
LABEL_WIDTH = 12
CELL = 160
"""Characters of a cell of the table: enough for all but the story of a failure."""
FAILURES = (AssertionError, LabError, OSError, grpc.RpcError)
"""What a wait, the lab, the machine and an agent raise. Anything else is a fault of the demo."""


@dataclass(frozen=True)
class Evidence:
    """What came of a check.

    seen: from the outside, in few words. kernel: what the kernels said, in few words.
    lines: labels and lines of the same unabridged, for the viewer who watches.
    """

    seen: str
    kernel: str
    held: bool
    lines: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Check:
    """A finished check. tried: who did what."""

    tried: str
    evidence: Evidence


class Report:
    """Prints checks and keeps them."""

    def __init__(self) -> None:
        width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
        self._console = Console(width=width, highlight=False, markup=False, emoji=False)
        self.checks: list[Check] = []

    @property
    def held(self) -> int:
        return sum(check.evidence.held for check in self.checks)

    @property
    def all_held(self) -> bool:
        return self.held == len(self.checks) > 0

    def say(self, text: str = "") -> None:
        self._print(Text(text))

    def step(self, title: str, idea: str) -> None:
        """Begin a group of checks that show one idea."""
        self.say()
        self._print(Text(title, style="cyan"))
        self._print(Text(idea))

    def check(self, title: str, tried: str, look: Callable[[], Evidence]) -> None:
        """Make a check and print it."""
        self.say()
        self.say(f"{len(self.checks) + 1:3} {title}")
        self._line("tried", Text(tried))
        try:
            evidence = look()
        except FAILURES as failure:
            evidence = failed(failure)
        self._add(Check(tried, evidence))

    def broke(self, failure: BaseException) -> None:
        """Something between two checks went wrong, and the demo cannot go on: this is a check, too,
        and it did not hold.
        """
        self.say()
        self.say(f"{len(self.checks) + 1:3} the demo goes on")
        self._add(Check("to go on", failed(failure)))

    def _add(self, check: Check) -> None:
        self.checks.append(check)
        evidence = check.evidence
        for label, line in evidence.lines:
            self._line(label, Text(line))
        self._line("seen", Text(evidence.seen))
        self._line("kernel", Text(evidence.kernel))
        self._line("", _colour(evidence, "held", "NOT HELD"))

    def _line(self, label: str, text: Text) -> None:
        """A text that keeps clear of its label when it is wrapped."""
        grid = Table.grid(padding=0)
        grid.add_column(width=LABEL_WIDTH, no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(Text(f"    {label}"), text)
        self._print(grid)

    def table(self) -> None:
        """All checks, one below the other."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="cyan")
        table.add_column("", justify="right", no_wrap=True)
        for column in ("what was tried", "seen from outside", "said by the kernel"):
            table.add_column(column, ratio=1, overflow="fold")
        table.add_column("held", no_wrap=True)
        for number, check in enumerate(self.checks, start=1):
            found = check.evidence
            texts = (check.tried, found.seen, found.kernel)
            cells = [Text(shorten(text, CELL, placeholder=" ...")) for text in texts]
            table.add_row(str(number), *cells, _colour(found, "yes", "NO"))
        self.say()
        self._print(table)

    def summary(self) -> None:
        """The last line."""
        self.say()
        self.say(f"demo: {len(self.checks)} checks, {self.held} held")

    def _print(self, what: Text | Table) -> None:
        """Without the blanks with which rich fills lines."""
        with self._console.capture() as capture:
            self._console.print(what)
        for line in capture.get().splitlines() or [""]:
            self._console.out(line.rstrip(), highlight=False)


def failed(failure: BaseException) -> Evidence:
    """What stands where the evidence would."""
    return Evidence(f"{type(failure).__name__}: {failure}", "-", held=False)


def _colour(evidence: Evidence, held: str, not_held: str) -> Text:
    return Text(held, style="green") if evidence.held else Text(not_held, style="red")
