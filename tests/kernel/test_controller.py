# SPDX-License-Identifier: Apache-2.0
"""From a token to a verdict: a real controller, real joins, real agents, the kernels of both.

The three live on one machine, each in its own network; the controller has no agent.
"""

from __future__ import annotations

import stat
from collections.abc import Callable

from tests.kernel.world import ALLOW, PORT, World, policy
from tests.lab import Puppet
from tests.lab.cordon import CordonHost
from tests.lab.fleet import Fleet, fleet, in_sync

OTHER = 5433
BACK_SECONDS = 90.0
"""An agent that was alone for long looks for its controller once in at most a minute."""
DEFAULT = "kind: Segment\nname: default\nmode: audit\n"


def state(name: str) -> Callable[[CordonHost], bool]:
    return lambda host: host.status().state == name


def allow(port: int) -> str:
    return policy(ALLOW.replace("tcp/5432", f"tcp/{port}"))


def reaches(world: World, port: int = PORT) -> bool:
    return _connects(world.web, world.b.v4, port)


def _connects(puppet: Puppet, address: str, port: int) -> bool:
    reply = puppet.connect(address, port, timeout=1.0)
    if reply.ok:
        puppet.close(reply.handle)
    return reply.ok


def listening(running: Fleet) -> World:
    world = World.build(running)  # type: ignore[arg-type] # hosts by name is all that it asks for
    for port in (PORT, OTHER):
        assert world.db.listen("0.0.0.0", port).ok
    return world


def test_policy_reaches_both_kernels_and_outlives_the_controller() -> None:
    with fleet(allow(PORT)) as running:
        world = listening(running)
        assert reaches(world, PORT)
        assert not reaches(world, OTHER)
        for host in running.hosts.values():
            identity = host.lab.state / host.lab.name / "identity"
            assert stat.S_IMODE(identity.stat().st_mode) == 0o700
            assert {stat.S_IMODE(file.stat().st_mode) for file in identity.iterdir()} == {0o600}

        running.apply(allow(OTHER))
        assert not reaches(world, PORT)
        assert reaches(world, OTHER)

        running.controller.kill9()
        running.wait_for(state("stale"), "it hears no controller")
        assert not reaches(world, PORT)
        assert reaches(world, OTHER)

        version = running["b"].status().policy_version
        running["b"].kill9()
        assert reaches(world, OTHER), "enforcement does not need an agent"
        assert not reaches(world, PORT)
        running["b"].start()
        running["b"].wait_ready()
        running.wait_for(
            lambda b: b.status().policy_version == version, "what its cache holds", "b"
        )
        assert running["b"].status().state == "cached"
        assert reaches(world, OTHER)
        assert not reaches(world, PORT)

        running.controller.start()
        running.wait_for(lambda host: in_sync(host, version), "in sync again", timeout=BACK_SECONDS)
        running.apply(allow(PORT))
        assert reaches(world, PORT)
        assert not reaches(world, OTHER)


def test_a_policy_that_cuts_agents_off_is_taken_back() -> None:
    """Without the agent's own lifeline, so that there is something to cut off."""
    with fleet(allow(PORT), controller_lifeline=False) as running:
        world = listening(running)
        before = running["a"].status().policy_version
        running.operator.apply(DEFAULT.replace("audit", "enforce"))
        running.wait_for(
            lambda host: "no controller was heard" in host.status().refused,
            "it took the policy back",
            timeout=BACK_SECONDS,
        )
        assert {host.status().policy_version for host in running.hosts.values()} == {before}
        assert reaches(world, PORT), "what was before it is in force again"
        running.apply(allow(OTHER))
        assert reaches(world, OTHER)


def test_the_agents_own_lifeline_holds_where_policy_forbids_all() -> None:
    with fleet(allow(PORT)) as running:
        world = listening(running)
        running.apply(DEFAULT.replace("audit", "enforce"))
        assert not _connects(world.loner, world.b.v4, PORT)
        running["a"].kill9()
        running["a"].start()
        running["a"].wait_ready()
        running.apply(DEFAULT + "---\n" + ALLOW.replace("tcp/5432", f"tcp/{OTHER}"))
        assert reaches(world, OTHER)
