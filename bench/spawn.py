# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.spawn`: what identity costs a process, and how long an unknown one waits for it.

The spawn loop (vfork, exec, exit of a static program that the kernel knows) runs under three
configurations in random order, paired by repetition: no tracepoint, three empty ones (the floor
that any program in their place would cost), and Cordon's. Ratios are to the same repetition's bare
measurement; a claim smaller than the spread is no claim. The machine should be idle: the agent
needs a core beside the loop's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from agent.edge import hooks, libbpf, links
from agent.edge.hooks import HOOKS, Pins, ProgramType
from bench.run import quartiles
from tests.lab import Lab, LabHost
from tests.lab.cordon import Cordon

HERE = Path(__file__).resolve().parent
BARE, EMPTY, CORDON = "no tracepoint", "empty tracepoints", "cordon"
POLICY = """
kind: Workload
name: known
segment: s
match: [{unit: known.service}]
---
kind: Segment
name: s
mode: enforce
"""
_RETURN = bytes.fromhex("b700000000000000") + bytes.fromhex("9500000000000000")
"""r0 = 0; exit"""
_TRACEPOINTS = [hook for hook in HOOKS if hook.tracepoint]


@dataclass
class Bench:
    """One host with an agent, whose tracepoints are taken away and put back."""

    host: LabHost
    pins: Pins
    program: Path
    cpu: int
    samples: dict[str, list[float]] = field(default_factory=dict)

    @contextlib.contextmanager
    def configured(self, name: str) -> Iterator[None]:
        with ExitStack() as undo:
            if name != CORDON:
                for hook in _TRACEPOINTS:
                    (self.pins.links / hook.function).unlink()
                undo.callback(hooks.attach, self.pins, self.host.cgroup)
            if name == EMPTY:
                self._attach_empty(undo)
            yield

    def _attach_empty(self, undo: ExitStack) -> None:
        for hook in _TRACEPOINTS:
            program = libbpf.prog_load(int(ProgramType.RAW_TRACEPOINT), _RETURN, "empty", "GPL", 0)
            undo.callback(os.close, program)
            undo.callback(os.close, links.raw_tracepoint_open(program, hook.tracepoint))

    def spawn(self, name: str, seconds: float) -> float:
        """Nanoseconds for one process."""
        argv = ["taskset", "-c", str(self.cpu), str(self.program), "loop", str(seconds)]
        with self.configured(name):
            done = self.host.run(argv, "known.service", timeout=seconds + 20)
        if done.returncode != 0:
            raise SystemExit(f"bench: the loop under {name} failed: {done.stderr}")
        count, nanoseconds = map(int, done.stdout.split())
        return nanoseconds / count

    def race(self, repetitions: int, seconds: float) -> None:
        names = [BARE, EMPTY, CORDON]
        for name in names:
            self.spawn(name, seconds / 5)  # warm up
        for _ in range(repetitions):
            for name in random.sample(names, len(names)):
                self.samples.setdefault(name, []).append(self.spawn(name, seconds))

    def tag(self, count: int) -> list[int]:
        """Nanoseconds from exec to identity of programs that the kernel does not know."""
        folder = self.program.parent
        copies = [folder / f"copy-{number}" for number in range(count)]
        for copy in copies:
            shutil.copy(self.program, copy)
        argv = [str(self.program), "tag", str(self.pins.maps / "processes"), *map(str, copies)]
        done = self.host.run(argv, "known.service", timeout=60 + count)
        if done.returncode != 0:
            raise SystemExit(f"bench: measuring from exec to identity failed: {done.stderr}")
        return sorted(map(int, done.stdout.split()))


@contextlib.contextmanager
def bench(cpu: int) -> Iterator[Bench]:
    with Lab("a") as lab:
        cordon = Cordon(lab)
        try:
            cordon.start(POLICY)
            program = lab.run_folder / "spawn"
            build = ["gcc", "-O2", "-static", "-o", str(program), str(HERE / "spawn.c")]
            subprocess.run(build, check=True)
            yield Bench(lab["a"], Pins(cordon["a"].pins), program, cpu)
        finally:
            cordon.close()


def show_race(samples: dict[str, list[float]]) -> dict[str, object]:
    print(f"\n{'fork, exec, exit':<26}{'median ns':>12}{'ratio':>9}{'quartiles':>18}")
    figures: dict[str, object] = {}
    for name, values in samples.items():
        paired = [a / b for a, b in zip(values, samples[BARE], strict=True)]
        first, middle, third = quartiles(paired)
        median = statistics.median(values)
        spread = f"{first:.3f} to {third:.3f}"
        print(f"{name:<26}{median:>12,.0f}{middle:>9.3f}{spread:>18}")
        figures[name] = {"ns": median, "ratio": middle}
    return figures


def show_tags(values: Sequence[int]) -> dict[str, object]:
    figures: dict[str, object] = {}
    for percent in (50, 90, 99):
        at = min(len(values) - 1, len(values) * percent // 100)
        microseconds = values[at] / 1000
        print(f"from exec to identity, p{percent}: {microseconds:,.0f} us")
        figures[f"exec to identity, p{percent}, us"] = microseconds
    return figures


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.spawn", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=15, help="pairs (default 15)")
    parser.add_argument("--seconds", type=float, default=0.5, help="each measurement (default 0.5)")
    parser.add_argument("--cpu", type=int, default=1, help="core of the loop (default 1)")
    parser.add_argument("--programs", type=int, default=500, help="unknown ones (default 500)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


def main() -> int:
    options = parse()
    if os.geteuid() != 0:
        print("bench: needs root, for it loads programs into the kernel", file=sys.stderr)
        return 2
    load = os.getloadavg()[0]
    print(f"kernel {platform.release()}, load {load:.2f}, {options.repetitions} pairs")
    with bench(options.cpu) as running:
        figures = show_tags(running.tag(options.programs))
        running.race(options.repetitions, options.seconds)
        figures |= show_race(running.samples)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
