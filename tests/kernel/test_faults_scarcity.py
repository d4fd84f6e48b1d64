# SPDX-License-Identifier: Apache-2.0
"""What a host runs out of: descriptors, memory, room in the kernel's maps and rings.

Each time verdicts stay what they were, the agent says what it lacks, and all is well once there is
enough again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from agent.core.abi import PROCESS, Outcome, Process
from agent.core.model import Action, Direction, Identity, PortRange, Protocol, Rule
from agent.daemon import VERIFY_SECONDS
from agent.edge import counters, snapshot_codec
from agent.edge.hooks import Pins
from agent.edge.maps import BpfMap
from tests.kernel.sealing import hand_over, read_snapshot, signing_key
from tests.kernel.siege import Siege, besieged, hooks_in_kernel
from tests.kernel.world import ALLOW, BASE, World, policy
from tests.lab import LabProcess, kernel, wait_until
from tests.lab.cordon import READY_SECONDS, CordonHost, cordon
from tests.lab.witness import Witness

UNFORESEEN = 70
"""Of an agent that ends with a trace; systemd starts it again."""
FULL_SECONDS = 60.0
FIRST_UNUSED_PID = 1 << 23
"""Above every pid that Linux gives (2^22)."""
LOOKS, LOOK_SECONDS = 20, 0.05


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with cordon(BASE) as running:
        built = World.build(running)
        built.listen()
        yield built


def restart(host: CordonHost) -> None:
    host.kill9()
    host.start()
    host.wait_ready()
    wait_until(lambda: host.status().state == "in_sync", "it is in sync", timeout=READY_SECONDS)


# Descriptors and memory.


def test_agent_with_too_few_descriptors_ends_with_a_sentence(world: World) -> None:
    host = world.cordon["b"]
    host.kill9()
    host.start(wrapper=["prlimit", "--nofile=64:64"])
    agent = host.agent
    assert agent is not None
    wait_until(lambda: not agent.alive, "it ends", timeout=READY_SECONDS)
    assert agent.exit_status == 1, agent.output()
    assert "Too many open files" in agent.output().splitlines()[-1]
    assert "Traceback" not in agent.output()
    world.enforces()
    host.close()
    host.start()
    host.wait_ready()
    world.enforces()


def restarted_with(host: CordonHost, free: int) -> tuple[LabProcess, tuple[int, int]]:
    """A new agent that may open so many descriptors more, and its limits of before."""
    restart(host)
    agent = host.agent
    assert agent is not None
    before = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (_limit(agent.pid, free), before[1]))
    return agent, before


@pytest.mark.parametrize("free", [0, 1, 4])
def test_running_agent_whose_descriptors_are_used_up_changes_no_verdict(
    world: World, free: int
) -> None:
    """Whatever it cannot open is not therefore gone: it must not mend what is not broken."""
    host = world.cordon["b"]
    agent, before = restarted_with(host, free)
    world.cordon.publish(policy(ALLOW.replace("tcp/5441", f"tcp/{6001 + free}")))
    looks = time.monotonic() + 3 * VERIFY_SECONDS
    while time.monotonic() < looks:
        world.enforces()
        assert set(hooks_in_kernel(host).values()) == {1}, agent.output()
    assert "event=tampered" not in agent.output()
    assert agent.alive, agent.output()
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, before)
    in_force(host)
    world.cordon.publish(BASE)
    in_force(host)
    world.enforces()


def in_force(host: CordonHost) -> None:
    """What its snapshot file holds."""
    newest = read_snapshot(host).version
    wait_until(lambda: host.status().policy_version == newest, "all is well", timeout=30.0)


def test_program_started_while_descriptors_were_used_up_gets_its_identity_once_there_are_some(
    world: World,
) -> None:
    """It has executed nothing since, and no policy has changed."""
    host = world.cordon["b"]
    version = host.status().policy_version
    agent, before = restarted_with(host, 0)
    late = host.lab.spawn(["/bin/sleep", "600"], "db.service")
    wait_until(lambda: "event=attestation_failed" in agent.output(), "it cannot be read")
    wait_until(lambda: _entry(host, late.pid).identity == Identity.HOST, "it counts as host")
    wait_until(lambda: "event=processes_not_read" in agent.output(), "another look fails", 30.0)
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, before)
    wait_until(lambda: host.identity(late.pid) >= 256, "it is its workload", timeout=30.0)
    assert agent.alive, agent.output()
    assert host.status().policy_version == version
    world.enforces()


def _entry(host: CordonHost, pid: int) -> Process:
    """The kernel's, for the agent tells of no process that it cannot read."""
    with BpfMap.open_pinned(Pins(host.pins).maps / "processes") as processes:
        found = processes.get(pid.to_bytes(4, "little"))
    assert found is not None, f"no entry of process {pid}"
    return PROCESS.unpack(found)


def _limit(pid: int, free: int) -> int:
    """Under which this process may open so many descriptors more, for it has all that are lower.

    What it has open for a moment only (a call's socket, a look at a cgroup) is free the next.
    """
    used = _descriptors(pid)
    for _ in range(LOOKS):
        time.sleep(LOOK_SECONDS)
        used &= _descriptors(pid)
    unused = (number for number in itertools.count() if number not in used)
    return next(itertools.islice(unused, free, None))


