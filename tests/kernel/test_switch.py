# SPDX-License-Identifier: Apache-2.0
"""Switching policy under load: every judgement is of one revision as a whole, never of two.

Three kinds of revisions follow each other whose verdicts have nothing in common: other ports, other
maps (exact ports or ranges, numbers and masks of networks, modes), and in each revision rules of a
name, and so of a number, of its own. A judgement that took one entry from elsewhere could not give
its revision's answer. Three, because the kernel has two slots: what the last but one left behind
must show, too. The kernels' own words are held against the revision that they name, and what the
clients and servers met against all revisions (tests.lab.history).
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest

from agent.core.model import Snapshot
from agent.pb import local_pb2
from tests.kernel.oracle import fault_of
from tests.kernel.sealing import read_snapshot
from tests.kernel.world import WORKLOADS, segments
from tests.lab import Lab, Lane, Load, Puppet
from tests.lab.cordon import Cordon
from tests.lab.history import History
from tests.lab.history_check import Party
from tests.lab.waiting import PATIENCE
from tests.lab.witness import Witness

SWITCHES = int(os.environ.get("CORDON_SWITCHES") or 200)
WEB, WEB_PORTS = (5432, 6050, 8000), ("tcp/5432", "tcp/6041-6059", "tcp/7990-9000")
OUT, IN = (7000, 7001, 7002), (7100, 7101, 7102)
STRANGER = ("192.0.2.0/24", "192.0.2.3/32", "192.0.0.0/16")
DEFAULT_MODE = ("enforce", "audit", "off")
BRIEF = 0.05 * PATIENCE
"""Seconds that a client waits whose SYN the server may refuse: it is about throughput, no verdict
depends on it."""


def revision(number: int) -> str:
    """One of three kinds, with rules of names of its own."""
    kind = number % 3

    def allow(what: str, source: object, target: object, ports: str) -> str:
        name = f"{what}-{number}"
        document = {"kind": "Allow", "name": name, "from": source, "to": target, "ports": [ports]}
        return json.dumps(document)

    web, db = {"workload": "web"}, {"workload": "db"}
    others = [port for port in WEB if port != WEB[kind]]
    strangers = [{"cidr": STRANGER[kind]}, *({"cidr": f"10.{i}.0.0/16"} for i in range(3 * kind))]
    deny = {"kind": "Deny", "name": f"deny-{number}", "from": {"any": True}, "to": db}
    return "\n---\n".join(
        [
            WORKLOADS + segments(default=DEFAULT_MODE[kind]),
            allow("web", web, db, WEB_PORTS[kind]),
            allow("out", db, strangers, f"tcp/{OUT[kind]}"),
            allow("in", strangers, db, f"tcp/{IN[kind]}"),
            json.dumps({**deny, "ports": [f"tcp/{port}" for port in others]}),
        ]
    )


@dataclass
class Stage:
    """Three hosts, the third without an agent, and load on all of them."""

    cordon: Cordon
    web: Puppet
    history: History
    witnesses: dict[str, Witness] = field(default_factory=dict)
    generations: dict[tuple[str, int], Snapshot] = field(default_factory=dict)
    loads: list[Load] = field(default_factory=list)

    def apply(self, number: int) -> None:
        at = time.monotonic()
        self.cordon.apply(revision(number))
        self.history.published(at)
        self.remember()

    def remember(self) -> None:
        for name, host in self.cordon.hosts.items():
            self.generations[name, host.status().generation] = read_snapshot(host)

    def begin(self) -> None:
        a, b, c = (self.cordon.lab[name] for name in "abc")
        self.loads = [
            Load.serve(b, "db.service", [*WEB, *IN], record="server.record"),
            Load.serve(c, "x", OUT, record="server.record"),
        ]
        for load, name in zip(self.loads, "bc", strict=True):
            self.history.accepts(load, name)
        servers = {b.v4: Party("b", "db"), b.v6: Party("b", "db"), c.v4: Party("c")}
        clients = [
            (a, "web.service", "web", [(to, port) for to in (b.v4, b.v6) for port in WEB]),
            (a, "loner.service", None, [(b.v4, port) for port in WEB]),
            (b, "db.service", "db", [(c.v4, port) for port in OUT]),
            (c, "y", None, [(b.v4, port) for port in IN]),
        ]
        for host, unit, workload, targets in clients:
            lanes = [
                Lane(f"{address} {port}", address, port, ("ok", "EPERM", "TIMEOUT"), BRIEF)
                for address, port in targets
            ]
            load = Load.connect(host, unit, lanes, pause=0.004, record=f"{unit}.record")
            self.history.follow(load, Party(host.name, workload), servers)
            self.loads.append(load)
        self.history.published(0.0)
        for load in self.loads:
            load.begin()
        for load in self.loads[2:]:
            load.wait_running()
        self.history.begin()

    def fault(self, host: str, flow: local_pb2.Flow) -> str | None:
        return fault_of(self.generations[host, flow.generation], flow)

    def outcomes(self) -> dict[int, str | None]:
        """What a client gets once both hosts have switched."""
        b, found = self.cordon["b"].lab, {}
        for port in WEB:
            web, db = Party("a", "web"), Party("b", "db")
            reply = self.history.connect(self.web, web, db, (b.v4, port))
            found[port] = reply.error
            if reply.ok:
                self.web.close(reply.handle, reset=True)
        return found


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Lab("a", "b", "c") as lab:
        running = Cordon(lab, hosts=["a", "b"])
        running.settings = {"refusal_events_per_second": 100_000}
        try:
            running.start(revision(0))
            web = lab["a"].puppet("web.service")
            running["a"].wait_attested(web.pid)
            made = Stage(running, web, History(running, read_snapshot))
            made.witnesses = {name: Witness(running[name]) for name in ("a", "b")}
            made.remember()
            yield made
        finally:
            running.close()


def test_no_verdict_is_mixed_of_two_revisions(stage: Stage) -> None:
    stage.begin()
    for number in range(1, 1 + SWITCHES):
        stage.apply(number)
        should = {port: None if port == WEB[number % 3] else "EPERM" for port in WEB}
        assert stage.outcomes() == should, number
    for load in stage.loads[2:]:
        report = load.report()
        assert sum(sum(found.values()) for found in report.counts.values()) > SWITCHES, report
    for name, witness in stage.witnesses.items():
        said = Counter(flow.verdict for flow in witness.flows)
        assert min(said["allow"], said["refuse"]) > SWITCHES, (name, said)
        judged = {flow.generation for flow in witness.flows}
        assert len(judged) > 0.8 * SWITCHES, f"{name}: few revisions judged anything"
        faults = list(filter(None, map(partial(stage.fault, name), witness.flows)))
        assert not faults, f"{name}: {len(faults)} of {len(witness.flows)}: {faults[:5]}"
    for name, host in stage.cordon.hosts.items():
        assert "flow_event_lost" not in host.outcomes(), name
    faults = stage.history.end()
    attempts = len(stage.history.record.attempts)
    assert attempts > 10 * SWITCHES
    assert not faults, f"{len(faults)} of {attempts} attempts: {faults[:5]}"
