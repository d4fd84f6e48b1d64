# SPDX-License-Identifier: Apache-2.0
"""What a scrape is answered with: the agent's state and the kernel's counters, read at that moment.

The kernel counts; nothing is kept here in between, so an agent that is not scraped pays nothing.
Collecting runs in a thread of the metrics server and opens the pinned maps anew each time: the
daemon's loop never waits for it, and it never meets a map that the daemon is closing. Each map is
read in batches of one system call. A part that cannot be read is left out and counted, for half of
the truth is better than a failed scrape.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.registry import Collector

from agent.core.agent import Agent
from agent.core.model import Identity, Mode, Snapshot
from agent.core.standing import State
from agent.edge import kernel_metrics
from agent.edge.hooks import HOOKS, Hook, Pins
from agent.version import VERSION

KEPT_SECONDS = 0.5
"""A scrape that comes sooner after the last is answered with the same numbers."""


class AgentCollector(Collector):
    """rules: how many rules may have a series of their own; 0 is none."""

    def __init__(self, agent: Agent, rules: int = 0) -> None:
        self._agent = agent
        self._pins: Pins | None = None
        self._rules = kernel_metrics.RuleSeries(rules)
        self._errors = 0
        self._lock = threading.Lock()
        self._answer: list[Metric] = []
        self._answered = float("-inf")

    def open(self, pins: Pins) -> None:
        """The datapath is loaded."""
        self._pins = pins

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            if time.monotonic() - self._answered >= KEPT_SECONDS:
                self._answer = list(self._read())
                self._answered = time.monotonic()
            return self._answer

    def _read(self) -> Iterator[Metric]:
        started = time.monotonic()
        yield InfoMetricFamily(
            "cordon_build",
            "What runs here.",
            value={"version": VERSION, "kernel": platform.release()},
        )
        yield from agent_families(self._agent)
        if self._pins is not None:
            yield from self._kernel_families(self._pins)
        yield CounterMetricFamily(
            "cordon_scrape_errors", "Parts of scrapes that could not be read.", self._errors
        )
        yield GaugeMetricFamily(
            "cordon_scrape_duration_seconds",
            "How long it took to read what this scrape shows.",
            time.monotonic() - started,
        )

    def _kernel_families(self, pins: Pins) -> Iterator[Metric]:
        there = [hook for hook in HOOKS if (pins.links / hook.function).exists()]
        yield _hooks("attached", "Hooks that run our programs.", there)
        parts: tuple[Callable[[Path], list[Metric]], ...] = (
            kernel_metrics.verdicts,
            kernel_metrics.outcomes,
            kernel_metrics.map_sizes,
            self._rule_series,
        )
        for part in parts:
            yield from self._part(part, pins.maps)
        yield from self._part(kernel_metrics.program_times, pins.programs)

    def _part(self, part: Callable[[Path], list[Metric]], folder: Path) -> list[Metric]:
        try:
            return part(folder)
        except OSError:  # BpfError is one
            self._errors += 1
            return []

    def _rule_series(self, maps: Path) -> list[Metric]:
        snapshot = self._agent.snapshot
        names = {rule.number: rule.name for rule in snapshot.rules} if snapshot else {}
        return self._rules.families(maps, names)


def agent_families(agent: Agent) -> Iterator[Metric]:
    """What the daemon knows without asking the kernel."""
    state = agent.state
    yield StateSetMetricFamily(
        "cordon_agent_state",
        "The agent's state; exactly one is 1.",
        {one.value: one is state for one in State},
    )
    yield _hooks("expected", "Hooks that should run our programs.", HOOKS)
    yield _gauge(
        "loader_duration_seconds",
        "The last compiling and loading; 0 where the programs were found in place.",
        agent.load_seconds,
    )
    yield _gauge(
        "snapshot_refused",
        "1 while the snapshot on disk is refused and an older policy stays.",
        bool(agent.standing.refused),
    )
    snapshot = agent.snapshot
    if snapshot is not None:
        yield from policy_families(snapshot)
        yield _gauge(
            "policy_apply_duration_seconds",
            "From reading the policy in force to the kernel's switch.",
            agent.apply_seconds,
        )


def policy_families(snapshot: Snapshot) -> Iterator[Metric]:
    """Of the policy in force."""
    yield _gauge("policy_version", "Version of the policy in force.", snapshot.version)
    yield _gauge(
        "policy_age_seconds",
        "Since the policy in force was issued.",
        max(0.0, time.time() - snapshot.issued),
    )
    yield _gauge(
        "policy_expiry_timestamp_seconds",
        "When the policy in force expires, unix time.",
        snapshot.expires,
    )
    sizes = GaugeMetricFamily(
        "cordon_policy_objects", "What the policy in force names.", labels=["kind"]
    )
    for kind in ("rules", "workloads", "peers", "networks"):
        sizes.add_metric([kind], len(getattr(snapshot, kind)))
    yield sizes
    modes = GaugeMetricFamily(
        "cordon_workloads", "Workloads of this host by the mode of their segment.", labels=["mode"]
    )
    for mode in Mode:
        modes.add_metric([mode.name.lower()], _in_mode(snapshot, mode))
    yield modes
    yield from _key_families(snapshot)


def _in_mode(snapshot: Snapshot, mode: Mode) -> int:
    usual = snapshot.modes.get(Identity.HOST, Mode.AUDIT)
    return sum(snapshot.modes.get(w.identity, usual) is mode for w in snapshot.workloads)


def _key_families(snapshot: Snapshot) -> Iterator[Metric]:
    """When the last key runs out with which we can write (to the first such peer) or verify."""
    send = [max(k.epoch for k in peer.keys) for peer in snapshot.peers if peer.keys]
    receive = [key.epoch for key in snapshot.receive_secrets]
    expiry = GaugeMetricFamily(
        "cordon_key_expiry_timestamp_seconds",
        "When the last key epoch in hand ends, unix time: of the first peer to write tags for, "
        "and for verifying.",
        labels=["use"],
    )
    length = snapshot.settings.epoch_seconds
    if send:
        expiry.add_metric(["write"], (min(send) + 1) * length)
    if receive:
        expiry.add_metric(["verify"], (max(receive) + 1) * length)
    yield expiry


def _hooks(name: str, text: str, hooks: Sequence[Hook]) -> Metric:
    """Those that judge apart from those that follow processes: suspended, the latter stay."""
    judging = sum(hook.judges for hook in hooks)
    family = GaugeMetricFamily(f"cordon_hooks_{name}", text, labels=["kind"])
    family.add_metric(["traffic"], judging)
    family.add_metric(["processes"], len(hooks) - judging)
    return family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"cordon_{name}", text, float(value))
