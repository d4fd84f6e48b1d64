# SPDX-License-Identifier: Apache-2.0
"""The agent under any order of events: policies, processes, faults, kills, in every interleaving.

A step is what may happen on a host at any moment. What must never happen is checked by the world as
each command is given (`tests.unit.agent_world`): nothing attached or applied before the load, never
two policies at once, never an older one over a newer, ready told once and not too early. What must
be the case once all has come to its end is said by `assert_settled`, wherever a run looks and at
its end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core import events
from agent.core.model import Selector
from tests.unit import snapshots
from tests.unit.agent_fakes import facts
from tests.unit.agent_truth import assert_settled
from tests.unit.agent_world import Published, World

WEB, API = 300, 301
Policy = tuple[tuple[int, Selector], ...]
POLICIES: tuple[Policy, ...] = (
    ((WEB, Selector(exe="/bin/web")),),
    ((WEB, Selector(user="app")), (API, Selector(exe="/bin/web"))),
    ((API, Selector(exe="/bin/web", group="root")),),  # not kept by executable
    ((WEB, Selector(user="app")), (API, Selector(group="app"))),  # a tie: both count as host
    (),
)
FORGED = Published(snapshots.snapshot(version=9999), "the signature is wrong")
PIDS = st.integers(1, 3)
EXECUTABLES = st.sampled_from(["/bin/web", "/bin/web", "/bin/other"])
USERS = st.sampled_from(["root", "app"])

Step = Callable[[World], object]


# ---- what lies in the snapshot file


def publish(world: World, which: Policy, fits: bool) -> None:
    if not fits:
        world.too_large.add(world.version + 1)
    world.publish(*which)


def publish_again(world: World, back: int) -> None:
    """What lay there before, also what is older than what is in force."""
    if world.published:
        world.put_file(world.published[-1 - back % len(world.published)])


def touch(world: World) -> None:
    world.tell(events.SnapshotChanged())


# ---- processes


def execute(world: World, pid: int, exe: str, user: str) -> None:
    """In a process that is there, or in one that the kernel never showed us."""
    was = world.reader.living.get(pid)
    world.exec(facts(pid, exe, user, started=was.started if was else world.starts()))


def fork(world: World, parent: int, child: int) -> None:
    if parent in world.reader.living and child not in world.reader.living:
        world.fork(parent, child, world.starts())


def change_user(world: World, pid: int, user: str) -> None:
    if pid in world.reader.living:
        world.become(pid, user)


def end(world: World, pid: int) -> None:
    if pid in world.reader.living:
        world.exit(pid)


def hide(world: World, pid: int, hidden: bool) -> None:
    if hidden and pid in world.reader.living:
        world.reader.unreadable.add(pid)
    else:
        world.reader.unreadable.discard(pid)


def starve(world: World, scarce: bool) -> None:
    """The agent has no descriptors left, or has some again."""
    world.reader.scarce = scarce


def lose(world: World) -> None:
    """The ring was full when the kernel wanted to ask."""
    world.kernel.lose()


# ---- the daemon


def go_on(world: World, parts: list[Callable[[World], bool]]) -> None:
    """The worker, the loop and the ring come to what waits for them, in this order."""
    for part in parts:
        part(world)


def observe(world: World, count: int) -> None:
    world.tell(events.ObserversChanged(count))
    assert world.stopped is not None or world.observe == (count > 0)


def kill(world: World, cache_survives: bool) -> None:
    if not cache_survives:
        world.cache = None
    world.begin()


def stop(world: World) -> None:
    before = world.stopped
    world.tell(events.StopRequested("SIGTERM"))
    assert world.stopped == (0 if before is None else before)
    world.begin()


def look(world: World) -> None:
    world.settle()
    assert_settled(world)


def step(
    function: Callable[..., object], **arguments: st.SearchStrategy[object]
) -> st.SearchStrategy[Step]:
    return st.builds(partial(partial, function), **arguments)


PARTS = st.sampled_from([World.work, World.hear, World.report])
WEIGHTS: tuple[tuple[int, st.SearchStrategy[Step]], ...] = (
    (3, step(publish, which=st.sampled_from(POLICIES), fits=st.sampled_from([True, True, False]))),
    (1, step(publish_again, back=st.integers(0, 3))),
    (1, step(World.put_file, file=st.sampled_from([FORGED, None]))),
    (1, st.just(touch)),
    (1, step(World.tick, seconds=st.sampled_from([1.0, 1.0, 1.0, 4000.0]))),
    (4, step(execute, pid=PIDS, exe=EXECUTABLES, user=USERS)),
    (2, step(fork, parent=PIDS, child=PIDS)),
    (1, step(change_user, pid=PIDS, user=USERS)),
    (1, step(end, pid=PIDS)),
    (1, step(hide, pid=PIDS, hidden=st.sampled_from([True, False, False]))),
    (2, step(starve, scarce=st.sampled_from([True, False]))),
    (1, st.just(lose)),
    (5, step(go_on, parts=st.lists(PARTS, min_size=2, max_size=9))),
    (3, st.just(World.settle)),
    (1, step(observe, count=st.integers(0, 2))),
    (1, step(kill, cache_survives=st.sampled_from([True, True, False]))),
    (1, st.just(stop)),
    (2, st.just(look)),
)
STEPS = st.sampled_from([s for weight, s in WEIGHTS for _ in range(weight)]).flatmap(lambda s: s)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, min_size=20, max_size=100))
def test_whatever_happens_the_end_is_what_the_last_good_inputs_say(steps: list[Step]) -> None:
    world = World()
    for one in steps:
        one(world)
    look(world)


def test_exec_between_the_first_walk_and_the_hooks_is_not_held_against_the_process() -> None:
    """Nobody saw that exec: the walk once hooks are attached believes what it reads."""
    world = World()
    touch(world)
    execute(world, 1, "/bin/other", "root")
    while not isinstance(world.result, events.ProcessesWalked):
        assert world.hear() or world.work()
    publish(world, POLICIES[0], fits=True)
    assert not world.kernel.attached
    execute(world, 1, "/bin/web", "root")
    look(world)
    assert world.kernel.maps.all()[1].identity == WEB
