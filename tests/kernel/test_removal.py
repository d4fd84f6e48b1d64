# SPDX-License-Identifier: Apache-2.0
"""Taking an instance out of the way and back: suspend, resume, uninstall, as an operator does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.edge.hooks import HOOKS
from tests.kernel.world import BASE, PORT, QUIET, World
from tests.lab.cordon import CordonHost, cordon

CORDON_AGENT = Path(sys.executable).with_name("cordon-agent")
END_SECONDS = 30.0


@pytest.fixture
def world() -> Iterator[World]:
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


def test_suspended_passes_everything_and_says_so_until_resumed(world: World) -> None:
    host = world.cordon["a"]
    assert refused(world)
    said = everywhere(world, "suspend")[0]
    assert "ALL TRAFFIC PASSES" in said
    assert not refused(world)
    status = host.status()
    assert status.hooks_attached < status.hooks_expected
    assert "TRAFFIC PASSES UNJUDGED until `cordon-agent resume`" in status.summary
    everywhere(world, "resume")
    assert refused(world)
    assert host.status().hooks_attached == len(HOOKS)
    assert host.status().summary == "Policy version 1 is in force."


def test_processes_are_followed_while_suspended(world: World) -> None:
    """A tag from before must not be another's after."""
    host = world.cordon["a"]
    everywhere(world, "suspend")
    ended = host.lab.spawn(["/bin/sleep", "600"], "web.service")
    host.wait_attested(ended.pid)
    ended.kill9()
    begun = host.lab.puppet("web.service")
    host.wait_attested(begun.pid)
    assert host.identity(ended.pid) == 0
    everywhere(world, "resume")
    world.listen()
    assert begun.connect(world.b.v4, PORT).ok


def test_a_start_of_the_agent_ends_a_suspension(world: World) -> None:
    host = world.cordon["a"]
    assert host.agent is not None
    host.agent.stop()
    agent(host, "suspend")
    host.start()
    host.wait_ready()
    assert host.status().hooks_attached == len(HOOKS)
    assert refused(world)


def test_uninstall_leaves_nothing_in_the_kernel_and_policy_on_disk(world: World) -> None:
    hosts = [world.cordon[name] for name in ("a", "b")]
    running = agent(hosts[0], "uninstall")
    assert running.returncode == 1
    assert "runs already with pid" in running.stderr
    assert refused(world)
    for host in hosts:
        assert host.agent is not None
        host.agent.stop()
    said = everywhere(world, "uninstall")
    assert all("all traffic passes" in line for line in said)
    assert not any(host.pins.exists() for host in hosts)
    assert not refused(world)
    for host in hosts:
        host.snapshot.unlink()
        host.start()
    for host in hosts:
        host.wait_ready()
    assert [host.status().state for host in hosts] == ["cached"] * 2
    assert refused(world), "the cache alone brought the policy back"


def test_what_is_not_loaded_cannot_be_resumed(world: World) -> None:
    host = world.cordon["a"]
    assert host.agent is not None
    host.agent.stop()
    agent(host, "uninstall")
    resumed = agent(host, "resume")
    assert resumed.returncode == 1
    assert resumed.stderr == (
        "cordon-agent: the instance a is not loaded: start it with `cordon-agent run`\n"
    )
    assert agent(host, "uninstall").stdout.startswith("Detached and removed 0 pins")
    assert agent(host, "suspend").stdout.startswith("Detached 0 hooks")
