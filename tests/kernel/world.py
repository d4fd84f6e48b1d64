# SPDX-License-Identifier: Apache-2.0
"""What the datapath tests share: a small world of workloads.

Host a: `web` and `other` (segment front), `loner` (matches no workload). Host b: `db` (segment
data). The base policy enforces both segments and lets web reach db on port 5432.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.lab import LabHost, Puppet, Reply, Segment
from tests.lab.cordon import Cordon
from tests.lab.puppet import Option

PORT = 5432
QUIET = 0.3
"""Seconds after which a handshake that was dropped counts as refused: TCP's own first
retransmission comes after 1 s, so nothing that passes takes longer than a fraction of this."""

WORKLOADS = """
kind: Workload
name: web
segment: front
match: [{unit: web.service}]
---
kind: Workload
name: other
segment: front
match: [{unit: other.service}]
---
kind: Workload
name: db
segment: data
match: [{unit: db.service}]
"""

ALLOW = """
kind: Allow
name: web-to-db
from: {workload: web}
to: {workload: db}
ports: [tcp/5432, tcp/5441]
"""


def segments(front: str = "enforce", data: str = "enforce", default: str = "audit") -> str:
    return "".join(
        f"---\nkind: Segment\nname: {name}\nmode: {mode}\n"
        for name, mode in (("front", front), ("data", data), ("default", default))
    )


def policy(*documents: str, front: str = "enforce", data: str = "enforce") -> str:
    """The workloads, the two segments in these modes, and more documents."""
    return "\n---\n".join([WORKLOADS + segments(front, data), *documents])


BASE = policy(ALLOW)


@dataclass
class World:
    """A running Cordon with a puppet in each workload."""

    cordon: Cordon
    web: Puppet
    other: Puppet
    loner: Puppet
    db: Puppet
    _listening: list[int] = field(default_factory=list)

    @classmethod
    def build(cls, cordon: Cordon) -> World:
        a, b = cordon["a"], cordon["b"]
        world = cls(
            cordon,
            web=a.lab.puppet("web.service"),
            other=a.lab.puppet("other.service"),
            loner=a.lab.puppet("loner.service"),
            db=b.lab.puppet("db.service"),
        )
        a.wait_attested(world.web.pid, world.other.pid, world.loner.pid)
        b.wait_attested(world.db.pid)
        return world

    @property
    def a(self) -> LabHost:
        return self.cordon["a"].lab

    @property
    def b(self) -> LabHost:
        return self.cordon["b"].lab

    def listen(
        self, address: str = "0.0.0.0", port: int = PORT, options: Sequence[Option] = ()
    ) -> Reply:
        """db listens; what it listened on before is closed, also after a test that failed."""
        self.db.close(*self._listening)
        reply = self.db.listen(address, port, options=options)
        assert reply.ok, reply
        self._listening = [reply.handle]
        return reply

    def enforces(self) -> None:
        """What is allowed passes, what is not is refused at the client and at the server."""
        allowed = self.web.connect(self.b.v4, PORT, timeout=5.0)
        assert allowed.ok, allowed
        self.web.close(allowed.handle, reset=True)
        assert self.other.connect(self.b.v4, PORT).error == "EPERM"
        assert self.loner.connect(self.b.v4, PORT, timeout=QUIET).error == "TIMEOUT"

    def refused_at_server(self, reason: str) -> int:
        return self.cordon["b"].verdicts().get(("ingress", "refuse", reason), 0)

    def verdict(self, host: str, direction: str, verdict: str, reason: str) -> int:
        return self.cordon[host].verdicts().get((direction, verdict, reason), 0)


_ports = itertools.count(40000)
_sequences = itertools.count(1_000_000, 7919)


def bare_syn(world: World, port: int = PORT) -> Segment:
    """A SYN from host a's address with a port and a sequence number of its own."""
    return Segment(world.a.v4, world.b.v4, next(_ports), port, sequence=next(_sequences))
