# SPDX-License-Identifier: Apache-2.0
"""What must hold on a made-up host once everything has come to its end, whatever the way there."""

from __future__ import annotations

from agent.core import tagging
from agent.core.standing import State
from tests.unit.agent_fakes import executable_key
from tests.unit.agent_world import Published, World


def assert_settled(world: World) -> None:
    """Lets it come to its end, with descriptors enough, and asks each process who it is."""
    world.reader.scarce = False
    for living in list(world.reader.living.values()):
        world.kernel.speak(living)
    world.settle().tick(0)
    world.settle()
    if world.stopped is not None or not world.loaded:
        return
    _assert_policy(world)
    _assert_entries(world)
    _assert_remembered(world)
    _assert_standing(world)
    assert world.ready == (1 if world.kernel.attached else 0)


def _assert_policy(world: World) -> None:
    """The newest good one that fits is in force, and will be after a restart."""
    in_force = world.kernel.policy
    assert world.agent.snapshot is None or world.agent.snapshot == in_force
    newest = [
        known.snapshot
        for known in (world.file, world.cache)
        if known and not known.reason and known.snapshot.version not in world.too_large
    ]
    good = [s.version for s in newest if s.expires > world.now or s == world.cached]
    if good and in_force is not None:
        assert in_force.version >= max(good)
    if world.agent.snapshot is not None:
        assert world.cached == in_force


def _assert_entries(world: World) -> None:
    """Each process that can be read is tagged as the policy in force attests it; no other is."""
    entries = world.kernel.maps.all()
    assert set(entries) <= set(world.reader.living)
    for pid, living in world.reader.living.items():
        if pid in world.reader.unreadable | world.reader.missed:
            continue  # it is `host`, now or when the hold limit is over, until its next exec
        entry = entries[pid]
        assert tagging.holds(entry, living), "it is pending, or was attested as somebody else"
        if world.agent.snapshot is not None or world.kernel.policy is None:
            assert entry.identity == world.agent.judge(living).identity


def _assert_remembered(world: World) -> None:
    """What the kernel tags by itself is what the agent would say."""
    if world.agent.snapshot is None:
        return
    for living in world.reader.living.values():
        known = world.kernel.maps.executables.get(executable_key(living))
        if known is not None:
            said = world.agent.judge(living).identity
            assert int.from_bytes(known[:4], "little") == said


def _assert_standing(world: World) -> None:
    assert world.agent.state is expected_state(world)
    assert world.status == world.agent.standing.summary
    in_sync = world.agent.state is State.IN_SYNC
    assert world.status.endswith("is in force.") == in_sync


def expected_state(world: World) -> State:
    """From what lies in the file and in the kernel, as far as this run has read it."""
    in_force = world.agent.snapshot
    if in_force is None:
        return State.SYNCING
    if world.now >= in_force.expires:
        return State.EXPIRED
    if world.file is not None and world.file == Published(in_force):
        return State.IN_SYNC
    return State.STALE if world.file_was_good else State.CACHED
