# SPDX-License-Identifier: Apache-2.0
"""Named states of a host, and walks between them: the end depends on where one is, not on the way.

A state is what lies in the snapshot file, who runs, and whether the agent has started anew. The
kernel, the cache and the agent's word must be the same after any walk as on a host that has only
ever seen the last good policy and the last state. So each pair of states is a test, and there is no
need to think of the transitions that matter.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest

from agent.core.model import Identity, Selector, Workload
from agent.core.standing import State
from tests.unit import snapshots
from tests.unit.agent_fakes import facts
from tests.unit.agent_truth import assert_settled
from tests.unit.agent_world import Published, World

WEB, API = 300, 301
FORGED = Published(snapshots.snapshot(version=9999), "the signature is wrong")
GOOD, BAD, NONE = "good", "bad", "none"

Program = tuple[int, str, str]
"""pid, executable, user"""


@dataclass(frozen=True)
class HostState:
    name: str
    file: str = NONE
    policy: tuple[tuple[int, Selector], ...] = ()
    fits: bool = True
    programs: tuple[Program, ...] = ()

    def named(self, name: str, **changes: object) -> HostState:
        return replace(self, name=name, **changes)  # type: ignore[arg-type]


EMPTY = HostState("nothing")
RUNNING = EMPTY.named("programs", programs=((1, "/bin/web", "root"), (2, "/bin/api", "app")))
BY_PATH = RUNNING.named("web by path", file=GOOD, policy=((WEB, Selector(exe="/bin/web")),))
BY_USER = RUNNING.named("api by user", file=GOOD, policy=((API, Selector(user="app")),))
BOTH = RUNNING.named("both", file=GOOD, policy=(*BY_PATH.policy, *BY_USER.policy))
ALONE = BOTH.named("both, nobody there", programs=())
SWAPPED = BOTH.named("both, programs swapped", programs=((1, "/bin/api", "app"),))
NOBODY = RUNNING.named("a policy for nobody", file=GOOD, policy=())
TIED = RUNNING.named(
    "a tie", file=GOOD, policy=((WEB, Selector(user="app")), (API, Selector(group="app")))
)
BROKEN = RUNNING.named("a forged file", file=BAD)
GONE = RUNNING.named("no file")
TOO_LARGE = BOTH.named("too large", fits=False)

STATES = (
    EMPTY, RUNNING, BY_PATH, BY_USER, BOTH, ALONE, SWAPPED, NOBODY, TIED, BROKEN, GONE, TOO_LARGE,
)  # fmt: skip
PAIRS = [
    pytest.param(one, other, id=f"{one.name} -> {other.name}")
    for one, other in itertools.product(STATES, repeat=2)
]


def move(world: World, to: HostState) -> None:
    """Bring the host into a state, without waiting for the agent."""
    wanted = {pid: facts(pid, exe, user) for pid, exe, user in to.programs}
    for pid in set(world.reader.living) - set(wanted):
        world.exit(pid)
    for pid, program in wanted.items():
        was = world.reader.living.get(pid)
        if was is None or was.exe != program.exe:
            started = was.started if was else world.starts()
            world.exec(replace(program, started=started))
    if to.file == GOOD:
        if not to.fits:
            world.too_large.add(world.version + 1)
        world.publish(*to.policy)
    else:
        world.put_file(FORGED if to.file == BAD else None)


@dataclass(frozen=True)
class Outcome:
    """All that can be seen from outside, but for numbers that only count."""

    policy: tuple[Workload, ...] | None
    cached: tuple[Workload, ...] | None
    entries: dict[int, int]
    attached: bool
    state: State
    in_force_and_file_agree: bool


def outcome(world: World) -> Outcome:
    assert_settled(world)
    in_force, cached = world.kernel.policy, world.cached
    return Outcome(
        policy=in_force.workloads if in_force else None,
        cached=cached.workloads if cached else None,
        entries={pid: entry.identity for pid, entry in world.kernel.maps.all().items()},
        attached=world.kernel.attached,
        state=world.agent.state,
        in_force_and_file_agree=world.status.endswith(" is in force."),
    )


def reference(*walk: HostState) -> Outcome:
    """A host that has only ever seen the last good policy and the last state."""
    world = World().settle()
    good = [state for state in walk if state.file == GOOD and state.fits]
    for state in (*good[-1:], walk[-1]):
        move(world, state)
        world.settle()
    return outcome(world)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_the_end_of_a_walk_is_where_it_ended(one: HostState, other: HostState) -> None:
    world = World().settle()
    walked = []
    for state in (one, other, one, other):
        move(world, state)
        world.settle()
        walked.append(state)
        assert outcome(world) == reference(*walked)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_nothing_need_come_to_its_end_between_two_states(one: HostState, other: HostState) -> None:
    """Squashed: the file is read when the second state is there already."""
    world = World().settle()
    move(world, one)
    move(world, other)
    world.settle()
    met = (other,) if other.file == GOOD and other.fits else (replace(one, file=NONE), other)
    assert outcome(world) == reference(*met)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_an_agent_killed_on_the_way_makes_no_difference(one: HostState, other: HostState) -> None:
    """After so many steps of the second state. What CACHED and STALE tell apart is this run's."""
    expected = reference(one, other)
    if expected.state is State.STALE and other.file != GOOD:
        expected = replace(expected, state=State.CACHED)
    for steps in (0, 1, 3, 6):
        world = World().settle()
        move(world, one)
        world.settle()
        move(world, other)
        for _ in range(steps):
            _ = world.hear() or world.work() or world.report()
        world.begin()
        world.settle()
        assert outcome(world) == expected, f"killed after {steps} steps"


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_a_state_is_what_it_says(state: HostState) -> None:
    """The reference itself, in so many words."""
    found = reference(state)
    good = state.file == GOOD and state.fits
    assert (found.policy is not None) == (found.cached is not None) == good
    assert found.attached
    assert found.state is (State.IN_SYNC if good else State.SYNCING)
    by_name = {
        BY_PATH.name: {1: WEB, 2: Identity.HOST},
        BY_USER.name: {1: Identity.HOST, 2: API},
        BOTH.name: {1: WEB, 2: API},
        ALONE.name: {},
        EMPTY.name: {},
        SWAPPED.name: {1: API},
    }
    assert found.entries == by_name.get(state.name, {1: Identity.HOST, 2: Identity.HOST})
