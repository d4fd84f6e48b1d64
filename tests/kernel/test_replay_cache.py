# SPDX-License-Identifier: Apache-2.0
"""The replay cache: what goes into it, what happens when a bucket of it is full, and at what count.

Replays themselves are in test_forgery.py. Here the tags of one bucket are found by trying sequence
numbers, as nobody without the key could.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from agent.core import tag
from agent.core.abi import SEEN_BUCKETS, SEEN_WAYS
from tests.kernel.scene import Scene
from tests.kernel.world import BASE, bare_syn
from tests.lab import Segment
from tests.lab.cordon import cordon


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with cordon(BASE) as running:
        yield Scene.of(running)


def bucket_of(syn: Segment) -> int:
    found = tag.find_tag(syn.options)
    assert found is not None, "it was made with a tag"
    return int.from_bytes(found.mac, "little") % SEEN_BUCKETS


def of_one_bucket(scene: Scene, count: int) -> list[Segment]:
    """So many SYNs of `web`, rightly tagged, whose MACs fall into one bucket."""
    buckets: dict[int, list[Segment]] = {}
    identity = scene.keys.identity("web")
    template = bare_syn(scene.world)
    for sequence in range(1, 1_000_000):
        syn = dataclasses.replace(template, sequence=sequence, source_port=20000 + sequence % 9973)
        syn = syn.with_options(scene.keys.tag_for(syn, "b", identity))
        bucket = buckets.setdefault(bucket_of(syn), [])
        bucket.append(syn)
        if len(bucket) == count:
            return bucket
    raise AssertionError(f"no bucket got {count} tags: the MAC is not what it should be")


def forgotten(scene: Scene) -> int:
    return scene.world.cordon["b"].outcomes().get("tag_forgotten", 0)


def test_full_bucket_forgets_its_oldest_tag_and_counts_it(scene: Scene) -> None:
    syns = of_one_bucket(scene, SEEN_WAYS + 1)
    for syn in syns[:SEEN_WAYS]:
        scene.accepted(syn)
    assert forgotten(scene) == 0
    scene.accepted(syns[SEEN_WAYS])
    assert forgotten(scene) == 1
    elsewhere = dataclasses.replace(syns[1], source_port=19999)
    scene.refused(elsewhere, "tag_replayed")  # the second oldest is known
    elsewhere = dataclasses.replace(syns[0], source_port=19999)
    scene.refused(elsewhere, "tag_forged")  # the oldest is not, and its MAC still binds it


def test_retransmission_takes_no_second_place(scene: Scene) -> None:
    syns = of_one_bucket(scene, SEEN_WAYS)
    for syn in [*syns, *syns]:
        scene.accepted(syn)
    for syn in syns:
        scene.refused(dataclasses.replace(syn, source_port=19998), "tag_replayed")


def test_refused_tag_is_not_used_up(scene: Scene) -> None:
    """TCP repeats a SYN that was dropped: the reason stays the rule's and is no replay."""
    syn = scene.tagged("other")
    scene.refused(syn, "no_rule")
    scene.refused(syn, "no_rule")
