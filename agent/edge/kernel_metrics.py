# SPDX-License-Identifier: Apache-2.0
"""The kernel's part of a scrape: per-CPU counters, map sizes, run times, read from the pins.

Every function opens what it reads and closes it again; errors are OSError (BpfError).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agent.core.abi import CONTROL, GenerationFlag, Outcome, counter_index, counter_of
from agent.core.compile import BOUNDS
from agent.core.flows import enum_name
from agent.core.model import Reason
from agent.edge import links
from agent.edge.hooks import HOOKS
from agent.edge.maps import BpfMap
from agent.edge.metric_names import HELP, OUTCOME_NAMES, SHOWN_AT_ZERO, Name

STATS_ENABLED = Path("/proc/sys/kernel/bpf_stats_enabled")
TABLES = ("processes", "executables", "handshakes", "datagrams", "records", "rule_hits")
"""Maps whose entries come and go. The policy's maps are asked for besides."""


def verdicts(maps: Path) -> list[Metric]:
    """Judgements by direction, verdict and reason."""
    family = CounterMetricFamily(
        "cordon_verdicts", "Judgements.", labels=["direction", "verdict", "reason"]
    )
    always = {counter_index(*one) for one in SHOWN_AT_ZERO}
    for index, value in sums(maps / "counters"):
        if value or index in always:
            direction, verdict, reason = counter_of(index)
            labels = [direction.name.lower(), verdict.name.lower(), enum_name(Reason, reason)]
            family.add_metric(labels, value)
    return [family]


def outcomes(maps: Path) -> list[Metric]:
    """What else the datapath counts. All that have a name are shown, also at zero."""
    families: dict[str, CounterMetricFamily] = {}
    for index, value in sums(maps / "outcomes"):
        if index not in OUTCOME_NAMES and not value:
            continue
        name = _outcome_name(index)
        labels = [name.label] if name.label else None
        family = families.setdefault(
            name.metric, CounterMetricFamily(name.metric, HELP[name.metric], labels=labels)
        )
        family.add_metric([name.value] if name.label else [], value)
    return list(families.values())


def _outcome_name(index: int) -> Name:
    try:
        return OUTCOME_NAMES[Outcome(index)]
    except ValueError:
        return Name("cordon_outcomes", "number", str(index))


def sums(path: Path) -> Iterator[tuple[int, int]]:
    """Index -> sum over the CPUs, of a per-CPU array or hash of 64-bit numbers."""
    with BpfMap.open_pinned(path) as counters:
        for key, values in counters.items_percpu():
            total = sum(int.from_bytes(value, "little") for value in values)
            yield int.from_bytes(key, "little"), total


def map_sizes(maps: Path) -> list[Metric]:
    """Entries and capacity of every map that can be full."""
    entries = GaugeMetricFamily(
        "cordon_bpf_map_entries", "Entries of a kernel map.", labels=["map"]
    )
    capacity = GaugeMetricFamily(
        "cordon_bpf_map_capacity", "Entries that a kernel map can hold.", labels=["map"]
    )
    for name in TABLES:
        with BpfMap.open_pinned(maps / name) as table:
            entries.add_metric([name], table.count())
            capacity.add_metric([name], table.max_entries)
    slot = _generation(maps) & GenerationFlag.SLOT
    for name, bound in BOUNDS.items():
        entries.add_metric([name], _policy_entries(maps / name, slot))
        capacity.add_metric([name], bound)
    return [entries, capacity]


def _generation(maps: Path) -> int:
    with BpfMap.open_pinned(maps / "control") as control:
        return CONTROL.unpack(control.get(bytes(4)) or bytes(CONTROL.size)).generation


def _policy_entries(path: Path, slot: int) -> int:
    """The map in force is made to measure, so its capacity is what is in it; an empty one has 1."""
    with BpfMap.open_pinned(path) as outer:
        number = outer.get(int(slot).to_bytes(4, "little"))
    if number is None:
        return 0  # no policy yet
    with BpfMap.by_id(int.from_bytes(number, "little"), path.name) as inner:
        return inner.max_entries if inner.max_entries > 1 else inner.count()


def program_times(programs: Path) -> list[Metric]:
    """Run time and runs of each program; nothing where the kernel does not measure them."""
    if not _measured():
        return []
    seconds = CounterMetricFamily(
        "cordon_bpf_program_seconds", "Run time of a program.", labels=["program"]
    )
    runs = CounterMetricFamily("cordon_bpf_program_runs", "Runs of a program.", labels=["program"])
    for hook in HOOKS:
        name = hook.function.removeprefix("cordon_")
        fd = links.obj_get(programs / hook.function)
        try:
            time = links.program_run_time(fd)
        finally:
            os.close(fd)
        seconds.add_metric([name], time.nanoseconds / 1e9)
        runs.add_metric([name], time.runs)
    return [seconds, runs]


def _measured() -> bool:
    try:
        return STATS_ENABLED.read_text().strip() == "1"
    except OSError:
        return False


class RuleSeries:
    """Connections by rule, for at most so many rules.

    Whoever has a series keeps it: a series that came and went with the day's ranking would look
    like a counter that starts anew.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._chosen: set[int] = set()

    def families(self, maps: Path, names: Mapping[int, str]) -> list[Metric]:
        """names: of the policy in force; other rules are left out, and their places go free."""
        if not self._most:
            return []
        hits = {number: total for number, total in sums(maps / "rule_hits") if number in names}
        self._chosen.intersection_update(names)
        for number in sorted(hits, key=lambda number: -hits[number]):
            if len(self._chosen) >= self._most:
                break
            self._chosen.add(number)
        family = CounterMetricFamily(
            "cordon_rule_connections", "Connections that a rule decided.", labels=["rule", "number"]
        )
        for number in sorted(self._chosen & hits.keys()):
            family.add_metric([names[number], str(number)], hits[number])
        return [family]
