# SPDX-License-Identifier: Apache-2.0
"""Somebody takes our programs out of the kernel while the agent runs: seen, put back, told."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from agent.edge import libbpf, links
from agent.edge.hooks import HOOKS, Pins
from agent.edge.links import AttachType
from tests.kernel.world import BASE, PORT, QUIET, World
from tests.lab import kernel
from tests.lab.cordon import AGENT, ROOT, CordonHost, cordon
from tests.lab.waiting import wait_until

NOTICED = 10.0
"""Seconds within which a fault must be mended; the agent looks every two."""
DROP_ALL = bytes.fromhex("b700000000000000") + bytes.fromhex("9500000000000000")
PASS_ALL = bytes.fromhex("b700000001000000") + bytes.fromhex("9500000000000000")
CGROUP_SKB = 8


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with cordon(BASE) as built:
        yield World.build(built)


def repairs(host: CordonHost) -> int:
    return host.status().repairs


def wait_repaired(host: CordonHost, before: int) -> None:
    def mended() -> bool:
        status = host.status()
        return status.repairs > before and status.hooks_attached == status.hooks_expected

    wait_until(mended, f"the agent of {host.lab.name} put it back", timeout=NOTICED)


def enforces(world: World) -> None:
    """Both ways: what is allowed passes with its identity, what is not is refused at the server."""
    listener = world.listen()
    client = world.web.connect(world.b.v4, PORT)
    assert client.ok, client
    server = world.db.accept(listener.handle)
    assert server.ok, server
    world.web.close(client.handle, reset=True)
    world.db.close(server.handle)
    assert world.loner.connect(world.b.v4, PORT, timeout=QUIET).error == "TIMEOUT"


def test_detached_links_are_attached_again(world: World) -> None:
    """What `bpftool link detach` does: the pin stays, the link runs nothing."""
    host = world.cordon["b"]
    before = repairs(host)
    for name in ("cordon_ingress", "cordon_sock_ops"):
        link = links.obj_get(Pins(host.pins).links / name)
        libbpf.call("bpf_link_detach", link, what="detaching")
        os.close(link)
    wait_repaired(host, before)
    assert "cordon_ingress" in host.status().tampering
    enforces(world)


def test_removed_pins_are_made_again_with_what_they_held(world: World) -> None:
    host = world.cordon["b"]
    before, generation = repairs(host), host.status().generation
    for folder in (Pins(host.pins).links, Pins(host.pins).programs, Pins(host.pins).maps):
        for pin in list(folder.iterdir()):
            pin.unlink()
        folder.rmdir()
    wait_repaired(host, before)
    assert host.status().generation == generation, "the policy is that of before"
    enforces(world)


def test_unmounted_bpffs_is_mounted_and_filled_again(world: World) -> None:
    host, other = world.cordon["b"], world.cordon["a"]
    before = repairs(host), repairs(other)
    kernel.unmount(world.cordon.lab.bpf)  # both hosts' pins lie in it
    for one, count in zip((host, other), before, strict=True):
        wait_repaired(one, count)
    enforces(world)


def test_an_agent_that_starts_after_the_detaching_is_not_deceived_by_the_pins(world: World) -> None:
    host = world.cordon["b"]
    host.kill9()
    link = links.obj_get(Pins(host.pins).links / "cordon_egress")
    libbpf.call("bpf_link_detach", link, what="detaching")
    os.close(link)
    host.start()
    host.wait_ready()
    enforces(world)


@contextlib.contextmanager
def foreign(world: World, program: bytes, kind: AttachType) -> Iterator[None]:
    """Another tool's program on host b's cgroup, beside ours."""
    folder = os.open(world.b.cgroup, os.O_RDONLY | os.O_DIRECTORY)
    loaded = libbpf.prog_load(CGROUP_SKB, program, "foreign", "GPL", int(kind))
    link = links.link_create_cgroup(loaded, folder, kind)
    try:
        yield
    finally:
        for fd in (link, loaded, folder):
            os.close(fd)


def test_another_tools_program_runs_beside_ours_and_cannot_permit_what_we_refuse(
    world: World,
) -> None:
    host = world.cordon["b"]
    before = repairs(host)
    with foreign(world, PASS_ALL, AttachType.CGROUP_INET_INGRESS):
        enforces(world)
    with foreign(world, DROP_ALL, AttachType.CGROUP_INET_INGRESS):
        world.listen()
        assert world.web.connect(world.b.v4, PORT, timeout=QUIET).error == "TIMEOUT"
    enforces(world)
    assert repairs(host) == before, "a neighbour is no fault"


def test_suspension_is_left_alone_until_resume(world: World) -> None:
    host = world.cordon["b"]
    before = repairs(host)

    def command(name: str) -> str:
        argv = [*AGENT, name, "--config", str(host.config)]
        done = host.lab.run(argv, "admin.service", env={"PYTHONPATH": str(ROOT)}, timeout=30)
        assert done.returncode == 0, done
        return done.stdout

    assert "ALL TRAFFIC PASSES" in command("suspend")
    wait_until(lambda: host.status().state == "suspended", "the agent says so", timeout=NOTICED)
    listener = world.listen()
    client = world.loner.connect(world.b.v4, PORT)
    assert client.ok, "nothing is judged"
    world.loner.close(client.handle, reset=True)
    world.db.close(world.db.accept(listener.handle).handle)
    following = sum(not hook.judges for hook in HOOKS)
    assert host.status().hooks_attached == following, "processes are followed on"
    command("resume")
    wait_until(lambda: host.status().state == "in_sync", "the agent says so", timeout=NOTICED)
    enforces(world)
    assert repairs(host) == before
