# SPDX-License-Identifier: Apache-2.0
"""Two machines under one policy: a client's, and one with nginx and redis as Debian ships them.

The policy lets `shop` (the unit shop.service on web) reach nginx and redis on db, and nobody else.
"""

from __future__ import annotations

from pathlib import Path

from controller import offline
from tests.lab import Lab, LabHost
from tests.lab.waiting import wait_until
from tests.systemd.machine import Machine

POLICY = """
kind: Workload
name: shop
segment: front
match: [{unit: shop.service}]
---
kind: Workload
name: nginx
segment: back
match: [{unit: nginx.service}]
---
kind: Workload
name: redis
segment: back
match: [{unit: redis-server.service}]
---
kind: Workload
name: opener
segment: front
match: [{unit: opener.service}]
---
kind: Workload
name: reader
segment: front
match: [{unit: reader.service}]
---
kind: Workload
name: pages
segment: back
match: [{unit: pages.service}]
---
kind: Workload
name: kim
segment: front
match: [{cgroup: '/user.slice/user-1000.slice/*'}]
---
kind: Segment
name: front
mode: enforce
---
kind: Segment
name: back
mode: enforce
---
kind: Allow
name: shop-to-back
from: {workload: shop}
to: {segment: back}
ports: [tcp/80, tcp/6379]
---
kind: Allow
name: kim-to-redis
from: {workload: kim}
to: {workload: redis}
ports: [tcp/6379]
---
kind: Allow
name: opener-to-whoever-listens
from: {workload: opener}
to: [{workload: pages}, {segment: default}]
ports: [tcp/8080]
---
kind: Allow
name: reader-to-pages
from: {workload: reader}
to: {workload: pages}
ports: [tcp/8080]
"""
REDIS = "bind 0.0.0.0\nprotected-mode no\nsave ''\n"
FOREGROUND = """
[Service]
Type=simple
PIDFile=
ExecStart=
ExecStart=/usr/sbin/nginx -g 'daemon off;'
"""
"""Of a daemon that forks away, the agent would have to find the listener: see boot.py."""
READY_SECONDS = 180.0
REFUSED = (7, 28)
"""curl: cannot connect, timed out."""


def snapshots(folder: Path, hosts: list[LabHost], policy: str = POLICY) -> Path:
    """The output folder of `cordonctl compile` for these hosts."""
    documents, out = folder / "documents", folder / "out"
    documents.mkdir(parents=True, exist_ok=True)
    (documents / "policy.yaml").write_text(policy)
    lines = ["trust_domain: lab.example", "hosts:"]
    for host in hosts:
        lines += [f"  - name: {host.name}", f"    addresses: ['{host.v4}', '{host.v6}']"]
    (folder / "hosts.yaml").write_text("\n".join(lines) + "\n")
    offline.compile_files(folder / "hosts.yaml", documents, out, out / "state")
    return out


def bring_policy(machine: Machine, out: Path) -> None:
    """What a deployment tool does, to a machine that does not run yet."""
    machine.prepare("/etc/cordon/policy.pub", (out / "policy.pub").read_bytes())
    machine.prepare("/etc/hostname", f"{machine.host.name}\n")
    snapshot = (out / f"{machine.host.name}.snapshot").read_bytes()
    machine.prepare("/var/lib/cordon/host.snapshot", snapshot, 0o600)


def enable_agent(machine: Machine) -> None:
    machine.run("systemctl", "enable", "--now", "cordon-agent", timeout=READY_SECONDS)


class Pair:
    """`web` and `db`, and what the tests do with them."""

    def __init__(self, lab: Lab, lower: list[Path]) -> None:
        self.web, self.db = Machine(lab["web"], lower), Machine(lab["db"], lower)
        self._folder = lab.run_folder / "policy"

    def start(self) -> None:
        out = snapshots(self._folder, [self.web.host, self.db.host])
        self.db.prepare("/etc/redis/redis.conf", REDIS)
        self.db.prepare("/etc/systemd/system/nginx.service.d/foreground.conf", FOREGROUND)
        self.db.prepare("/var/www/html/index.html", "welcome\n")
        for machine in (self.web, self.db):
            bring_policy(machine, out)
            machine.enable("cordon-agent.service", "sysinit.target")
            machine.power_on()
        for machine in (self.web, self.db):
            machine.wait_up()
            assert machine.is_active("cordon-agent"), machine.journal("-u", "cordon-agent")

    def curl(self, unit: str, *more: str) -> int:
        """The exit status of one request from a transient unit of this name on web."""
        url = f"http://{self.db.host.v4}/"
        return self.unit(unit, "curl", "-s", "-o", "/dev/null", "-m", "3", *more, url)

    def unit(self, name: str, *argv: str) -> int:
        options = ("--quiet", "--wait", "--pipe", "--collect", f"--unit={name}.service")
        return self.web.run("systemd-run", *options, *argv, check=False).returncode

    def enforces(self) -> None:
        """What is allowed passes, what is not does not: between two kernels, both ways round."""
        assert self.curl("shop") == 0
        assert self.curl("other") in REFUSED


def wait_active(machine: Machine, unit: str = "cordon-agent") -> None:
    wait_until(lambda: machine.is_active(unit), f"{unit} is active", READY_SECONDS, interval=0.2)
