# SPDX-License-Identifier: Apache-2.0
"""The agent as a service among services: what systemd does to it and to its neighbours."""

from __future__ import annotations

import json
import os
import re

from agent.edge import libbpf, links
from tests.lab.waiting import wait_until
from tests.systemd.machine import Machine
from tests.systemd.pair import READY_SECONDS, REFUSED, Pair, wait_active

AGENT = "cordon-agent"
NOTICED = 30.0
CONNECTION_REFUSED = 7
"""Of curl."""
LINKS = "/sys/fs/bpf/cordon/default/links"


def restarts(machine: Machine, unit: str = AGENT) -> int:
    return int(machine.property(unit, "NRestarts"))


def main_pid(machine: Machine) -> str:
    return machine.property(AGENT, "MainPID")


def in_machine(machine: Machine, pid: str) -> int:
    """A pid of the machine as this test sees it."""
    wanted = ["systemctl", "show", "--value", "-p", "ControlGroup", AGENT]
    group = machine.run(*wanted).stdout.strip().lstrip("/")
    procs = (machine.host.cgroup / group / "cgroup.procs").read_text().split()
    for outer in procs:
        with open(f"/proc/{outer}/status", encoding="ascii") as status:
            numbers = next(line for line in status if line.startswith("NSpid:")).split()
        if numbers[-1] == pid:
            return int(outer)
    raise AssertionError(f"no process {pid} in {procs}")


def test_services_are_known_by_their_units_and_only_the_allowed_one_connects(pair: Pair) -> None:
    pair.enforces()
    told = json.loads(pair.db.run("cordonctl", "ps", "--output", "json").stdout)
    by_command = {process["command"]: process["workload"] for process in told}
    assert by_command["nginx"] == "nginx"
    assert by_command["redis-server"] == "redis"


def test_redis_under_its_own_sandbox_is_served_to_the_allowed_unit(pair: Pair) -> None:
    """Debian's unit puts it into namespaces of its own and changes its user."""
    redis = ("redis-cli", "-h", pair.db.host.v4, "ping")
    assert pair.unit("shop", *redis) == 0
    assert pair.unit("other", "timeout", "5", *redis) != 0


def test_status_of_the_unit_says_what_is_in_force(pair: Pair) -> None:
    assert "Policy version 1 is in force" in pair.db.property(AGENT, "StatusText")


def test_refusals_are_told_at_once_from_inside_the_fence(pair: Pair) -> None:
    """It takes a raw socket in the network namespace of the one who was asked."""
    before = told(pair.db)
    assert pair.curl("other") == CONNECTION_REFUSED
    wait_until(lambda: told(pair.db) > before, "the reset is counted", NOTICED, interval=0.2)


def told(machine: Machine) -> float:
    scrape = machine.run("curl", "-s", "http://127.0.0.1:9420/metrics").stdout
    (line,) = re.findall(r'^cordon_refusals_told_total{how="reset"} (\S+)$', scrape, re.M)
    return float(line)


def test_stop_leaves_enforcement_on(pair: Pair) -> None:
    pair.db.run("systemctl", "stop", AGENT)
    assert pair.curl("shop") == 0
    assert pair.curl("other") in REFUSED
    pair.db.run("systemctl", "start", AGENT, timeout=READY_SECONDS)
    pair.enforces()


def test_killed_agent_is_started_again(pair: Pair) -> None:
    before = restarts(pair.db)
    pair.db.run("systemctl", "kill", "--signal=KILL", AGENT)
    wait_until(lambda: restarts(pair.db) > before, "systemd starts it again", NOTICED)
    assert pair.curl("shop") == 0, "enforced meanwhile"
    wait_active(pair.db)
    pair.enforces()


def test_restarted_service_is_itself_and_serves_whom_it_served(pair: Pair) -> None:
    """Another process in another cgroup, of the same unit."""
    before = pair.db.property("nginx", "MainPID")
    pair.db.run("systemctl", "restart", "nginx")
    assert pair.db.property("nginx", "MainPID") != before
    wait_until(lambda: pair.curl("shop") == 0, "nginx serves again", NOTICED)
    assert pair.curl("other") in REFUSED


def test_agent_in_a_crash_loop_is_given_up_and_enforcement_goes_on(pair: Pair) -> None:
    """As often as the unit's StartLimitBurst says, without the pauses in between."""
    folder = "/run/systemd/system/cordon-agent.service.d"
    pair.db.run("mkdir", "-p", folder)
    pair.db.write(f"{folder}/loop.conf", "[Service]\nRestartSec=0\n")
    pair.db.run("systemctl", "daemon-reload")

    def given_up() -> bool:
        pair.db.run("systemctl", "kill", "--signal=KILL", AGENT, check=False)
        return pair.db.property(AGENT, "ActiveState") == "failed"

    try:
        wait_until(given_up, "systemd gives the agent up", 120.0, interval=0.3)
        assert "repeated too quickly" in pair.db.journal("-u", AGENT)
        pair.enforces()
    finally:
        pair.db.run("rm", f"{folder}/loop.conf")
        pair.db.run("systemctl", "daemon-reload")
        pair.db.run("systemctl", "reset-failed", AGENT)
        pair.db.run("systemctl", "start", AGENT, timeout=READY_SECONDS)
    pair.enforces()


