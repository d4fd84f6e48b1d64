# SPDX-License-Identifier: Apache-2.0
"""An agent that starts with nothing to go by: what its last run left in the kernel stands."""

from __future__ import annotations

from tests.kernel.world import BASE, PORT, World
from tests.lab import wait_until
from tests.lab.cordon import cordon


def test_restart_without_cache_or_good_file_takes_no_identity_away() -> None:
    with cordon(BASE) as running:
        world, host = World.build(running), running["a"]
        before = host.status()
        host.kill9()
        (host.lab.state / "a" / "policy.cache").unlink()
        host.lab.write_file(host.snapshot.name, b"no snapshot")
        host.start()
        host.wait_ready()
        wait_until(lambda: host.status().refused, "it to have looked at the file")
        found = host.status()
        assert (found.state, found.generation) == ("syncing", before.generation)
        assert found.summary.startswith("What the last run of the agent left in force is enforced")
        world.listen()
        allowed = world.web.connect(world.b.v4, PORT)
        assert allowed.ok, allowed
        assert world.other.connect(world.b.v4, PORT).error == "EPERM"
        assert host.identity(world.web.pid) >= 256, "it is attested still"
        running.apply(BASE)
        assert host.status().state == "in_sync"
