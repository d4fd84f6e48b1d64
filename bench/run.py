# SPDX-License-Identifier: Apache-2.0
"""`make bench`: the price of a connection and of a round trip, and how fast a policy is in force.

Several labs stand side by side: one bare, the others with agents and policies of different sizes.
Each repetition measures all of them in random order, client and server pinned to one core, and is
compared with its own bare measurement; medians and quartiles are of these paired ratios. A claim
smaller than the spread is no claim. Absolute numbers are this machine's and carry over badly.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import Lab, LabHost, wait_until
from tests.lab.cordon import Cordon
from tests.lab.fleet import Fleet, fleet

HERE = Path(__file__).resolve().parent
PORT = 5432
RATE = 5000
"""Of connections, where it is the agents that are measured."""
BARE = "bare"


@dataclass
class Course:
    """One configuration: a client and a server that can be measured."""

    name: str
    client: LabHost
    server: LabHost
    cordon: Cordon | Fleet | None = None
    samples: dict[str, list[float]] = field(default_factory=dict)


def workloads(allow: str) -> str:
    return f"""
kind: Workload
name: web
segment: front
match: [{{unit: web.service}}]
---
kind: Workload
name: db
segment: data
match: [{{unit: db.service}}]
---
kind: Segment
name: front
mode: enforce
---
kind: Segment
name: data
mode: enforce
---
kind: Allow
name: web-to-db
from: {{workload: web}}
to: {{workload: db}}
ports: [tcp/{PORT}]
{allow}
"""


def policy_of(entries: int) -> str:
    """A policy that compiles to about so many entries for host b, a hundred ports a network."""
    ports = ", ".join(f"tcp/{10000 + number}" for number in range(min(entries, 100)))
    networks = ", ".join(
        f"{{cidr: 198.18.{number // 64}.{number % 64 * 4}/30}}"
        for number in range(max(1, entries // 100))
    )
    return workloads(
        "---\nkind: Allow\nname: many\n"
        f"from: [{networks}]\nto: {{workload: db}}\nports: [{ports}]\n"
    )


def rules_of(count: int) -> str:
    """A policy of so many rules, each with a name and a port of its own."""
    return workloads(
        "".join(
            f"---\nkind: Allow\nname: rule-{number}\nfrom: {{cidr: 198.18.{number % 250}.0/24}}\n"
            f"to: {{workload: db}}\nports: [tcp/{10000 + number}]\n"
            for number in range(count)
        )
    )


@contextlib.contextmanager
def bare_course(program: Path, cpu: int) -> Iterator[Course]:
    with Lab("a", "b") as lab:
        yield _serving(Course(BARE, lab["a"], lab["b"]), program, cpu)


@contextlib.contextmanager
def cordon_course(name: str, policy: str, program: Path, cpu: int) -> Iterator[Course]:
    with Lab("a", "b") as lab:
        cordon = Cordon(lab)
        try:
            cordon.start(policy)
            yield _serving(Course(name, lab["a"], lab["b"], cordon), program, cpu)
        finally:
            cordon.close()


@contextlib.contextmanager
def fleet_course(
    name: str, policy: str, program: Path, cpu: int, *, flows: bool
) -> Iterator[Course]:
    """With a controller. flows: each agent ships what its kernel tells of every connection.

    Three hosts meet at a bridge, which costs by itself: compare two of these with each other.
    """
    with fleet(policy, ship_flows=flows) as running:
        lab = running.lab
        yield _serving(Course(name, lab["a"], lab["b"], running), program, cpu)


def _serving(course: Course, program: Path, cpu: int) -> Course:
    argv = ["taskset", "-c", str(cpu), str(program), "serve", course.server.v4, str(PORT)]
    server = course.server.spawn(argv, "db.service")
    wait_until(lambda: "ready" in server.output(), "the server listens")
    if course.cordon is not None:
        course.cordon["b"].wait_attested(server.pid)
    return course


def measure(
    course: Course, kind: str, program: Path, cpu: int, seconds: float, rate: int = 0
) -> float:
    """Nanoseconds for one operation. rate: at most so many a second; 0: as many as can be."""
    argv = ["taskset", "-c", str(cpu), str(program), kind, course.server.v4, str(PORT)]
    done = course.client.run([*argv, str(seconds), str(rate)], "web.service", timeout=seconds + 20)
    if done.returncode != 0:
        raise SystemExit(f"bench: the client on the course {course.name} failed: {done.stderr}")
    count, nanoseconds = map(int, done.stdout.split())
    return nanoseconds / count


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    first, median, third = statistics.quantiles(values, n=4)
    return first, median, third


def race(
    courses: Sequence[Course], kind: str, program: Path, cpu: int, repetitions: int, seconds: float
) -> None:
    """Fill every course's samples of this kind, in pairs."""
    for course in courses:
        measure(course, kind, program, cpu, seconds / 5)  # warm up
    for _ in range(repetitions):
        for course in random.sample(courses, len(courses)):
            nanoseconds = measure(course, kind, program, cpu, seconds)
            course.samples.setdefault(kind, []).append(nanoseconds)


def ratios(course: Course, base: Course, kind: str) -> list[float]:
    return [a / b for a, b in zip(course.samples[kind], base.samples[kind], strict=True)]


def resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise SystemExit(f"bench: process {pid} has no resident memory: it has ended")


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def idle_share(pid: int, seconds: float) -> float:
    """CPU time over wall time of a process that nobody asks anything."""
    before = cpu_ticks(pid)
    time.sleep(seconds)
    return (cpu_ticks(pid) - before) / os.sysconf("SC_CLK_TCK") / seconds


