# SPDX-License-Identifier: Apache-2.0
"""A disk that is full, or takes nothing: what is in force does not depend on it, and the agent says
so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.world import ALLOW, BASE, World, policy
from tests.lab import kernel, wait_until
from tests.lab.cordon import cordon

TINY = "size=64k,mode=0700"
MS_REMOUNT, MS_RDONLY = 32, 1


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with cordon(BASE) as running:
        built = World.build(running)
        built.listen()
        yield built


@pytest.fixture
def small_disk(world: World) -> Iterator[Path]:
    """Host b's state folder is a file system of 64 KiB, for a new agent."""
    host = world.cordon["b"]
    host.kill9()
    kernel.mount("tmpfs", host.lab.state, "tmpfs", data=TINY)
    host.start()
    host.wait_ready()
    wait_until(lambda: host.status().state == "in_sync", "it is in sync")
    yield host.lab.state
    host.kill9()
    kernel.unmount(host.lab.state)
    host.start()
    host.wait_ready()


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_policy_comes_into_force_though_the_disk_takes_nothing(
    world: World, small_disk: Path, fault: str
) -> None:
    host = world.cordon["b"]
    cache = small_disk / "b" / "policy.cache"
    before, version = cache.read_bytes(), host.status().policy_version
    if fault == "full":
        _fill(small_disk / "filler")
    else:
        kernel.mount("tmpfs", small_disk, "tmpfs", MS_REMOUNT | MS_RDONLY, TINY)
    world.cordon.apply(policy(ALLOW.replace("tcp/5441", "tcp/6000")))
    assert host.status().policy_version > version
    world.enforces()
    assert host.agent is not None
    agent = host.agent
    wait_until(lambda: "event=cache_not_written" in agent.output(), "it says so")
    assert cache.read_bytes() == before, "the last one is whole"
    if fault == "full":
        (small_disk / "filler").unlink()
    else:
        kernel.mount("tmpfs", small_disk, "tmpfs", MS_REMOUNT, TINY)
    world.cordon.apply(BASE)
    wait_until(lambda: cache.read_bytes() != before, "it is cached again")


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
