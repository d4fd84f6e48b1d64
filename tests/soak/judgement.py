# SPDX-License-Identifier: Apache-2.0
"""What the soak says of what it has seen. Pure.

**Growth.** A series fails if it has grown for sure (the lower bound of its trend, see `trend`) by
more than the grain of what is measured. Two conditions, because each alone would be wrong: bounds
alone call a single page of memory that stays a leak, if everything else is calm; a limit alone
would have to be as wide as the noisiest series. All series together are to raise a false alarm in
one soak of a hundred, so each is asked for a confidence that is higher the more there are.

The grain: one descriptor, one thread, and of memory 1 MiB, which is the arena that Python takes
from the system at a time. What grows slower than a grain in a soak needs a longer soak: the bounds
of a trend shrink with its length, the grain does not grow. Of a map's entries it is a hundredth of
its capacity or 16, whichever is less: churn leaves so many on their way in and out.

A process that is restarted on purpose has no long life of its own. It gives one point a life, the
median of what it had once it was warm, and what grows from life to life is what outlives them.

**Events.** Nothing is expected but what the soak itself causes, and that is listed here. Whatever
else shows, once, is a failure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.soak.trend import Point, Trend, trend

FALSE_ALARMS = 0.01
"""How many soaks of a sound system may fail."""
MIB = 1024.0 * 1024.0
PUSHING = frozenset({"executables", "handshakes", "datagrams", "records"})
"""Maps that push out their oldest entry: they fill in ordinary service, and stay full."""

QUIET_METRICS = {
    "cordon_bpf_map_errors_total": "",
    "cordon_scrape_errors_total": "",
    "cordon_sockets_untagged_total": "",
    "cordon_staged_verdicts_total": "",
    "cordon_outcomes_total": "",
    "cordon_snapshot_refused": "",
    "cordon_snapshots_total": "refused|failed",
    "cordon_tags_total": "no_room|no_key|store_failed",
    "cordon_flow_records_total": "lost",
    "cordon_verdicts_total": "tag_[a-z]+|no_policy",
    "cordon_events_lost_total": "process",
}
"""Metrics that have to stay what they were when the soak began, all of them or those one of whose
labels is this. Before, a host has no policy yet, and its agent is new."""
QUIET_UNDISTURBED = {"cordon_holds_expired_total": "", "cordon_events_lost_total": "flow"}
"""The same, on a host whose agent is never away: without one nobody attests, and nobody reads."""
EXPECTED_EVENTS = frozenset({"state", "controller_lost"})
"""Warnings in agents' logs: the soak ends agents and cuts streams."""
_LINE = re.compile(r"^(debug|info|warning|error|critical) .*?(?:event=(\w+))?$")


@dataclass(frozen=True)
class Series:
    """points in the order of time. grain: growth of no consequence. unit: for people."""

    name: str
    points: Sequence[Point]
    grain: float
    unit: str = ""


@dataclass(frozen=True)
class Finding:
    """A series, its trend (None: too little to tell), and what is wrong with it, if anything."""

    series: Series
    trend: Trend | None
    wrong: str = ""


def judge(series: Sequence[Series], warm: float) -> list[Finding]:
    """warm: seconds from which on a series counts."""
    confidence = 1 - FALSE_ALARMS / max(1, len(series))
    return [_judge(one, warm, confidence) for one in series]


def _judge(series: Series, warm: float, confidence: float) -> Finding:
    found = trend([point for point in series.points if point[0] >= warm], confidence)
    if found is None or found.sure_growth <= 0 or found.growth <= series.grain:
        return Finding(series, found)
    grown = f"{found.growth:.1f} {series.unit}".strip()
    sure = f"{found.sure_growth:.1f}"
    wrong = f"{series.name} grew by {grown} in {found.span:.0f} s, by {sure} at the least"
    return Finding(series, found, wrong)


def levels(lives: Iterable[Sequence[Point]], warm: float) -> list[Point]:
    """One point for each life of a process: of what is older than `warm` seconds, the median."""
    found = []
    for life in lives:
        grown_up = [point for point in life if point[0] - life[0][0] >= warm]
        if grown_up:
            found.append((median(at for at, _ in grown_up), median(v for _, v in grown_up)))
    return found


def grain_of_map(capacity: float) -> float:
    return min(16.0, capacity / 100)


Sample = tuple[str, Mapping[str, str], float]
"""Name, labels, value."""


def quiet_metrics(samples: Iterable[Sample], *, undisturbed: bool) -> dict[str, float]:
    """Those that should not move, by name and labels."""
    found = {}
    for name, labels, value in samples:
        for quiet in (QUIET_METRICS, QUIET_UNDISTURBED) if undisturbed else (QUIET_METRICS,):
            pattern = quiet.get(name)
            if pattern is not None and _concerns(pattern, labels):
                text = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
                found[f"{name}{{{text}}}"] = value
    return found


def risen(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """What is more than it was. A new agent counts from 0, which is no fault."""
    return {what: value for what, value in now.items() if value > before.get(what, 0.0)}


def _concerns(pattern: str, labels: Mapping[str, str]) -> bool:
    return not pattern or any(re.fullmatch(pattern, value) for value in labels.values())


def unexpected_lines(log: str) -> list[str]:
    """Lines of a log that are errors, warnings without reason, or not of the log's own kind."""
    return [line for line in log.splitlines() if not _is_expected(line)]


def _is_expected(line: str) -> bool:
    told = _LINE.match(line)
    if told is None:
        return False
    return told[1] in ("debug", "info") or (told[1] == "warning" and told[2] in EXPECTED_EVENTS)
