# SPDX-License-Identifier: Apache-2.0
"""What `doctor` found: one finding for each thing that it tried. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """Also the exit status of `cordonctl doctor`: that of its worst finding."""

    OK = 0
    WARNING = 1
    """Cordon enforces, and something is not as it should be."""
    PROBLEM = 2
    """Something is not enforced, or soon will not be."""


@dataclass(frozen=True, slots=True)
class Finding:
    """lost: what it costs. todo: what to do about it. Both empty where all is well."""

    level: Level
    area: str
    what: str
    lost: str = ""
    todo: str = ""


def ok(area: str, what: str) -> Finding:
    return Finding(Level.OK, area, what)


def warning(area: str, what: str, lost: str, todo: str) -> Finding:
    return Finding(Level.WARNING, area, what, lost, todo)


def problem(area: str, what: str, lost: str, todo: str) -> Finding:
    return Finding(Level.PROBLEM, area, what, lost, todo)


def worst(findings: Iterable[Finding]) -> Level:
    return max((finding.level for finding in findings), default=Level.OK)
