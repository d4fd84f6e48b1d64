# SPDX-License-Identifier: Apache-2.0
"""Many: processes that come and go, cgroups, and how long anybody waits for an answer."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.edge.maps import BpfMap
from tests.kernel.identities import Host, one_host, policy, racer, read_line, workload
from tests.lab import LabProcess, wait_until

CGROUPS = 10_000
CHURN_SECONDS = 30
SWEEP_SECONDS = 60.0
"""Twice the agent's own interval: removed cgroups are looked for every half a minute."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with racer() as made:
        yield made


@pytest.fixture(scope="module")
def host(folder: Path) -> Iterator[Host]:
    text = policy(workload("known", "unit: known.service"), workload("web", "unit: web.service"))
    with one_host(text) as running:
        yield running


def executables(host: Host) -> int:
    with BpfMap.open_pinned(host.agent.pins / "maps/executables") as found:
        return sum(1 for _ in found.items())


def resident(host: Host) -> int:
    """Bytes of the agent."""
    assert host.agent.agent is not None
    status = Path(f"/proc/{host.agent.agent.pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def test_thousands_of_spawns_leave_memory_and_maps_flat(host: Host, folder: Path) -> None:
    """One loop of a program that the kernel knows, one of a program that it may never keep, for it
    has two links: each of its starts is a question to the agent."""
    linked = folder / "linked"
    shutil.copy(folder / "racer", linked)
    (folder / "link").hardlink_to(linked)

    def churn(seconds: int) -> list[LabProcess]:
        loops = [(folder / "racer", "known.service"), (linked, "web.service")]
        racer_ = str(folder / "racer")
        return [
            host.start([racer_, "churn", str(seconds), str(program), "end"], unit)
            for program, unit in loops
        ]

    assert all(int(read_line(loop, 30)) for loop in churn(3)), "everything has been met once"
    entries, memory = len(host.entries()), resident(host)
    loops = churn(CHURN_SECONDS)
    late = host.lab.puppet("web.service")
    assert host.settled(late.pid, 30) == "web", "attested in the middle of it"
    counts = [int(read_line(loop, CHURN_SECONDS + 60)) for loop in loops]
    print(f"{sum(counts) / CHURN_SECONDS:.0f} spawns a second")
    assert min(counts) > CHURN_SECONDS * 10, "both loops ran"
    wait_until(lambda: len(host.entries()) <= entries + 1, "only the living have entries", 20)
    assert resident(host) - memory < 16 << 20
    assert host.outcome("process_map_full") == 0
    assert host.settled(host.lab.spawn(["sleep", "60"], "known.service").pid) == "known"


def test_ten_thousand_cgroups(host: Host, folder: Path) -> None:
    """A process among them is attested, a new policy comes into force, all of them go."""
    parent = host.lab.unit_cgroup("many.slice/first.service").parent
    try:
        for number in range(CGROUPS):
            (parent / f"n{number}.service").mkdir()
        assert host.settled(host.lab.spawn(["sleep", "60"], "many.slice/n77.service").pid) == "host"
        host.text = policy(workload("known", "unit: known.service"),
                           workload("seven", "unit: n7777.service"))  # fmt: skip
        process = host.lab.spawn(["sleep", "60"], "many.slice/n7777.service")
        assert host.settled(process.pid) == "host"
        host.walk_again()
        host.becomes(process.pid, "seven", 30)
    finally:
        host.lab.remove_unit("many.slice")


def test_removed_cgroup_frees_its_executables(host: Host) -> None:
    wait_until(lambda: executables(host) < 1000, "what went before is swept", SWEEP_SECONDS)
    before = executables(host)
    for number in range(20):
        host.settled(host.lab.spawn(["sleep", "60"], f"short-{number}.service").pid)
    wait_until(lambda: executables(host) >= before + 20, "each is known")
    for number in range(20):
        host.lab.remove_unit(f"short-{number}.service")
    wait_until(lambda: executables(host) <= before, "they are forgotten", SWEEP_SECONDS)


def test_hold_has_a_limit_after_which_a_process_is_host(host: Host, folder: Path) -> None:
    """Nobody answers: the agent is stopped. The connection comes through as host's, for the
    segment of host only audits, and it was counted."""
    agent = host.agent.agent
    assert agent is not None
    host.running.settings = {"hold_limit": "300ms"}
    host.text = policy(workload("web", "unit: web.service"))
    host.walk_again()
    listener = host.lab.puppet("x.service")
    assert host.settled(listener.pid) == "host"
    assert listener.listen("127.0.0.1", 7100).ok
    fresh = folder / "fresh"
    shutil.copy(folder / "racer", fresh)
    before = host.outcome("hold_expired")
    held = host.agent.held_times()
    agent.signal(signal.SIGSTOP)
    try:
        done = host.lab.run([str(fresh), "connect", "7100"], "y.service", timeout=20)
    finally:
        agent.signal(signal.SIGCONT)
    assert done.returncode == 0, done
    assert host.outcome("hold_expired") > before
    late = {name: n - held.get(name, 0) for name, n in host.agent.held_times().items()}
    slow = [int(n[6:-2]) for n, count in late.items() if count > 0 and n.startswith("under_")]
    assert max(slow) > 300_000, "microseconds: it was held for the limit at least"