def test_a_service_in_a_crash_loop_is_itself_every_time(pair: Pair) -> None:
    """A program that connects as the first thing it does, and dies, over and over."""
    url = f"http://{pair.db.host.v4}/"
    unit = f"""
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/sh -c 'curl -s -m 3 -o /dev/null {url} && echo reached; exit 1'
Restart=always
RestartSec=100ms
"""
    pair.web.write("/run/systemd/system/shop.service", unit)
    pair.web.run("systemctl", "daemon-reload")
    pair.web.run("systemctl", "start", "--no-block", "shop")
    wait_until(lambda: restarts(pair.web, "shop") >= 10, "ten crashes", 60.0, interval=0.2)
    pair.web.run("systemctl", "stop", "shop", check=False)
    reached = pair.web.journal("-u", "shop").count("reached")
    crashes = restarts(pair.web, "shop")
    pair.web.run("rm", "/run/systemd/system/shop.service")
    pair.web.run("systemctl", "daemon-reload")
    assert reached >= 10, f"{reached} of {crashes} runs reached nginx"


def test_detached_programs_are_put_back_and_the_journal_has_it_with_fields(pair: Pair) -> None:
    link = links.obj_get(pair.db.path(f"{LINKS}/cordon_ingress"))
    libbpf.call("bpf_link_detach", link, what="detaching")
    os.close(link)
    event = "CORDON_EVENT=repaired"
    wait_until(lambda: pair.db.journal("-u", AGENT, event), "it is put back", NOTICED, 0.2)
    tampering = pair.db.journal("CORDON_EVENT=tampered")
    assert "hook cordon_ingress" in tampering
    pair.enforces()


def test_unmounted_bpf_file_system_is_mounted_for_the_host_not_inside_the_fence(
    pair: Pair,
) -> None:
    """Pins on a mount of the service's own would go with the service."""
    before = main_pid(pair.db)
    pair.db.run("umount", "/sys/fs/bpf")
    seen = lambda: pair.db.path(f"{LINKS}/cordon_ingress").exists()  # noqa: E731
    wait_until(seen, "the host sees the pins again", NOTICED)
    wait_until(lambda: pair.curl("other") in REFUSED, "it is enforced", NOTICED)
    assert main_pid(pair.db) == before, "mended without a restart"
    pair.db.run("systemctl", "stop", AGENT)
    pair.enforces()
    pair.db.run("systemctl", "start", AGENT, timeout=READY_SECONDS)


def test_suspend_and_resume_are_told_in_the_journal(pair: Pair) -> None:
    pair.db.run("cordon-agent", "suspend")
    pair.web.run("cordon-agent", "suspend")
    assert pair.curl("other") == 0, "all traffic passes"
    for machine in (pair.db, pair.web):
        machine.run("cordon-agent", "resume")
    pair.enforces()
    said = pair.db.journal("SYSLOG_IDENTIFIER=cordon-agent")
    assert "suspended by an administrator, all traffic passes" in said
    assert "resumed by an administrator" in said


def test_stopped_agent_is_killed_by_the_watchdog_and_enforcement_goes_on(pair: Pair) -> None:
    """SIGSTOP: nothing is crashed, nothing answers."""
    pair.db.run("mkdir", "-p", "/run/systemd/system/cordon-agent.service.d")
    pair.db.write(
        "/run/systemd/system/cordon-agent.service.d/quick.conf",
        "[Service]\nWatchdogSec=6\nTimeoutAbortSec=1\n",
    )
    pair.db.run("systemctl", "daemon-reload")
    pair.db.run("systemctl", "restart", AGENT, timeout=READY_SECONDS)
    before = restarts(pair.db)
    pair.db.run("systemctl", "kill", "--signal=STOP", "--kill-whom=main", AGENT)
    assert pair.curl("shop") == 0
    assert pair.curl("other") in REFUSED
    wait_until(lambda: restarts(pair.db) > before, "the watchdog bites", 60.0, interval=0.2)
    wait_active(pair.db)
    pair.enforces()


def test_boot_without_a_snapshot_enforces_the_cached_policy_before_the_network(
    pair: Pair,
) -> None:
    pair.db.run("rm", "/var/lib/cordon/host.snapshot")
    pair.db.reboot()
    wait_active(pair.db)
    pair.enforces()
    assert "there is no snapshot file" in pair.db.property(AGENT, "StatusText")
    agent = int(pair.db.property(AGENT, "ActiveEnterTimestampMonotonic"))
    network = int(pair.db.property("network-pre.target", "ActiveEnterTimestampMonotonic"))
    assert 0 < agent <= network
