# SPDX-License-Identifier: Apache-2.0
"""Replays of a real connection's SYN, now and later: across time, keys, policies and agents.

Time is moved in the receiving kernel's control page, and b's agent is dead meanwhile: it would set
the clock right, and a replay must be refused without it all the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest

from agent.edge.control_page import ControlPage
from agent.edge.hooks import Pins
from tests.kernel.scene import Scene
from tests.kernel.world import BASE, PORT, policy
from tests.lab import Segment, wait_until
from tests.lab.cordon import cordon

SECOND = 1_000_000_000
HOUR, EPOCH = 3600, 86_400


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with cordon(BASE) as running:
        yield Scene.of(running)


@pytest.fixture
def original(scene: Scene) -> Segment:
    """The SYN of a connection that stood, carried a byte and has ended."""
    world = scene.world
    listener = world.listen()
    scene.sniffer.clear()
    client = world.web.connect(world.b.v4, PORT, timeout=5.0)
    server = world.db.accept(listener.handle, timeout=5.0)
    assert world.web.send(client.handle, b"x").ok
    assert world.db.recv(server.handle, 1, timeout=5.0).data == b"x"
    world.web.close(client.handle, reset=True)
    world.db.close(server.handle)
    return scene.sniffer.wait_for(lambda c: c.segment.is_syn, "the SYN").segment


@pytest.fixture
def later(scene: Scene) -> Iterator[Callable[[int], None]]:
    """Moves b's wall clock by so many seconds, from what it was at first."""
    host = scene.world.cordon["b"]
    host.kill9()
    control = ControlPage(Pins(host.pins).maps)
    was = control.read("wall_offset_ns")
    yield lambda seconds: control.write("wall_offset_ns", was + seconds * SECOND)
    control.write("wall_offset_ns", was)
    control.close()
    host.start()
    host.wait_ready()


WHEN = {
    "at once": (0, "tag_replayed"),
    "after a second": (1, "tag_replayed"),
    "after an hour": (HOUR, "tag_replayed"),
    "after a key rotation": (EPOCH, "tag_replayed"),
    "before a key rotation": (-EPOCH, "tag_replayed"),
    "after two key rotations": (2 * EPOCH, "tag_epoch"),
    "after ten": (10 * EPOCH, "tag_epoch"),
    # Sixteen epochs later the tag's four bits mean a live epoch again; its key is another one.
    "after as many as the tag can tell apart": (16 * EPOCH, "tag_epoch"),
}


@pytest.mark.parametrize(("seconds", "reason"), WHEN.values(), ids=WHEN.keys())
def test_replay_is_refused_however_much_later(
    scene: Scene, original: Segment, later: Callable[[int], None], seconds: int, reason: str
) -> None:
    later(seconds)
    scene.refused(original, reason)


def test_replay_is_refused_after_a_new_agent_and_a_new_policy(
    scene: Scene, original: Segment
) -> None:
    """The cache is the kernel's: nobody clears it."""
    running = scene.world.cordon
    host = running["b"]
    host.kill9()
    host.start()
    host.wait_ready()
    scene.refused(original, "tag_replayed")
    generation = host.status().generation
    running.apply(policy())
    running.apply(BASE)
    wait_until(lambda: host.status().generation > generation, "b has switched")
    scene.refused(original, "tag_replayed")


def test_replay_with_another_sequence_number_is_forged(scene: Scene, original: Segment) -> None:
    """Else a tag that was never used up would open a connection of the forger's choice."""
    for change in (1, -1, 1 << 31):
        sequence = (original.sequence + change) % 2**32
        scene.refused(dataclasses.replace(original, sequence=sequence), "tag_replayed")


@pytest.mark.parametrize("seconds", [EPOCH, -EPOCH], ids=["ahead", "behind"])
def test_clocks_may_differ_by_an_epoch(
    scene: Scene, later: Callable[[int], None], seconds: int
) -> None:
    """At a rotation one host is always the first; both directions' tags stay good."""
    later(seconds)
    world = scene.world
    client = world.web.connect(world.b.v4, PORT, timeout=5.0)
    assert client.ok, client
    world.web.close(client.handle, reset=True)


def test_clocks_that_differ_by_two_epochs_are_told(
    scene: Scene, later: Callable[[int], None]
) -> None:
    later(2 * EPOCH)
    before = scene.count("tag_epoch")
    begun = scene.world.web.connect_start(scene.world.b.v4, PORT)
    wait_until(lambda: scene.count("tag_epoch") > before, "b refuses it")
    scene.world.web.close(begun.handle)