def agent_figures(idle_seconds: float) -> dict[str, float]:
    """Start, memory, idle cost, and a policy of 1,000 rules from file to kernel."""
    with Lab("a", "b") as lab:
        cordon = Cordon(lab)
        try:
            cordon.publish(policy_of(10))
            host = cordon["b"]
            host.write_config(cordon.folder / "out" / "policy.pub")
            started = time.monotonic()
            host.start()
            host.wait_ready()
            enforcing = time.monotonic() - started
            applies = []
            for round_ in range(7):
                version = host.status().policy_version
                out = cordon.compile(rules_of(1000 + round_))
                host.lab.write_file(host.snapshot.name, (out / "b.snapshot").read_bytes())
                wait_until(
                    lambda version=version: host.status().policy_version > version,  # type: ignore[misc]
                    "the new policy is in force",
                )
                applies.append(host.status().apply_seconds)
            assert host.agent is not None
            return {
                "agent start to enforcing, s": enforcing,
                "compile and load, s": host.status().load_seconds,
                "1,000 rules, file to kernel, ms (median of 7)": statistics.median(applies) * 1000,
                "agent resident memory, MiB": resident_kib(host.agent.pid) / 1024,
                "agent idle CPU, %": idle_share(host.agent.pid, idle_seconds) * 100,
            }
        finally:
            cordon.close()


def telling_figures(program: Path, cpu: int, seconds: float) -> dict[str, float]:
    """What agents spend that ship what their kernels tell of 5,000 new connections per second."""
    with fleet_course("telling", policy_of(10), program, cpu, flows=True) as course:
        assert isinstance(course.cordon, Fleet)
        agents = {name: course.cordon[name].agent for name in ("a", "b")}
        pids = {name: agent.pid for name, agent in agents.items() if agent is not None}
        measure(course, "crr", program, cpu, seconds / 5, RATE)  # warm up
        kib = {name: resident_kib(pid) for name, pid in pids.items()}
        ticks = {name: cpu_ticks(pid) for name, pid in pids.items()}
        nanoseconds = measure(course, "crr", program, cpu, seconds, RATE)
        spent = seconds * os.sysconf("SC_CLK_TCK") / 100
        figures = {"connections per second while agents tell of them": 1e9 / nanoseconds}
        for name, end in (("a", "client"), ("b", "server")):
            share = (cpu_ticks(pids[name]) - ticks[name]) / spent
            figures[f"agent's CPU for that, {end}'s, %"] = share
            grown = (resident_kib(pids[name]) - kib[name]) / 1024
            figures[f"agent's memory grew by, {end}'s, MiB"] = grown
        return figures


def connection_figures(options: argparse.Namespace, program: Path) -> list[Course]:
    with contextlib.ExitStack() as stack:
        courses = [stack.enter_context(bare_course(program, options.cpu))]
        for entries in options.entries:
            name = f"cordon, {entries:,} entries"
            course = cordon_course(name, policy_of(entries), program, options.cpu)
            courses.append(stack.enter_context(course))
        policy = policy_of(options.entries[0])
        for name, flows in (("bridged", False), ("bridged, with flows", True)):
            telling = fleet_course(name, policy, program, options.cpu, flows=flows)
            courses.append(stack.enter_context(telling))
        for kind in ("crr", "rr"):
            race(courses, kind, program, options.cpu, options.repetitions, options.seconds)
        return courses


def show(courses: Sequence[Course]) -> dict[str, dict[str, float]]:
    titles = {"crr": "connection, one byte each way, reset", "rr": "round trip of one byte"}
    base, result = courses[0], {}
    for kind, title in titles.items():
        print(f"\n{title}\n{'':<26}{'median ns':>12}{'ratio':>9}{'quartiles':>18}")
        for course in courses:
            median = statistics.median(course.samples[kind])
            first, middle, third = quartiles(ratios(course, base, kind))
            spread = f"{first:.3f} to {third:.3f}"
            print(f"{course.name:<26}{median:>12,.0f}{middle:>9.3f}{spread:>18}")
            result[f"{kind} {course.name}"] = {"ns": median, "ratio": middle}
    return result


def build(folder: Path) -> Path:
    program = folder / "crr"
    subprocess.run(["gcc", "-O2", "-o", program, HERE / "crr.c"], check=True)
    return program


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=15, help="pairs (default 15)")
    parser.add_argument("--seconds", type=float, default=0.5, help="each measurement (default 0.5)")
    parser.add_argument("--cpu", type=int, default=1, help="core of client and server (default 1)")
    parser.add_argument("--entries", type=int, nargs="+", default=[10, 16000])
    parser.add_argument("--idle", type=float, default=10.0, help="seconds of idling (default 10)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


def main() -> int:
    options = parse()
    if os.geteuid() != 0:
        print("bench: needs root, for it loads programs into the kernel", file=sys.stderr)
        return 2
    load = os.getloadavg()[0]
    print(f"kernel {platform.release()}, load {load:.2f}, {options.repetitions} pairs")
    with Lab("x") as scratch:
        program = build(scratch.run_folder)
        courses = connection_figures(options, program)
        telling = telling_figures(program, options.cpu, options.idle)
    figures: dict[str, object] = dict(show(courses))
    print()
    for name, value in (agent_figures(options.idle) | telling).items():
        print(f"{name:<48}{value:>10.2f}")
        figures[name] = value
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
