# SPDX-License-Identifier: Apache-2.0
"""The entry point. Exit status: 0 nothing was found; 1 something was; 2 it cannot run here.

In every case nothing stays on the machine.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tests.lab.demo.report import FAILURES
from tests.soak import judgement
from tests.soak.disturb import Disturber, Wrong, disturb
from tests.soak.judgement import Finding
from tests.soak.samples import Sampler
from tests.soak.scene import Scene, scene

FOUND, CANNOT_RUN = 1, 2
MIN_MINUTES = 10.0
"""Less leaves nothing after the warm-up from which a trend could be told."""
FIRST, LAST = 300.0, 600.0
"""Bounds of the warm-up in seconds. An agent keeps its last thousand refusals and a controller the
last 64 versions of a policy: both are there after five minutes."""
WIDTH = 100


def warm_up(seconds: float) -> float:
    """How much of a soak's beginning says nothing."""
    return min(LAST, max(FIRST, seconds / 5))


def watch(built: Scene) -> Sampler:
    sampler = Sampler()
    sampler.watch_process("agent of a", lambda: built.a.agent)
    sampler.watch_process("agent of b", lambda: built.b.agent)
    sampler.watch_process("controller", lambda: built.fleet.controller.process)
    sampler.watch_host(built.a.lab, undisturbed=False)
    sampler.watch_host(built.b.lab, undisturbed=True)
    sampler.start()
    return sampler


def troubles(built: Scene, sampler: Sampler) -> list[str]:
    """Everything that is of a wrong kind, as sentences."""
    found = [f"{what}: {how}" for what, how in sampler.unexpected.items()]
    for name, load in built.loads.items():
        found += [f"{name}: {odd}" for odd in load.report().odd]
    logs = {name: host.agent for name, host in built.fleet.hosts.items()}
    for name, process in {**logs, "controller": built.fleet.controller.process}.items():
        output = process.output() if process is not None else "error it never ran"
        found += [f"log of {name}: {line}" for line in judgement.unexpected_lines(output)]
    return found


def soak(seconds: float) -> dict[str, Any]:
    """Everything that came of it."""
    with scene() as built:
        sampler, disturber = watch(built), Disturber(built)
        found = []
        try:
            disturb(disturber, seconds)
        except (Wrong, *FAILURES) as failure:
            found.append(f"round {disturber.done['policy changes'] // 2}: {failure}")
        sampler.stop()
        found += troubles(built, sampler)
        traffic = {
            lane: outcomes
            for name, load in built.loads.items()
            if name != "db"
            for lane, outcomes in load.report().counts.items()
        }
        findings = judgement.judge(sampler.series(), warm_up(seconds))
        found += [finding.wrong for finding in findings if finding.wrong]
    return {
        "seconds": sampler.seconds,
        "warm_up": warm_up(seconds),
        "done": dict(disturber.done),
        "traffic": traffic,
        "findings": findings,
        "wrong": found,
    }


def row(finding: Finding) -> dict[str, Any]:
    """A finding as JSON has it; per hour, so that soaks of any length can be compared.

    With its points: what one soak looks like is the best question to the next.
    """
    found = finding.trend
    numbers = found and {
        "level": found.level,
        "per_hour": found.slope * 3600,
        "low_per_hour": found.low * 3600,
        "high_per_hour": found.high * 3600,
        "points": found.points,
    }
    series = finding.series
    return {
        "what": series.name,
        "unit": series.unit,
        "trend": numbers,
        "wrong": finding.wrong,
        "points": [(round(at, 1), round(value, 3)) for at, value in series.points],
    }


def show(result: dict[str, Any]) -> None:
    console = Console(width=WIDTH, highlight=False, markup=False)
    console.print(f"\n{result['seconds'] / 60:.0f} minutes, {result['warm_up']:.0f} s of warm-up")
    console.print(", ".join(f"{count} {what}" for what, count in result["done"].items()))
    for lane, outcomes in result["traffic"].items():
        console.print(f"  {lane}: " + ", ".join(f"{n} {what}" for what, n in outcomes.items()))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("what", "level", "per hour", "for sure between", ""):
        table.add_column(column, justify="left" if column in ("what", "") else "right")
    for finding in result["findings"]:
        _add(table, row(finding))
    console.print(table)
    for wrong in result["wrong"]:
        console.print(f"WRONG: {wrong}")
    console.print(f"soak: {len(result['findings'])} series, {len(result['wrong'])} things wrong")


def _add(table: Table, found: dict[str, Any]) -> None:
    numbers = found["trend"]
    if numbers is None:
        table.add_row(found["what"], "", "", "", "too few points to tell")
        return
    between = f"{numbers['low_per_hour']:+.2f} and {numbers['high_per_hour']:+.2f}"
    level = f"{numbers['level']:.1f} {found['unit']}".strip()
    mark = "GROWS" if found["wrong"] else ""
    table.add_row(found["what"], level, f"{numbers['per_hour']:+.2f}", between, mark)


@click.command()
@click.option("--minutes", type=click.FloatRange(MIN_MINUTES), default=60.0, show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON, besides.")
def main(minutes: float, output: Path | None) -> None:
    """Soak a fleet of two hosts and a controller, as root."""
    if os.geteuid() != 0:
        click.echo(
            "soak: it needs root, for namespaces, cgroups and eBPF; run it as root", err=True
        )
        sys.exit(CANNOT_RUN)
    result = soak(minutes * 60)
    show(result)
    if output is not None:
        told = {**result, "findings": [row(finding) for finding in result["findings"]]}
        output.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    sys.exit(FOUND if result["wrong"] else 0)


if __name__ == "__main__":
    main()
