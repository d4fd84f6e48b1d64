# SPDX-License-Identifier: Apache-2.0
"""Taking an instance out of the way and back: suspend, resume, uninstall, as an operator does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.edge import listener_flag
from agent.edge.hooks import HOOKS
from tests.kernel.world import BASE, PORT, QUIET, World
from tests.lab import wait_until
from tests.lab.cordon import CordonHost, cordon
from tests.lab.prometheus import METRICS, http_get, wait_for_metrics

CORDON_AGENT = Path(sys.executable).with_name("cordon-agent")
END_SECONDS = 30.0


FOLLOWING = sum(not hook.judges for hook in HOOKS)
NOTICED = 10.0
"""Seconds within which the agent must have seen what was done; it looks every two."""
OTHER_PORT = 5441


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with cordon(BASE) as running:
        for host in running.hosts.values():
            wait_for_metrics(host.lab)
        yield World.build(running)


@pytest.fixture
def fresh() -> Iterator[World]:
    """For what does not leave it as it was."""
    with cordon(BASE) as running:
        yield World.build(running)


def agent(host: CordonHost, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CORDON_AGENT, command, "--config", str(host.config)],
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
    )


def everywhere(world: World, command: str) -> list[str]:
    done = [agent(world.cordon[name], command) for name in ("a", "b")]
    assert [(d.returncode, d.stderr) for d in done] == [(0, "")] * 2
    return [d.stdout for d in done]


def refused(world: World) -> bool:
    """Whether what no rule allows is refused; it is asked of both ends."""
    world.listen()
    reply = world.other.connect(world.b.v4, PORT, timeout=QUIET)
    if reply.ok:
        world.other.close(reply.handle, reset=True)
    return not reply.ok


def wait_state(world: World, state: str) -> None:
    for host in world.cordon.hosts.values():
        wait_until(
            lambda host=host: host.status().state == state,  # type: ignore[misc]
            f"the agent of {host.lab.name} says {state}",
            timeout=NOTICED,
        )


def metric(host: CordonHost, series: str) -> str | None:
    """Of one series, named as a scrape shows it."""
    lines = http_get(host.lab, METRICS).decode().splitlines()
    return next((line.split()[-1] for line in lines if line.startswith(f"{series} ")), None)


def test_suspended_passes_everything_and_says_so_until_resumed(world: World) -> None:
    host = world.cordon["a"]
    assert refused(world)
    said = everywhere(world, "suspend")[0]
    assert said.startswith(f"Detached {len(HOOKS) - FOLLOWING} hooks of instance a: ALL TRAFFIC")
    assert not refused(world)
    status = host.status()
    assert status.hooks_attached == FOLLOWING, "what follows processes goes on"
    assert "traffic passes" in status.summary.lower(), "also before the agent has looked"
    wait_state(world, "suspended")
    assert "all traffic passes until `cordon-agent resume`" in host.status().summary
    assert "suspended" in host.ctl("status")
    assert metric(host, 'cordon_agent_state{cordon_agent_state="suspended"}') == "1.0"
    assert metric(host, 'cordon_hooks_attached{kind="traffic"}') == "0.0"
    assert metric(host, 'cordon_hooks_attached{kind="processes"}') == str(float(FOLLOWING))
    everywhere(world, "resume")
    assert refused(world)
    assert host.status().hooks_attached == len(HOOKS)
    wait_state(world, "in_sync")
    assert host.status().summary == "Policy version 1 is in force."
    assert host.status().repairs == 0, "nobody took it for a fault"


def test_processes_are_followed_while_suspended(world: World) -> None:
    """A tag from before must not be another's after, and nobody has to be held for being new."""
    host = world.cordon["a"]
    everywhere(world, "suspend")
    ended = host.lab.spawn(["/bin/sleep", "600"], "web.service")
    host.wait_attested(ended.pid)
    ended.kill9()
    begun = host.lab.puppet("web.service")
    host.wait_attested(begun.pid)
    assert host.identity(ended.pid) == 0
    held = host.outcomes().get("held", 0)
    everywhere(world, "resume")
    world.listen()
    assert begun.connect(world.b.v4, PORT).ok
    assert host.outcomes().get("held", 0) == held


