# SPDX-License-Identifier: Apache-2.0
"""Programs that nobody knows yet and that connect to another host at once: what is held is the
whole SYN, so the first one that leaves says who asks, and the other host refuses nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.identities import racer
from tests.kernel.world import BASE, PORT, World
from tests.lab import Sniffer
from tests.lab.cordon import CordonHost, cordon
from tests.lab.packets import EXPERIMENT_2

PROGRAMS = 30


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with racer() as made:
        yield made


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with cordon(BASE) as running:
        yield World.build(running)


def refusals(host: CordonHost) -> int:
    return sum(n for (_, verdict, _), n in host.verdicts().items() if verdict == "refuse")


def connect_fresh(world: World, folder: Path, unit: str, address: str, number: int) -> int:
    """The exit status of a program that the kernel cannot know."""
    copy = folder / f"{unit}-{number}"
    shutil.copy(folder / "racer", copy)
    done = world.a.run([str(copy), "connect", str(PORT), address], unit, timeout=20)
    copy.unlink()
    return done.returncode


def test_the_first_syn_of_a_held_connection_says_who_asks(world: World, folder: Path) -> None:
    a, b = world.cordon["a"], world.cordon["b"]
    world.listen("0.0.0.0")
    sniffer = Sniffer(world.b)
    held, refused = a.outcomes().get("held", 0), refusals(b)
    for number in range(PROGRAMS):
        assert connect_fresh(world, folder, "web.service", world.b.v4, number) == 0
    assert a.outcomes()["held"] > held, "none was held: this test has tried nothing"
    syns = [c.segment for c in sniffer.collect() if c.segment.is_syn]
    assert len(syns) == PROGRAMS, "one SYN for each connection, and none twice"
    assert all(syn.option(EXPERIMENT_2) for syn in syns)
    assert refusals(b) == refused
