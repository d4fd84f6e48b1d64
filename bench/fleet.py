# SPDX-License-Identifier: Apache-2.0
"""Figures of the controller: `python -m bench.fleet [--agents N]`.

A real `cordon-controller serve` over PostgreSQL; agents are real mTLS streams of the load program
(`bench/fleet_agents`), which hold what a host would and answer as one.
Measured: a change of one rule until every agent it concerns has been confirmed; all agents coming
back at once after the controller was killed, until the last is in sync; and the controller's memory
per agent. Besides, in this process, what compiling costs: the whole fleet, and one changed rule.

Read the figures with the machine they are from: load program and controller share its cores.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from bench import fleet_rows, fleet_store
from bench.fleet_load import Load, build
from bench.fleet_watch import Watch
from controller.board import batch_of
from controller.fleet.compile import Fleet
from controller.releases import Sealing
from controller.signing import new_key
from tests.store.postgres import Cluster

REST_SECONDS = 3.0
"""Between changes: what the one before has left comes to its end, such as writing who has it."""


@dataclass(frozen=True)
class Result:
    """what: for people. value: in the unit that `what` names."""

    what: str
    value: float


def percentile(values: Sequence[float], part: float) -> float:
    """Of all values: the one below which `part` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise click.ClickException(f"process {pid} is gone")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_streams(folder: Path, agents: int, rounds: int) -> list[Result]:
    with Cluster() as cluster:
        return _measure_streams(folder, cluster, agents, rounds)


def _measure_streams(folder: Path, cluster: Cluster, agents: int, rounds: int) -> list[Result]:
    program = build()
    site = fleet_store.Site(folder, cluster, agents)
    load = Load(program, folder / fleet_store.IDENTITIES)
    try:
        site.start()
        empty = resident_kib(site.pid)
        began = time.monotonic()
        load.tell(["in_sync"], do="connect", address=site.address, seconds=agents / 500)
        (first,) = load.answers()
        results = [Result("all enrolled agents in sync for the first time, s", max(first) - began)]
        full = resident_kib(site.pid)
        results.append(Result("controller, KiB per agent", (full - empty) / agents))
        results += _changes(site, load, rounds)
        results += _return(site, load, "all come back at once")
        results += _return(site, load, "all come back at once for a change", change=-1)
        return results
    finally:
        load.close()
        site.close()


def _changes(site: fleet_store.Site, load: Load, rounds: int) -> list[Result]:
    """One changed rule, over and over; the slowest round counts."""
    kinds = {"policy": "answered", "confirm": "confirmed"}
    taken: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    told, cpus, loads = [], [], []
    watch = Watch(site)
    for number in range(rounds):
        load.tell(list(kinds), do="change")
        time.sleep(REST_SECONDS)
        cpu, own = cpu_seconds(site.pid), cpu_seconds(load.pid)
        began = time.monotonic()
        watch.begin(site.change(number))
        for kind, moments in zip(kinds, load.answers(), strict=True):
            taken[kind].append([at - began for at in moments])
        told.append(watch.acknowledged() - began)
        cpus.append(cpu_seconds(site.pid) - cpu)
        loads.append(cpu_seconds(load.pid) - own)
    watch.close()
    what = "one rule changed, acknowledged by 99 % as the controller tells it, s"
    results = [Result(what, statistics.median(told)), Result(f"{what}, worst round", max(told))]
    for kind, done in kinds.items():
        halves = [percentile(times, 0.5) for times in taken[kind]]
        p99s = [percentile(times, 0.99) for times in taken[kind]]
        what = f"one rule changed, {done} by"
        results.append(Result(f"{what} half of all, s", statistics.median(halves)))
        results.append(Result(f"{what} 99 %, s", statistics.median(p99s)))
        results.append(Result(f"{what} 99 %, s, worst round", max(p99s)))
        results.append(Result(f"{what} the last, s, worst round", max(map(max, taken[kind]))))
    results.append(Result("controller's CPU per change, s", statistics.median(cpus)))
    results.append(Result("load program's CPU per change, s", statistics.median(loads)))
    return results


def _return(
    site: fleet_store.Site, load: Load, what: str, change: int | None = None
) -> list[Result]:
    """The controller is killed and started again. change: of the rule, meanwhile: then it has never
    made what agents hold, and each gets policy and keys whole."""
    load.tell(["in_sync"], do="return")
    site.kill()
    if change is not None:
        site.change(change)
    site.start()
    began, own = time.monotonic(), cpu_seconds(load.pid)
    back = [at - began for at in load.answers()[0]]
    return [
        Result(f"{what}, half in sync, s", statistics.median(back)),
        Result(f"{what}, 99 % in sync, s", percentile(back, 0.99)),
        Result(f"{what}, the last in sync, s", max(back)),
        Result(f"{what}, controller's CPU for that, s", cpu_seconds(site.pid)),
        Result(f"{what}, load program's CPU for that, s", cpu_seconds(load.pid) - own),
    ]


def measure_compile(hosts: int, rules: int) -> list[Result]:
    """In this process; what a document costs to be read is part of it."""
    rows = fleet_rows.make(hosts, rules)
    fleet, sealing = Fleet(), Sealing(new_key(), 86_400)
    began = time.monotonic()
    touched = fleet.load(rows)
    loaded = time.monotonic()
    batch_of(fleet, touched, sealing, rows.at)
    signed = time.monotonic()
    one = []
    for number in range(5):
        part = fleet_rows.changed(rows, number)
        start = time.monotonic()
        batch = batch_of(fleet, fleet.update(part), sealing, part.at)
        one.append(time.monotonic() - start)
    title = f"{hosts} hosts, {rules} rules"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        Result(f"{title}: compile everything, s", loaded - began),
        Result(f"{title}: sign everything, s", signed - loaded),
        Result(f"{title}: one rule changed, s", statistics.median(one)),
        Result(f"{title}: audiences that it touches", len(batch.releases)),
        Result(f"{title}: memory at the most, MiB", peak),
    ]


@click.command()
@click.option("--agents", default=200, show_default=True)
@click.option("--rounds", default=5, show_default=True, help="changes of one rule")
@click.option("--hosts", default=1000, show_default=True, help="of the compiled fleet")
@click.option("--rules", default=10_000, show_default=True, help="of the compiled fleet")
def main(agents: int, rounds: int, hosts: int, rules: int) -> None:
    """Measure, and print one line per figure."""
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    click.echo(f"Linux {platform.release()}, {os.cpu_count()} CPUs, load {load}")
    results = measure_compile(hosts, rules) if hosts else []
    if agents:
        with tempfile.TemporaryDirectory(prefix="cordon-bench-") as folder:
            results += measure_streams(Path(folder), agents, rounds)
    for result in results:
        click.echo(f"{result.value:12.3f}  {result.what}")


if __name__ == "__main__":
    main()
