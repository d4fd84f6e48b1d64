# SPDX-License-Identifier: Apache-2.0
"""A world under load and under watch: what may pass passes, what may not is refused, long
connections never break, and two ports of which each revision opens one tell which is in force.

For tests that kill agents, hold them, or let them fail; the history's checker has the last word.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.edge import cgroups, links
from agent.edge.hooks import HOOKS, LISTENERS, Pins
from agent.edge.process_maps import ProcessMaps
from tests.kernel.sealing import read_snapshot
from tests.kernel.world import ALLOW, World, policy
from tests.lab import LabHost, Lane, Load, wait_until
from tests.lab.cordon import Cordon, CordonHost, cordon
from tests.lab.history import History
from tests.lab.history_check import Party
from tests.lab.host import AGENT_UNIT

SEED = int(os.environ.get("CORDON_SEED") or secrets.randbelow(1 << 32))
ALLOWED, LONG, SHUT = 5432, 5441, 5450
TURNS = (6000, 6001)
"""Ports of which each revision opens one: the first if its number is even."""
CONNECTIONS = 16
PATIENCE = 0.5
"""Seconds; no answer until then is a refusal: TCP asks again after a whole one."""
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
    """loads: by name. watched: those whose every attempt is in the history."""

    world: World
    history: History
    connections: int = CONNECTIONS
    revision: int = 0
    loads: dict[str, Load] = field(default_factory=dict)
    watched: dict[str, Load] = field(default_factory=dict)

    @classmethod
    def of(cls, running: Cordon, connections: int) -> Siege:
        return cls(World.build(running), History(running, read_snapshot), connections)

    @property
    def cordon(self) -> Cordon:
        return self.world.cordon

    def begin(self) -> None:
        a, b = self.world.a, self.world.b
        pause = min(0.002, 5 / self.connections)
        # Its own side only audits: the server's kernel refuses it.
        stray = Lane("x", b.v4, ALLOWED, ("TIMEOUT",), timeout=0.1)
        self.loads = {
            "allowed": Load.connect(
                a, "web.service", [Lane("v4", b.v4, ALLOWED), Lane("v6", b.v6, ALLOWED)]
            ),
            "refused": Load.connect(a, "web.service", [Lane("x", b.v4, SHUT, ("EPERM",))]),
            "stray": Load.connect(a, "loner.service", [stray]),
            "long": Load.talk(a, "web.service", Lane("x", b.v4, LONG), self.connections, pause),
        }
        ports = [ALLOWED, LONG, SHUT, *TURNS]
        server = Load.serve(b, "db.service", ports, record="server.record")
        self.history.accepts(server, "b")
        self.watched["server"] = server  # first, for what it accepted its clients must have told
        for port in TURNS:
            lane = Lane("x", b.v4, port, ("ok", "EPERM", "TIMEOUT"), PATIENCE)
            self._watch("web.service", "web", lane)
            self._watch("loner.service", None, lane)
        self._start(server)

    def _watch(self, unit: str, workload: str | None, lane: Lane) -> None:
        """One load for each port, so that one that is shut does not keep the other waiting."""
        name = f"{unit} {lane.port}"
        load = Load.connect(self.world.a, unit, [lane], pause=0.005, record=f"{name}.record")
        client = Party("a", workload)
        self.history.follow(load, client, {self.world.b.v4: Party("b", "db")})
        self.watched[name] = load

    def _start(self, server: Load) -> None:
        loads = {
            name: load
            for name, load in {**self.loads, **self.watched}.items()
            if load is not server
        }
        self.cordon["b"].wait_attested(server.pid)
        for load in loads.values():
            self.cordon["a"].wait_attested(load.pid)
        self.history.published(0.0)
        for load in (server, *loads.values()):
            load.begin()
        for load in loads.values():
            load.wait_running()
        self.history.begin()

    def publish(self) -> None:
        self.revision += 1
        self.history.publish(revision(self.revision))

    def wait_newest(self, *names: str) -> None:
        """Until the newest revision is in force on these hosts."""
        for name in names:
            host = self.cordon[name]
            wait_until(
                lambda host=host: host.status().policy_version == read_snapshot(host).version,  # type: ignore[misc]
                f"the agent on {name} has the newest policy in force",
                timeout=30.0,
            )

    def totals(self) -> dict[str, int]:
        return {name: self.loads[name].report().total(right) for name, right in CLIENTS.items()}

    def check(self, before: dict[str, int], when: str) -> None:
        """Nothing went wrong, and everything went on since `before`."""
        for name, right in CLIENTS.items():
            report = self.loads[name].report()
            assert not report.odd, f"{name}, {when}: {report}"
            assert report.total(right) > before[name], f"{name} stood still, {when}"

    def every_connection_stands(self) -> None:
        """Each of the long ones has carried a byte there and back since this was called."""
        long = self.loads["long"]
        before = long.report().total()
        wait_until(
            lambda: long.report().total() >= before + self.connections,
            "all connections were used, one after the other",
            timeout=120.0,
            interval=0.2,
        )
        assert not long.report().odd, long.report()

    def end(self) -> None:
        """The history's last word."""
        for name, load in self.watched.items():
            report = load.report()
            assert not report.odd, f"{name}: {report}"
        wait_until(self._newest_seen, "the newest revision was seen on both hosts", timeout=15.0)
        faults = self.history.end()
        record = self.history.record
        assert not faults, f"{len(faults)} of {len(record.attempts)} attempts: {faults[:5]}"
        self._both_ends_said_something()

    def _newest_seen(self) -> bool:
        record = self.history.record
        return all(
            record.sights[name] and record.sights[name][-1][2] == max(record.published[name])
            for name in self.cordon.hosts
        )

    def _both_ends_said_something(self) -> None:
        """A history without refusals proves nothing."""
        outcomes = {attempt.outcome for attempt in self.history.record.attempts}
        assert outcomes == {"ok", "EPERM", "TIMEOUT"}
        assert len(self.history.record.accepted["b"]) > 10 * self.revision


@contextmanager
def besieged(connections: int = CONNECTIONS) -> Iterator[Siege]:
    with cordon(revision(0)) as running:
        made = Siege.of(running, connections)
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
