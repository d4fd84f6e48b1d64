# SPDX-License-Identifier: Apache-2.0
"""Keys from a controller, at work in kernels: new epochs, revoked hosts, quarantine."""

from __future__ import annotations

import time

from tests.kernel.world import BASE, PORT, World
from tests.lab.counterfeit import Counterfeit
from tests.lab.fleet import Fleet, fleet
from tests.lab.load import Lane, Load
from tests.lab.waiting import wait_until

EPOCH = 60
"""The shortest that a controller takes."""


def listening(running: Fleet) -> World:
    world = World.build(running)  # type: ignore[arg-type] # hosts by name is all that it asks for
    assert world.db.listen("0.0.0.0", PORT).ok
    return world


def reaches(world: World) -> bool:
    reply = world.web.connect(world.b.v4, PORT, timeout=1.0)
    if reply.ok:
        world.web.close(reply.handle)
    return reply.ok


def peers_of(running: Fleet, host: str) -> set[str]:
    """Whom it has keys for or from, by what it keeps on its disk."""
    return {peer.name for peer in Counterfeit.of_cache(running[host]).snapshot.peers}


def test_no_connection_is_refused_by_a_new_epoch() -> None:
    with fleet(BASE, settings=("epoch=60s", "epochs_ahead=2")) as running:
        a, b = running["a"], running["b"]
        server = Load.serve(b.lab, "db.service", [PORT])
        server.begin()
        b.wait_attested(server.pid)
        lanes = [Lane("v4", b.lab.v4, PORT), Lane("v6", b.lab.v6, PORT)]
        client = Load.connect(a.lab, "web.service", lanes, pause=0.01)
        client.begin()
        client.wait_running()
        keys = Counterfeit.of_cache(a)
        begun = int(time.time()) // EPOCH
        wait_until(
            lambda: time.time() // EPOCH >= begun + 2,
            "two more epochs have begun",
            timeout=2 * EPOCH + 10,
            interval=0.5,
        )
        before = client.report().total()
        wait_until(lambda: client.report().total() > before + 50, "some more connections")
        report = client.report()
        assert report.odd == [], "no connection was refused or hung"
        refused = {
            key: count
            for host in (a, b)
            for key, count in host.verdicts().items()
            if key[1] == "refuse" and count
        }
        assert refused == {}
        allowed = b.verdicts()["ingress", "allow", "rule_allow"]
        assert allowed >= report.total(), "each was proved by a tag"
        newest = max(key.epoch for key in Counterfeit.of_cache(a).peer("b").keys)
        assert newest > max(key.epoch for key in keys.peer("b").keys), "keys came while it ran"


def test_a_revoked_host_is_a_stranger_to_everybody() -> None:
    with fleet(BASE) as running:
        world = listening(running)
        assert reaches(world)
        assert "a" in peers_of(running, "b")
        running.operator.ctl("hosts", "revoke", "a", "-m", "it was stolen")
        wait_until(
            lambda: "a" not in peers_of(running, "b"), "b has no key of a any more", timeout=30
        )
        wait_until(lambda: not reaches(world), "b's kernel refuses its tags", timeout=30)
        assert not reaches(world)


def test_a_host_in_quarantine_is_cut_off_and_comes_back() -> None:
    with fleet(BASE) as running:
        world = listening(running)
        assert reaches(world)
        for host in ("a", "b"):
            running.operator.ctl(
                "quarantine", "host", host, "--until", "1h", "-m", "it acts strangely", "--wait"
            )
            assert not reaches(world), f"{host} is cut off"
            running.operator.ctl("quarantine", "lift", "host", host, "-m", "it was us", "--wait")
            assert reaches(world), f"{host} is back"
