# SPDX-License-Identifier: Apache-2.0
"""A machine that has joined a controller, and boots while there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, Load
from tests.lab.fleet import LabController
from tests.lab.operator import Operator
from tests.lab.waiting import wait_until
from tests.systemd.machine import Machine
from tests.systemd.pair import enable_agent, wait_active

AGENT = "cordon-agent"
PORT = 8080
JOIN_SECONDS = 120.0
BEFORE_ANY_NETWORK = "network-pre.target"
POLICY = f"""
kind: Workload
name: shop
segment: front
match: [{{unit: shop.service}}]
---
kind: Workload
name: other
segment: front
match: [{{unit: other.service}}]
---
kind: Segment
name: front
mode: enforce
---
kind: Segment
name: default
mode: audit
---
kind: Allow
name: shop-to-the-world
from: {{workload: shop}}
to: {{world: true}}
ports: [tcp/{PORT}]
"""


class Office:
    """The controller's host: a process of the lab and no machine, so that it can be ended."""

    def __init__(self, lab: Lab) -> None:
        self.host = lab["c"]
        self.controller = LabController(self.host)
        self.operator = Operator(self.host, self.host.folder / "operator")
        self.server = Load.serve(self.host, "world.service", [PORT])

    def open(self) -> None:
        token = self.controller.init()
        self.controller.start()
        self.operator.login(self.controller.enrolment, token)
        self.server.begin()


@pytest.fixture
def office_and_machine(installed: list[Path]) -> Iterator[tuple[Office, Machine]]:
    with Lab("a", "c") as lab:
        machine = Machine(lab["a"], installed)
        machine.prepare("/etc/cordon/agent.toml", "")
        machine.prepare("/etc/hostname", f"{machine.host.name}\n")
        yield Office(lab), machine


def status(machine: Machine) -> tuple[str, int]:
    """The agent's state, and the version of the policy in force."""
    done = machine.run("cordonctl", "status", "--output", "json", check=False)
    if done.returncode != 0:
        return "", 0
    told = json.loads(done.stdout)
    return told["state"], int(told["policy_version"])


def reaches(machine: Machine, office: Office, unit: str) -> bool:
    """Whether a transient unit of this name gets a connection to the office."""
    connect = ("bash", "-c", f"exec 3<>/dev/tcp/{office.host.v4}/{PORT}")
    options = ("--quiet", "--wait", "--pipe", "--collect", f"--unit={unit}.service")
    done = machine.run("systemd-run", *options, "timeout", "3", *connect, check=False)
    return done.returncode == 0


def join(machine: Machine, office: Office) -> None:
    token = office.operator.token(machine.host, {"role": "web"})
    machine.write("/root/token", token, 0o600)
    machine.run(
        "cordon-agent", "join", "--controller", office.controller.enrolment,
        "--token-file", "/root/token", timeout=JOIN_SECONDS,
    )  # fmt: skip
    enable_agent(machine)


def test_boot_without_a_controller_enforces_what_it_had_said_before_the_network_is_up(
    office_and_machine: tuple[Office, Machine],
) -> None:
    office, machine = office_and_machine
    office.open()
    machine.boot()
    join(machine, office)
    version = office.operator.apply(POLICY)
    wait_until(lambda: status(machine) == ("in_sync", version), "it is in sync", JOIN_SECONDS, 0.3)
    office.controller.kill9()
    machine.reboot()
    wait_active(machine)
    state, held = status(machine)
    assert (state, held) in (("cached", version), ("stale", version))
    assert reaches(machine, office, "shop")
    assert not reaches(machine, office, "other")
    agent = int(machine.property(AGENT, "ActiveEnterTimestampMonotonic"))
    network = int(machine.property(BEFORE_ANY_NETWORK, "ActiveEnterTimestampMonotonic"))
    assert 0 < agent <= network, "the policy is in force before anything sets up a network"
    office.controller.start()
    wait_until(lambda: status(machine) == ("in_sync", version), "it is heard", JOIN_SECONDS, 0.3)
