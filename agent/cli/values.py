# SPDX-License-Identifier: Apache-2.0
"""Durations, moments, labels and settings as people type and read them. Pure but for the types of
options, which ask what time it is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import click

MAX_LABELS = 64
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(?:[0-9]{1,9}[smhd])+\Z", re.ASCII)
_PART = re.compile(r"([0-9]+)([smhd])", re.ASCII)


def duration(text: str) -> int:
    """Seconds of "90s", "15m", "1d12h". Raises ValueError."""
    if not _DURATION.match(text):
        raise ValueError(f"expected a duration such as 90s, 15m, 8h or 1d12h, got {text!r}")
    return sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def duration_text(seconds: int) -> str:
    """ "1d12h": as `duration` reads it."""
    parts = []
    for unit in "dhms":
        count, seconds = divmod(seconds, _SECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def moment(text: str, now: float, *, ahead: bool) -> int:
    """Unix seconds of a time, or of a duration from now on (ahead) or back. Raises ValueError.

    A time without a zone is of this machine's.
    """
    if _DURATION.match(text):
        return int(now) + (duration(text) if ahead else -duration(text))
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            "expected a duration such as 2h or 1d12h, or a time such as 2030-01-31T18:00, "
            f"got {text!r}"
        ) from None


def moment_text(seconds: int) -> str:
    """In this machine's zone, as `moment` reads it; empty for never."""
    return datetime.fromtimestamp(seconds).isoformat(" ", "seconds") if seconds else ""


def label_pairs(texts: Iterable[str]) -> dict[str, str]:
    """Of "role=web,zone=a" and the like. Raises ValueError."""
    found: dict[str, str] = {}
    for text in texts:
        for pair in text.split(","):
            key, equals, value = pair.strip().partition("=")
            if not key or not equals:
                raise ValueError(f"expected labels such as role=web,zone=a, got {pair!r}")
            if found.get(key, value) != value:
                raise ValueError(f"the label {key} is there twice, as {found[key]} and {value}")
            found[key] = value
    if len(found) > MAX_LABELS:
        raise ValueError(f"expected at most {MAX_LABELS} labels, got {len(found)}")
    return found


def merged(labels: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Labels of several options; of one key, the last value."""
    return {key: value for one in labels for key, value in one.items()}


def label_changes(texts: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """What "role=web" sets and "zone-" removes. Raises ValueError."""
    words = [word for text in texts for word in text.split(",")]
    removed = [word[:-1] for word in words if word.endswith("-") and "=" not in word]
    if "" in removed:
        raise ValueError("expected the name of a label before the hyphen that removes it")
    given = label_pairs(word for word in words if not (word.endswith("-") and "=" not in word))
    if both := sorted(given.keys() & set(removed)):
        raise ValueError(f"the label {both[0]} is set and removed at once")
    return given, removed


def counted(number: int, noun: str) -> str:
    """ "1 host", "2 hosts"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def labels_text(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A duration, as seconds within bounds."""

    name = "DURATION"

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        try:
            seconds = value if isinstance(value, int) else duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not self._low <= seconds <= self._high:
            low, high = duration_text(self._low), duration_text(self._high)
            self.fail(f"expected a duration from {low} to {high}, got {value}", param, ctx)
        return seconds


class Moment(click.ParamType):  # type: ignore[type-arg]
    """A moment, as unix seconds. ahead: it lies in the future, and a duration counts from now."""

    name = "WHEN"

    def __init__(self, *, ahead: bool) -> None:
        self._ahead = ahead

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        now = time.time()
        try:
            seconds = value if isinstance(value, int) else moment(value, now, ahead=self._ahead)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if self._ahead and seconds <= now:
            self.fail(f"expected a time in the future, got {value}", param, ctx)
        return seconds


class Labels(click.ParamType):  # type: ignore[type-arg]
    """Labels of one option; `merged` joins those of several."""

    name = "KEY=VALUE,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> dict[str, str]:
        try:
            return value if isinstance(value, dict) else label_pairs([str(value)])
        except ValueError as error:
            self.fail(str(error), param, ctx)
