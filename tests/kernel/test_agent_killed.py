# SPDX-License-Identifier: Apache-2.0
"""The agent dies by SIGKILL, again and again, at any moment; the kernel goes on as before.

Connections that may be are made, those that may not are refused, long ones never break: while the
agent is dead, while it starts, and while it was killed in the middle of a new policy.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.edge import cgroups, links
from agent.edge.hooks import HOOKS, LISTENERS, Pins
from agent.edge.process_maps import ProcessMaps
from tests.kernel.sealing import read_snapshot
from tests.kernel.world import ALLOW, World, policy
from tests.lab import LabHost, Lane, Load, Reply, wait_until
from tests.lab.cordon import Cordon, CordonHost, cordon
from tests.lab.host import AGENT_UNIT

KILLS = int(os.environ.get("CORDON_KILLS") or 50)
SEED = int(os.environ.get("CORDON_SEED") or secrets.randbelow(1 << 32))
ALLOWED, LONG, SHUT = 5432, 5441, 5450
TURNS = (6000, 6001)
"""Ports of which each revision opens one: the first if its number is even."""
CONNECTIONS = 16
CLIENTS = {"allowed": "ok", "refused": "EPERM", "stray": "TIMEOUT", "long": "ok"}
"""What each load must get, always."""


def revision(number: int) -> str:
    """The same for the load; for the ports of TURNS, and by a rule's name, each is another one."""
    port = f"tcp/{TURNS[number % 2]}"
    documents = [
        {
            "kind": "Allow",
            "name": f"{name}-{number}",
            "from": {source: value},
            "to": {"workload": "db"},
        }
        for name, source, value in (("web", "workload", "web"), ("strays", "segment", "default"))
    ]
    return policy(ALLOW, *(json.dumps({**document, "ports": [port]}) for document in documents))


@dataclass
class Siege:
    """A world under load whose agents are killed."""

    world: World
    rng: random.Random
    revision: int = 0
    loads: dict[str, Load] = field(default_factory=dict)

    @property
    def cordon(self) -> Cordon:
        return self.world.cordon

    def begin(self) -> None:
        a, b = self.world.a, self.world.b
        # Its own side only audits: the server's kernel refuses it.
        stray = Lane("x", b.v4, ALLOWED, ("TIMEOUT",), timeout=0.1)
        self.loads = {
            "server": Load.serve(b, "db.service", [ALLOWED, LONG, SHUT, *TURNS]),
            "allowed": Load.connect(
                a, "web.service", [Lane("v4", b.v4, ALLOWED), Lane("v6", b.v6, ALLOWED)]
            ),
            "refused": Load.connect(a, "web.service", [Lane("x", b.v4, SHUT, ("EPERM",))]),
            "stray": Load.connect(a, "loner.service", [stray]),
            "long": Load.talk(a, "web.service", Lane("x", b.v4, LONG), CONNECTIONS),
        }
        for name, load in self.loads.items():
            self.cordon["b" if name == "server" else "a"].wait_attested(load.pid)
        for load in self.loads.values():
            load.begin()
        for name in CLIENTS:
            self.loads[name].wait_running()

    def kill_once(self) -> None:
        """Kill one agent at a random moment, in half of the cases of a switch; start a new one."""
        name = self.rng.choice("ab")
        host = self.cordon[name]
        if self.rng.random() < 0.6:
            self.revision += 1
            self.cordon.publish(revision(self.revision))
            time.sleep(self.rng.uniform(0, 0.12))
        else:
            time.sleep(self.rng.uniform(0, 0.2))
        host.kill9()
        self.one_revision_whole(name)
        for unit in ("web.service", "api.service"):  # processes that come and go unseen
            host.lab.run(["/bin/true"], unit)
        host.start()
        if self.rng.random() < 0.2:  # again, before it is ready
            time.sleep(self.rng.uniform(0, 0.5))
            host.kill9()
            host.start()
        host.wait_ready()
        wait_until(
            lambda: host.status().policy_version == read_snapshot(host).version,
            f"the new agent on {name} has the newest policy in force",
        )
        self.one_revision_whole(name)

    def one_revision_whole(self, name: str) -> None:
        """Of the two ports that revisions turn, exactly one is open on this host's side."""
        web, loner, b = self.world.web, self.world.loner, self.world.b
        if name == "a":
            begun = [web.connect_start(b.v4, port) for port in TURNS]
            refused = [reply for reply in begun if reply.error == "EPERM"]
            assert len(refused) == 1, f"a has a mixed policy or none: {begun}"
            web.close(*(reply.handle for reply in begun), reset=True)
            return
        begun = [loner.connect_start(b.v4, port) for port in TURNS]

        def open_() -> list[Reply]:
            finished = (loner.connect_finish(reply.handle, timeout=0) for reply in begun)
            return [reply for reply in finished if reply.ok]

        wait_until(open_, "b lets one of the two in")
        assert len(open_()) == 1, "b has a mixed policy or none"
        loner.close(*(reply.handle for reply in begun), reset=True)


