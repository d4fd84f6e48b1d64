# SPDX-License-Identifier: Apache-2.0
"""What is wrong with an input, said so that its author can mend it: file, line, field, expected.

Input is refused whole, and with all that is wrong with it, not one error per run. This module only
carries the sentences; where they come from is each reader's matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SHOWN = 20
"""More problems than this are counted, not shown: a person mends the first ones first."""


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """A place in a file. Line 0: the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """field: path of the field inside its document; empty for the document or file as a whole."""

    source: Source
    field: str
    message: str

    def __str__(self) -> str:
        where = f"{self.source}: {self.field}" if self.field else str(self.source)
        return f"{where}: {self.message}"


class InputRefused(Exception):
    """The input is wrong; nothing of it was used."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Sequence[Problem] = sorted(set(problems))
        assert self.problems, "refusing input without a reason"
        super().__init__("\n".join(self.sentences()))

    def sentences(self) -> list[str]:
        """One line per problem, bounded."""
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"and {len(self.problems) - SHOWN} more; mend these first")
        return lines


def refuse(source: Source, message: str, field: str = "") -> InputRefused:
    """One problem, as the exception to raise."""
    return InputRefused([Problem(source, field, message)])