def _descriptors(pid: int) -> set[int]:
    return {int(name) for name in os.listdir(f"/proc/{pid}/fd")}


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """A cgroup whose processes may have 4 MiB more than they have."""
    unified = kernel.cgroup2_root()
    if "memory" in (unified / "cgroup.controllers").read_text().split():
        parent, limit = unified, "memory.max"
    elif Path("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists():
        parent, limit = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
    else:
        pytest.skip("the kernel's memory controller is nowhere mounted")
    folder = parent / f"cordon-lab-memory-{os.getpid()}"
    folder.mkdir()
    (folder / limit).write_text(str(4 << 20))
    yield folder
    for pid in (folder / "cgroup.procs").read_text().split():
        (parent / "cgroup.procs").write_text(pid)
    folder.rmdir()


def test_agent_without_memory_ends_or_refuses_and_enforcement_goes_on(
    world: World, little_memory: Path
) -> None:
    host = world.cordon["b"]
    restart(host)
    agent = host.agent
    assert agent is not None
    (little_memory / "cgroup.procs").write_text(str(agent.pid))
    held = read_snapshot(host)
    local = next(workload.identity for workload in held.workloads)
    many = tuple(
        Rule(
            number,
            "x" * 100,
            Action.ALLOW,
            Direction.INGRESS,
            frozenset({local}),
            frozenset({Identity.WORLD}),
            (PortRange(Protocol.TCP, number, number),),
        )
        for number in range(10_000, 40_000)
    )
    newer = replace(held, version=held.version + 1, rules=(*held.rules, *many))
    hand_over(host, snapshot_codec.seal(newer, signing_key(world.cordon)))
    wait_until(
        lambda: _gave_up(host, agent),
        "it is killed, or says that it cannot",
        timeout=FULL_SECONDS,
        interval=0.1,
    )
    assert agent.alive or agent.exit_status in (-signal.SIGKILL, UNFORESEEN), agent.output()
    world.enforces()
    if agent.alive:
        agent.kill9()
    host.close()
    host.start()
    host.wait_ready()
    wait_until(lambda: host.status().policy_version == newer.version, "all is well", timeout=30.0)
    world.enforces()
    world.cordon.publish(BASE)  # of newer's version
    world.cordon.apply(BASE)


def _gave_up(host: CordonHost, agent: LabProcess) -> bool:
    with contextlib.suppress(grpc.RpcError):  # it is just being killed
        return not agent.alive or bool(host.status().refused)
    return False


# The kernel's maps and rings.


def test_full_process_map_makes_new_processes_the_hosts_own_and_says_so(world: World) -> None:
    host = world.cordon["a"]
    before = host.outcomes().get("process_map_full", 0)
    with BpfMap.open_pinned(Pins(host.pins).maps / "processes") as processes:
        made = _stuff(processes)
        try:
            late = host.lab.spawn(["/bin/sleep", "600"], "web.service")
            wait_until(lambda: host.outcomes().get("process_map_full", 0) > before, "it is counted")
            assert host.identity(late.pid) < 256, "it is no workload"
            world.enforces()
        finally:
            processes.delete_batch(made)
    web = host.lab.puppet("web.service")
    host.wait_attested(web.pid)
    assert host.identity(web.pid) >= 256
    world.enforces()


def _stuff(processes: BpfMap) -> list[bytes]:
    """Entries of processes that there are not, until there is no room."""
    made = []
    for pid in range(FIRST_UNUSED_PID, FIRST_UNUSED_PID + (1 << 17)):
        key = pid.to_bytes(4, "little")
        try:
            processes.put(key, bytes(processes.value_size))
        except OSError:
            break
        made.append(key)
    return made


def test_stopped_agent_whose_rings_are_full_changes_no_verdict_and_losses_are_counted() -> None:
    with besieged() as siege:
        host = siege.cordon["b"]
        witness = Witness(host)
        assert host.agent is not None
        host.agent.signal(signal.SIGSTOP)
        before = siege.totals()
        lost = _lost(host)
        wait_until(lambda: _lost(host) > lost, "the ring is full", FULL_SECONDS, interval=0.2)
        siege.check(before, "with a full ring")
        before = siege.totals()
        host.agent.signal(signal.SIGCONT)
        told = len(witness.flows)
        wait_until(lambda: len(witness.flows) > told, "it tells verdicts again")
        siege.publish()
        siege.wait_newest("a", "b")
        siege.check(before, "after it went on")
        _both_revisions(siege)
        siege.end()


def _lost(host: CordonHost) -> int:
    return counters.outcome(Pins(host.pins).maps, Outcome.FLOW_EVENT_LOST)


def _both_revisions(siege: Siege) -> None:
    """The load has met the newest one, too."""
    before = siege.totals()
    wait_until(lambda: all(n > before[k] for k, n in siege.totals().items()), "it goes on")
