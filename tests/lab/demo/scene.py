# SPDX-License-Identifier: Apache-2.0
"""The scene: a small shop on two hosts with agents, their controller, and a machine without one.

front: nginx, and the web application's own client of the database (both workload `web`); a program
that nobody declared (`stranger`) and a workload that is only watched yet (`pilot`).
back: redis (workload `db`), and a program that fetches pages (workload `jobs`).
ctl: the controller, and the operator at `cordonctl`.
guest: whoever else is on the network.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.lab import Lab, LabHost, LabProcess, Sniffer, wait_until
from tests.lab.demo.testimony import HELD, Testimony, kernel_counts
from tests.lab.fleet import Fleet

WEB_PORT = 80
DB_PORT = 6379
PROGRAM_SECONDS = 30.0
"""For a program that is let through, on a machine that is busy with something else, too."""

GIVE_UP = "0.8"
"""Seconds after which curl calls a silent server unreachable; whoever answers does so in a few
milliseconds, and TCP repeats a SYN only after 1 s."""
NAMING_TRIES = 5
WELCOME = "welcome to the shop"
JOBS, WEB, DB = ("back", "jobs"), ("front", "web"), ("back", "db")
STRANGER, PILOT, GUEST = ("front", "stranger"), ("front", "pilot"), ("guest", "someone")

_WORKLOADS = """
kind: Workload
name: web
segment: shop
match: [{unit: web.service}]
---
kind: Workload
name: db
segment: shop
match: [{unit: db.service}]
---
kind: Workload
name: jobs
segment: shop
match: [{unit: jobs.service}]
---
kind: Workload
name: pilot
segment: trial
match: [{unit: pilot.service}]
---
kind: Segment
name: shop
mode: enforce
---
kind: Segment
name: trial
mode: audit
---
kind: Segment
name: default
mode: enforce
---
kind: Allow
name: jobs-fetch-pages
from: {workload: jobs}
to: {workload: web}
ports: [tcp/80]
"""

_WEB_READS_DB = """
---
kind: Allow
name: web-reads-db
from: {workload: web}
to: {workload: db}
ports: [tcp/6379]
"""

REVOKED = _WORKLOADS
POLICY = _WORKLOADS + _WEB_READS_DB

_NGINX = """
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {v4}:80;
        listen [{v6}]:80;
        location / {{ return 200 "{welcome}\\n"; }}
    }}
}}
"""


@dataclass(frozen=True)
class Call:
    """A program that connects: who runs it where, and to which address and port it goes."""

    host: str
    workload: str
    argv: Sequence[str]
    address: str
    port: int

    @property
    def unit(self) -> str:
        return f"{self.workload}.service"

    @property
    def text(self) -> str:
        """As it would look in a terminal."""
        return f"{self.workload}@{self.host}$ {shlex.join(self.argv)}"


def redis_cli(who: tuple[str, str], address: str, *words: str, port: int = DB_PORT) -> Call:
    """The client of redis; without words it asks for a PONG. who: host and workload."""
    where = ["-p", str(port)] if port != DB_PORT else []
    argv = ["redis-cli", "-h", address, *where, *(words or ["ping"])]
    return Call(*who, argv, address, port)


def curl(who: tuple[str, str], address: str, *options: str, port: int = WEB_PORT) -> Call:
    """Fetches a page. who: host and workload."""
    return Call(*who, ["curl", "-sS", *options, _url(address, port)], address, port)


def knock(who: tuple[str, str], address: str, port: int) -> Call:
    """A client that does not wait long for an answer."""
    return curl(who, address, "--connect-timeout", GIVE_UP, port=port)


def _url(address: str, port: int) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}/" if port == WEB_PORT else f"http://{host}:{port}/"


@dataclass(frozen=True)
class Scene:
    """Everything is up: agents enforce, servers listen, witnesses listen."""

    lab: Lab
    fleet: Fleet
    testimony: Testimony
    wires: dict[str, Sniffer]

    @property
    def front(self) -> LabHost:
        return self.lab["front"]

    @property
    def back(self) -> LabHost:
        return self.lab["back"]

    @property
    def guest(self) -> LabHost:
        return self.lab["guest"]

    def run(self, call: Call, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        host = self.lab[call.host]
        return host.run(call.argv, call.unit, input=stdin, timeout=PROGRAM_SECONDS)

    def run_named(self, call: Call) -> subprocess.CompletedProcess[str]:
        """The same for a program that the agent has named before it connects.

        A process that is quicker than its attestation is not refused at once but held back. Where
        the kernel has counted that, the program is run again.
        """
        hosts = [self.fleet[call.host]]
        for _ in range(NAMING_TRIES):
            before = kernel_counts(hosts)
            done = self.run(call)
            if kernel_counts(hosts)[HELD] == before[HELD]:
                break
        return done

    def spawn(self, call: Call) -> LabProcess:
        """Start a program that goes on; its standard input stays open and empty."""
        host = self.lab[call.host]
        return host.spawn(call.argv, call.unit, stdin=subprocess.PIPE)

    def wait_closed(self, host: str, port: int) -> None:
        """Until no socket of a host is connected to this port of another."""
        wait_until(
            lambda: not self.lab[host].tool(["ss", "-tnH", f"dport = :{port}"]).strip(),
            f"the connection from port {port} is closed on {host}",
            timeout=PROGRAM_SECONDS,
        )


def said(done: subprocess.CompletedProcess[str]) -> str:
    """A program's own last words, on one line."""
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1].strip() if lines else "(nothing)"


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    """Build it, and take everything away again."""
    with Lab("front", "back", "guest", "ctl") as lab:
        fleet = Fleet(lab, ["front", "back"], {}, desk="ctl")
        try:
            fleet.start(POLICY)
            testimony = Testimony()
            for name, host in fleet.hosts.items():
                testimony.watch(name, host)
            _start_servers(fleet)
            yield Scene(lab, fleet, testimony, {name: Sniffer(lab[name]) for name in fleet.hosts})
        finally:
            fleet.close()


def _start_servers(fleet: Fleet) -> None:
    front, back = fleet["front"], fleet["back"]
    config = front.lab.write_file(
        "nginx.conf",
        _NGINX.format(welcome=WELCOME, folder=front.lab.state, v4=front.lab.v4, v6=front.lab.v6),
    )
    nginx = front.lab.spawn(
        ["nginx", "-e", "stderr", "-c", str(config), "-g", "daemon off;"], "web.service"
    )
    redis = back.lab.spawn(
        ["redis-server", "--bind", back.lab.v4, back.lab.v6, "127.0.0.1", "--port", str(DB_PORT),
         "--protected-mode", "no", "--save", "", "--dir", str(back.lab.state)],
        "db.service",
    )  # fmt: skip
    _wait_for(nginx, "start worker process ")
    _wait_for(redis, "Ready to accept connections")
    front.wait_attested(nginx.pid)
    back.wait_attested(redis.pid)


def _wait_for(server: LabProcess, words: str) -> None:
    """Until a server says in its log that it serves."""

    def look() -> bool:
        assert server.alive, f"{server.argv[0]} ended: {server.output()[-500:]}"
        return bool(re.search(words, server.output()))

    wait_until(look, f"{server.argv[0]} serves", timeout=PROGRAM_SECONDS)