@pytest.fixture
def siege() -> Iterator[Siege]:
    with cordon(revision(0)) as running:
        made = Siege(World.build(running), random.Random(SEED))
        made.begin()
        yield made


def count_resets(host: LabHost) -> None:
    """Every RST on the long connections, in either direction, whoever sent it."""
    host.tool(
        ["nft", "-f", "-"],
        f"""
        table inet resets {{
            counter seen {{ }}
            chain arriving {{
                type filter hook prerouting priority raw; policy accept;
                tcp flags & rst == rst tcp dport {LONG} counter name seen
                tcp flags & rst == rst tcp sport {LONG} counter name seen
            }}
        }}
        """,
    )


def resets(host: LabHost) -> int:
    listing = json.loads(host.tool(["nft", "-j", "list", "counters"]))["nftables"]
    return sum(int(entry["counter"]["packets"]) for entry in listing if "counter" in entry)


def hooks_in_kernel(host: CordonHost) -> dict[str, int]:
    """How many programs of each kind the kernel runs for the host's own cgroup."""
    folder = os.open(host.lab.cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return {
            hook.function: len(links.prog_query_cgroup(folder, hook.attach_type))
            for hook in HOOKS
            if hook.attach_type is not None
        }
    finally:
        os.close(folder)


def untidy(host: CordonHost) -> list[str]:
    """What the dead agents left that should not be there."""
    pins = Pins(host.pins)
    attached = {hook.function for hook in HOOKS}
    found = [f"{hook}: {n} programs" for hook, n in hooks_in_kernel(host).items() if n != 1]
    loaded = {*attached, LISTENERS.function}
    for folder, expected in ((pins.links, attached), (pins.programs, loaded)):
        names = {path.name for path in folder.iterdir()}
        found += [f"{folder}: {name}" for name in names ^ expected]
    agents = list(cgroups.pids(host.lab.unit_cgroup(AGENT_UNIT)))
    if len(agents) != 1:
        found.append(f"agents: {agents}")
    return [*found, *leaked_processes(host)]


def leaked_processes(host: CordonHost) -> list[str]:
    """Entries of processes that are not there, and processes without an entry."""
    maps = ProcessMaps(Pins(host.pins).maps)
    try:
        known = set(maps.all())
    finally:
        maps.close()
    living = {pid for pid in cgroups.pids(host.lab.cgroup) if Path(f"/proc/{pid}").exists()}
    return [f"process {pid}: entry or process is missing" for pid in known ^ living]


def wait_tidy(host: CordonHost) -> None:
    """A process that has just ended may have an entry for a moment."""
    wait_until(lambda: host.status().state == "in_sync", f"{host.lab.name} is in sync")
    try:
        wait_until(lambda: not untidy(host), "all is tidy")
    except AssertionError:
        raise AssertionError(f"{host.lab.name}: {untidy(host)}") from None


def test_fifty_kills_change_no_verdict_and_break_no_connection(siege: Siege) -> None:
    print(f"CORDON_SEED={SEED}")
    for host in (siege.world.a, siege.world.b):
        count_resets(host)
    for number in range(KILLS):
        before = {name: siege.loads[name].report().total(right) for name, right in CLIENTS.items()}
        siege.kill_once()
        for name, right in CLIENTS.items():
            report = siege.loads[name].report()
            assert not report.odd, f"{name}, kill {number}: {report}"
            assert report.total(right) > before[name], f"{name} stood still, kill {number}"
    for agent in siege.cordon.hosts.values():
        wait_tidy(agent)
        assert resets(agent.lab) == 0
