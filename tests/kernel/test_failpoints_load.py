# SPDX-License-Identifier: Apache-2.0
"""The agent or its loader dies, or fails, while programs are pinned, attached or swapped.

However far it came, the next start ends with all of them, of one version, and takes nothing for
tampering that was its own predecessor's doing. While an upgrade fails, verdicts do not change.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.edge import links
from agent.edge.failpoint import VARIABLE
from agent.edge.hooks import HOOKS, Pins, in_step
from agent.edge.maps import BpfMap
from tests.kernel.siege import Siege, besieged, count_resets, resets, wait_tidy
from tests.kernel.world import BASE, PORT, QUIET, World
from tests.lab import Lab, wait_until
from tests.lab.cordon import AGENT, READY_SECONDS, ROOT, Cordon, CordonHost
from tests.lab.host import AGENT_UNIT

MAPS = 28
"""At least so many maps are pinned, and all of them before the first program."""
FIRST_LOAD = (
    f"load.before-pin-map@{MAPS}:error",
    "load.before-build:kill",
    "attach.before-pin@4:kill",
    "attach.before-link@13:error",
    "policy.before-switch:kill",
)
CONNECTIONS = int(os.environ.get("CORDON_CONNECTIONS") or 10_000)
UPGRADE = (
    "load.before-pin-program@5:kill",
    "attach.before-swap@2:kill",
    "attach.after-swap@6:kill",
    "attach.before-swap@9:error",
)
KILLED, FAILED = -signal.SIGKILL, 1


def start_failing(host: CordonHost, point: str) -> None:
    """The loader is a child: if that is what dies, the agent ends with a sentence and status 1."""
    host.start({VARIABLE: point})
    agent = host.agent
    assert agent is not None
    wait_until(lambda: not agent.alive, f"it ends at {point}", timeout=READY_SECONDS)
    told = agent.output()
    wanted = FAILED if point.startswith("load.") or point.endswith("error") else KILLED
    assert agent.exit_status == wanted, f"{point}: {told}"
    host.close()


def running(host: CordonHost) -> dict[str, int]:
    """Hook -> the program that its pinned link runs."""
    found = {}
    for hook in HOOKS:
        fd = links.obj_get(Pins(host.pins).links / hook.function)
        found[hook.function] = links.link_program_id(fd)
        os.close(fd)
    return found


def own_doing_is_no_tampering(host: CordonHost) -> None:
    assert in_step(Pins(host.pins))
    assert (host.status().repairs, host.status().tampering) == (0, "")
    assert host.agent is not None
    assert "event=tampered" not in host.agent.output()


def test_first_load_that_was_cut_off_anywhere_is_finished_by_the_next_start() -> None:
    with Lab("a", "b") as lab:
        made = Cordon(lab)
        made.publish(BASE)
        key = made.folder / "out" / "policy.pub"
        for host in made.hosts.values():
            host.write_config(key)
        try:
            for point in FIRST_LOAD:
                start_failing(made["b"], point)
            for host in made.hosts.values():
                host.start()
            for host in made.hosts.values():
                host.wait_ready()
            own_doing_is_no_tampering(made["b"])
            _enforces(World.build(made))
            wait_tidy(made["b"])
        finally:
            made.close()


def _enforces(world: World) -> None:
    world.listen()
    assert world.web.connect(world.b.v4, PORT, timeout=5.0).ok
    assert world.loner.connect(world.b.v4, PORT, timeout=QUIET).error == "TIMEOUT"


@pytest.fixture
def siege() -> Iterator[Siege]:
    with besieged(CONNECTIONS) as made:
        yield made


def newer(folder: Path, changed: str = "cordon.bpf.c") -> Path:
    """The same agent with other programs, or other maps: one that this one is upgraded to."""
    for name in ("agent", "bpf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "bpf" / changed).open("a", encoding="utf-8") as source:
        source.write("\n// newer\n")
    return folder


def test_upgrade_that_was_cut_off_anywhere_and_downgrade_change_no_verdict(siege: Siege) -> None:
    host = siege.cordon["b"]
    for lab in (siege.world.a, siege.world.b):
        count_resets(lab)
    old = running(host)
    host.kill9()
    host.root = newer(siege.cordon.lab.run_folder / "newer")
    before = siege.totals()
    for point in UPGRADE:
        siege.publish()
        start_failing(host, point)
        siege.check(before, point)
        before = siege.totals()
    _start(host)
    new = running(host)
    assert set(old.values()).isdisjoint(new.values())
    own_doing_is_no_tampering(host)
    host.kill9()
    host.root = ROOT
    _start(host)
    assert set(new.values()).isdisjoint(running(host).values())
    own_doing_is_no_tampering(host)
    siege.check(before, "downgraded")
    siege.wait_newest("a", "b")
    siege.every_connection_stands()
    wait_tidy(host)
    assert [resets(lab) for lab in (siege.world.a, siege.world.b)] == [0, 0]
    siege.end()


def _start(host: CordonHost) -> None:
    host.start()
    host.wait_ready()
    wait_until(lambda: host.status().state == "in_sync", "it is in sync", timeout=READY_SECONDS)


def test_layout_that_was_half_taken_away_is_taken_away_whole(lab: Lab) -> None:
    """Otherwise programs would be loaded over maps that mean something else."""
    made = Cordon(lab, hosts=["a"])
    host = made["a"]
    made.compile(BASE)
    host.write_config(made.folder / "out" / "policy.pub")
    assert _load(host) == 0
    old = _map_ids(host)
    host.root = newer(lab.run_folder / "newer", "maps.h")
    for point in ("load.before-discard@3:kill", "load.before-discard@25:kill"):
        assert _load(host, point) == KILLED
        assert "build" in _map_ids(host), "what is left says of which layout it is"
    assert _load(host) == 0
    assert set(old.values()).isdisjoint(_map_ids(host).values())


def _load(host: CordonHost, failpoint: str = "") -> int:
    env = {"PYTHONPATH": str(host.root), **({VARIABLE: failpoint} if failpoint else {})}
    argv = [*AGENT, "load", "--config", str(host.config)]
    return host.lab.run(argv, AGENT_UNIT, env=env, timeout=READY_SECONDS).returncode


def _map_ids(host: CordonHost) -> dict[str, int]:
    found = {}
    for pin in Pins(host.pins).maps.iterdir():
        with BpfMap.open_pinned(pin) as opened:
            found[pin.name] = opened.id
    return found