def test_sockets_opened_while_suspended_are_their_processes_afterwards(world: World) -> None:
    everywhere(world, "suspend")
    server = world.b.puppet("db.service")
    world.cordon["b"].wait_attested(server.pid)
    listener = server.listen("0.0.0.0", OTHER_PORT)
    early = world.other.connect(world.b.v4, OTHER_PORT)
    assert early.ok, early
    assert server.accept(listener.handle).ok
    assert agent(world.cordon["a"], "resume").returncode == 0
    resumed = agent(world.cordon["b"], "resume")
    assert resumed.returncode == 0
    (seen,) = (s for s in world.cordon["a"].sockets(world.other.pid) if s.remote_port == OTHER_PORT)
    assert (seen.local_workload, seen.adopted) == ("front/other", True)
    assert world.loner.connect(world.b.v4, OTHER_PORT, timeout=QUIET).error == "TIMEOUT"
    if listener_flag.works():
        assert resumed.stderr == ""
    else:  # before Linux 6.12: it is to listen anew
        assert "until they are restarted" in resumed.stderr
        assert not world.web.connect(world.b.v4, OTHER_PORT, timeout=QUIET).ok, "it is unproven"
        server.close(listener.handle)
        assert server.listen("0.0.0.0", OTHER_PORT).ok
    assert world.web.connect(world.b.v4, OTHER_PORT).ok
    (seen,) = (s for s in world.cordon["a"].sockets(world.web.pid) if s.remote_port == OTHER_PORT)
    assert (seen.peer_workload, seen.proof) == ("data/db", "tag")


def test_what_follows_processes_is_mended_while_suspended(world: World) -> None:
    host = world.cordon["a"]
    everywhere(world, "suspend")
    wait_state(world, "suspended")
    before = host.status().repairs
    (host.pins / "links" / "cordon_fork").unlink()
    wait_until(lambda: host.status().repairs > before, "it is put back", timeout=NOTICED)
    assert "cordon_fork" in host.status().tampering
    assert (host.status().state, host.status().hooks_attached) == ("suspended", FOLLOWING)
    everywhere(world, "resume")
    wait_state(world, "in_sync")


def test_a_start_of_the_agent_ends_a_suspension(world: World) -> None:
    host = world.cordon["a"]
    assert host.agent is not None
    host.agent.stop()
    agent(host, "suspend")
    assert world.other.connect(world.b.v4, PORT, timeout=QUIET).error != "EPERM"
    host.start()
    host.wait_ready()
    assert host.status().hooks_attached == len(HOOKS)
    assert refused(world)


def test_uninstall_leaves_nothing_in_the_kernel_and_policy_on_disk(fresh: World) -> None:
    hosts = [fresh.cordon[name] for name in ("a", "b")]
    running = agent(hosts[0], "uninstall")
    assert running.returncode == 1
    assert "runs already with pid" in running.stderr
    assert refused(fresh)
    for host in hosts:
        assert host.agent is not None
        host.agent.stop()
    said = everywhere(fresh, "uninstall")
    assert all("all traffic passes" in line for line in said)
    assert not any(host.pins.exists() for host in hosts)
    assert not refused(fresh)
    for host in hosts:
        host.snapshot.unlink()
        host.start()
    for host in hosts:
        host.wait_ready()
    assert [host.status().state for host in hosts] == ["cached"] * 2
    assert refused(fresh), "the cache alone brought the policy back"


def test_what_is_not_loaded_cannot_be_resumed() -> None:
    with cordon(BASE, hosts=("a",)) as running:
        host = running["a"]
        assert host.agent is not None
        host.agent.stop()
        agent(host, "suspend")
        assert agent(host, "uninstall").returncode == 0, "also what is suspended goes"
        assert not host.pins.exists()
        resumed = agent(host, "resume")
        assert resumed.returncode == 1
        assert resumed.stderr == (
            "cordon-agent: the instance a is not loaded: start it with `cordon-agent run`\n"
        )
        assert agent(host, "uninstall").stdout.startswith("Detached and removed 0 pins")
        assert agent(host, "suspend").stdout.startswith("Detached 0 hooks")
