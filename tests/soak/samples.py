# SPDX-License-Identifier: Apache-2.0
"""Readings of the running fleet, every few seconds, by a thread: processes, maps, metrics.

From outside: of processes what the kernel says of them, of maps what the agent tells Prometheus.
While an agent is away its host gives no reading; that is no gap for a trend.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.lab.host import LabHost
from tests.lab.process import LabProcess
from tests.lab.prometheus import METRICS, http_get
from tests.soak import judgement
from tests.soak.judgement import MIB, PUSHING, Sample, Series, grain_of_map
from tests.soak.trend import Point

INTERVAL = 5.0
WARM_LIFE = 10.0
"""Seconds after which a restarted process has what it needs; the soak lets them live longer."""
GRAINS = {"memory": (1.0, "MiB"), "descriptors": (1.0, ""), "threads": (1.0, "")}


def read_process(pid: int) -> dict[str, float]:
    """Raises OSError if it has ended."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    if "VmRSS" not in fields:
        raise ProcessLookupError(f"process {pid} has ended")
    return {
        "memory": int(fields["VmRSS"].split()[0]) * 1024 / MIB,
        "descriptors": float(sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())),
        "threads": float(fields["Threads"]),
    }


def scrape(host: LabHost) -> list[Sample]:
    """Raises OSError while no agent answers."""
    text = http_get(host, METRICS).decode()
    return [
        (sample.name, sample.labels, float(sample.value))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


class Sampler:
    """`watch` what there is, then `start`. unexpected: what should never be seen, and
    how it was seen first."""

    def __init__(self) -> None:
        self.unexpected: dict[str, str] = {}
        self._processes: dict[str, Callable[[], LabProcess | None]] = {}
        self._hosts: dict[str, tuple[LabHost, bool]] = {}
        self._before: dict[str, dict[str, float]] = {}
        self._lives: dict[str, dict[int, dict[str, list[Point]]]] = defaultdict(dict)
        self._maps: dict[str, list[Point]] = defaultdict(list)
        self._capacities: dict[str, float] = {}
        self._began = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="soak-sampler", daemon=True)

    def watch_process(self, name: str, which: Callable[[], LabProcess | None]) -> None:
        """which: the process of that name at the moment."""
        self._processes[name] = which

    def watch_host(self, host: LabHost, *, undisturbed: bool) -> None:
        """undisturbed: whether its agent is never away."""
        self._hosts[host.name] = host, undisturbed
        self._before[host.name] = judgement.quiet_metrics(scrape(host), undisturbed=undisturbed)

    def start(self) -> None:
        self._began = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join(60.0)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def _run(self) -> None:
        while not self._end.wait(INTERVAL):
            for name, which in self._processes.items():
                process = which()
                if process is not None and process.alive:
                    self._read_process(name, process.pid)
            for host, undisturbed in self._hosts.values():
                self._read_host(host, undisturbed=undisturbed)

    def _read_process(self, name: str, pid: int) -> None:
        try:
            found = read_process(pid)
        except OSError:
            return  # it ended between the two looks
        life = self._lives[name].setdefault(pid, defaultdict(list))
        for what, value in found.items():
            life[what].append((self.seconds, value))

    def _read_host(self, host: LabHost, *, undisturbed: bool) -> None:
        try:
            samples = scrape(host)
        except OSError as error:
            if undisturbed:
                self.unexpected.setdefault(f"{host.name}: metrics", f"cannot be read: {error}")
            return
        quiet = judgement.quiet_metrics(samples, undisturbed=undisturbed)
        for what, value in judgement.risen(self._before[host.name], quiet).items():
            at = f"rose to {value:g}, first seen at {self.seconds:.0f} s"
            self.unexpected.setdefault(f"{host.name}: {what}", at)
        for name, labels, value in samples:
            key = f"{host.name}: map {labels.get('map')}"
            if name == "cordon_bpf_map_entries" and labels["map"] not in PUSHING:
                self._maps[key].append((self.seconds, value))
            elif name == "cordon_bpf_map_capacity":
                self._capacities[key] = value

    def series(self) -> list[Series]:
        """All that is judged."""
        found = []
        for name, lives in self._lives.items():
            for what, (grain, unit) in GRAINS.items():
                courses = [life[what] for life in lives.values()]
                if len(courses) == 1:
                    found.append(Series(f"{name}: {what}", courses[0], grain, unit))
                else:
                    points = judgement.levels(courses, WARM_LIFE)
                    found.append(Series(f"{name}: {what}, by lives", points, grain, unit))
        for key, points in sorted(self._maps.items()):
            found.append(Series(key, points, grain_of_map(self._capacities[key])))
        return found
