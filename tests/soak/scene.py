# SPDX-License-Identifier: Apache-2.0
"""The fleet of the soak, and its traffic: what is allowed and what is refused, by every road.

On `a` live the clients, on `b` the servers, on `c` the controller. The agent of `a` is restarted
again and again, that of `b` and the controller live as long as the soak. Every connection is
judged by the program that makes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.lab import Lane, Load, Puppet
from tests.lab.cordon import CordonHost
from tests.lab.fleet import Fleet, fleet

DB, TOGGLED, CLOSED, CACHE = 5432, 5433, 5434, 6379
PAUSE = 0.05
"""Between the connections of a client: load enough, and most of the machine left to others."""
LONG = 4

_WORKLOADS = {
    "web": ("front", "web.service"),
    "stranger": ("front", "stranger.service"),
    "job": ("front", "job-*.service"),
    "rogue": ("front", "rogue-*.service"),
    "pilot": ("trial", "pilot.service"),
    "db": ("back", "db.service"),
    "cache": ("back", "cache.service"),
}
_MODES = {"front": "enforce", "back": "enforce", "trial": "off", "default": "audit"}


def _allow(name: str, clients: Sequence[str], server: str, port: int) -> str:
    who = ", ".join(f"{{workload: {client}}}" for client in clients)
    return (
        f"kind: Allow\nname: {name}\nfrom: [{who}]\nto: {{workload: {server}}}\n"
        f"ports: [tcp/{port}]\n"
    )


def policy(*, toggled: bool, more: int = 0) -> str:
    """toggled: whether web reaches db on TOGGLED, too. more: rules about networks besides."""
    documents = [
        f"kind: Workload\nname: {name}\nsegment: {segment}\nmatch: [{{unit: '{unit}'}}]\n"
        for name, (segment, unit) in _WORKLOADS.items()
    ]
    documents += [f"kind: Segment\nname: {n}\nmode: {mode}\n" for n, mode in _MODES.items()]
    documents.append(_allow("web-and-jobs-to-db", ["web", "job"], "db", DB))
    documents.append(_allow("web-to-cache", ["web"], "cache", CACHE))
    if toggled:
        documents.append(_allow("web-to-db-at-times", ["web"], "db", TOGGLED))
    documents += [
        f"kind: Allow\nname: web-to-outside-{i}\nfrom: {{workload: web}}\n"
        f"to: {{cidr: 198.51.100.{i}/32}}\nports: [tcp/443]\n"
        for i in range(more)
    ]
    return "---\n".join(documents)


@dataclass
class Scene:
    """puppet: a process of web that connects on command. cache: the service that is restarted."""

    fleet: Fleet
    loads: dict[str, Load]
    puppet: Puppet
    cache: Load

    @property
    def a(self) -> CordonHost:
        return self.fleet["a"]

    @property
    def b(self) -> CordonHost:
        return self.fleet["b"]

    def connects(self, port: int) -> bool:
        """Whether web gets a connection to b now."""
        reply = self.puppet.connect(self.b.lab.v4, port, timeout=5.0)
        if reply.ok:
            self.puppet.close(reply.handle)
        return reply.ok

    def restart_cache(self) -> None:
        """End the service with its cgroup, and start it anew, as a service manager does."""
        self.b.lab.remove_unit("cache.service")
        self.cache.process.kill9()
        self.cache = _cache(self.b)


def _cache(b: CordonHost) -> Load:
    cache = Load.serve(b.lab, "cache.service", [CACHE])
    cache.begin()
    return cache


def _clients(a: CordonHost, b: CordonHost) -> dict[str, Load]:
    """A refused client is refused at once, but while a new agent asks who it is: then it is held,
    and gives up."""
    v4, v6 = b.lab.v4, b.lab.v6
    refused, told = ("EPERM", "TIMEOUT"), ("ECONNREFUSED", "TIMEOUT")
    web = [
        Lane("web to db", v4, DB),
        Lane("web to db over IPv6", v6, DB),
        Lane("web to a closed port", v4, CLOSED, refused, 1.0),
    ]
    stranger = [
        Lane("stranger to db", v4, DB, refused, 1.0),
        Lane("stranger to db over IPv6", v6, DB, refused, 1.0),
    ]
    pilot = [Lane("pilot, refused by the server", v4, DB, told, 1.0)]
    long = Lane("a long connection of web", v4, DB)
    return {
        "web": Load.connect(a.lab, "web.service", web, PAUSE),
        "stranger": Load.connect(a.lab, "stranger.service", stranger, PAUSE),
        "pilot": Load.connect(a.lab, "pilot.service", pilot, PAUSE * 4),
        "long": Load.talk(a.lab, "web.service", long, LONG, PAUSE),
    }


@contextlib.contextmanager
def scene(**settings: str | int | bool) -> Iterator[Scene]:
    """Everything is up and talks. settings: of the agents."""
    keys = ("epoch=60s", "epochs_ahead=2")  # the shortest there is: keys come and go, too
    policy_now = policy(toggled=False)
    extra: dict[str, Any] = {"refuse": "reject", **settings}
    with fleet(policy_now, settings=keys, **extra) as running:
        a, b = running["a"], running["b"]
        server = Load.serve(b.lab, "db.service", [DB, TOGGLED, CLOSED])
        server.begin()
        cache = _cache(b)
        b.wait_attested(server.pid, cache.pid)
        puppet = a.lab.puppet("web.service")
        clients = _clients(a, b)
        a.wait_attested(puppet.pid, *(load.pid for load in clients.values()))
        for load in clients.values():
            load.begin()
            load.wait_running()
        yield Scene(running, {**clients, "db": server}, puppet, cache)
