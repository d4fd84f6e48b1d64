# SPDX-License-Identifier: Apache-2.0
"""The life of the packages: install, upgrade, downgrade, remove, purge, and what each leaves."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from agent.edge import links
from agent.edge.hooks import HOOKS
from tests.lab import LabHost
from tests.lab.waiting import wait_until
from tests.systemd import packages
from tests.systemd.machine import DROP_IN, Machine
from tests.systemd.pair import (
    READY_SECONDS,
    REFUSED,
    Pair,
    bring_policy,
    enable_agent,
    snapshots,
    wait_active,
)

AGENT = "cordon-agent"
PINS = "/sys/fs/bpf/cordon"
INSTALL_SECONDS = 240.0
VAGRANT = packages.ROOT / "packaging/vagrant"
PROVISIONED = "/root/provisioned"


def attached(host: LabHost) -> list[int]:
    """Ids of all programs on the machine's root cgroup, asked of the kernel."""
    folder = os.open(host.cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        kinds = {hook.attach_type for hook in HOOKS if hook.attach_type is not None}
        return [n for kind in sorted(kinds) for n in links.prog_query_cgroup(folder, kind)]
    finally:
        os.close(folder)


def bring(machine: Machine, files: list[Path]) -> list[str]:
    """Copy packages to the machine; their names there."""
    machine.run("mkdir", "-p", "/root/debs")
    names = [f"/root/debs/{file.name}" for file in files]
    for name, file in zip(names, files, strict=True):
        machine.write(name, file.read_bytes())
    return names


def exists(machine: Machine, name: str) -> bool:
    return machine.run("test", "-e", name, check=False).returncode == 0


def running(machine: Machine) -> None:
    """Boot with a policy, and with the agent enabled and ready."""
    bring_policy(machine, snapshots(machine.host.folder / "policy", [machine.host]))
    machine.boot()
    enable_agent(machine)
    assert attached(machine.host)


def test_installing_starts_nothing_and_no_key_means_no_start(
    blank: Machine, debs: list[Path]
) -> None:
    blank.boot()
    blank.run("dpkg", "-i", *bring(blank, debs), timeout=INSTALL_SECONDS)
    assert blank.property(AGENT, "UnitFileState") == "disabled"
    assert not blank.is_active(AGENT)
    blank.run("systemctl", "start", AGENT)
    assert not blank.is_active(AGENT)
    assert blank.property(AGENT, "ConditionResult") == "no"
    assert blank.property(AGENT, "Result") == "success", "waiting for a key is no failure"
    assert not exists(blank, PINS)
    assert attached(blank.host) == []
    blank.run("cordonctl", "--help")


def test_machine_that_has_joined_a_controller_starts_without_a_key_and_ends_once_if_it_cannot(
    single: Machine,
) -> None:
    """Here it cannot: the configuration as it is installed names a snapshot's key."""
    single.prepare("/var/lib/cordon/default/identity/host.json", "{}", 0o600)
    single.boot()
    single.run("systemctl", "start", AGENT, check=False)
    assert single.property(AGENT, "ConditionResult") == "yes"
    assert single.property(AGENT, "ExecMainStatus") == "2"
    assert "/etc/cordon/policy.pub" in single.journal("-u", AGENT)
    assert (single.property(AGENT, "NRestarts"), single.property(AGENT, "SubState")) == (
        "0",
        "failed",
    )


def test_unit_is_understood_and_fenced_as_far_as_promised(single: Machine) -> None:
    single.boot()
    unit = "/lib/systemd/system/cordon-agent.service"
    verified = single.run("systemd-analyze", "verify", "--man=no", unit)
    assert verified.stdout + verified.stderr == "", "verify answers 0 on keys it does not know"
    single.run("systemd-analyze", "security", "--offline=true", "--threshold=40", unit)


def test_agent_without_any_policy_is_ready_counts_and_says_so(single: Machine) -> None:
    out = snapshots(single.host.folder / "policy", [single.host])
    single.prepare("/etc/cordon/policy.pub", (out / "policy.pub").read_bytes())
    single.boot()
    enable_agent(single)
    assert "No policy has been in force" in single.property(AGENT, "StatusText")
    assert attached(single.host)


def test_remove_takes_everything_out_of_the_kernel_and_keeps_configuration(
    single: Machine,
) -> None:
    running(single)
    single.run("dpkg", "-r", AGENT)
    assert attached(single.host) == []
    assert not exists(single, PINS)
    assert not exists(single, "/run/cordon")
    assert not exists(single, "/lib/systemd/system/cordon-agent.service")
    assert exists(single, "/etc/cordon/agent.toml")
    assert exists(single, "/var/lib/cordon/default/policy.cache")


def test_purge_leaves_nothing_but_what_is_not_ours(single: Machine) -> None:
    running(single)
    single.write("/etc/cordon/notes", "of the administrator\n")
    single.run("dpkg", "-P", AGENT, "cordon-cli", "cordon-controller", "cordon-common")
    left = single.run(
        "find", "/etc", "/lib/systemd", "/opt", "/run", "/usr", "/var/lib", "/var/cache",
        "-xdev", "-path", "*cordon*", "-not", "-path", "/etc/cordon*",
        "-not", "-path", f"*{Path(DROP_IN).parent}*",  # the tests'
        "-not", "-path", "/run/systemd/units/*",  # what PID 1 tells the journal of each unit
        check=False,
    ).stdout.splitlines()  # fmt: skip
    assert left == []
    assert single.run("ls", "/etc/cordon").stdout.split() == ["notes"]
    assert attached(single.host) == []


def test_remove_works_with_a_configuration_that_cannot_be_read(single: Machine) -> None:
    running(single)
    single.write("/etc/cordon/agent.toml", "= nonsense\n")
    single.run("dpkg", "-r", AGENT)
    assert attached(single.host) == []
    assert not exists(single, f"{PINS}/default")


def test_remove_is_refused_while_an_agent_started_by_hand_would_mend_it(single: Machine) -> None:
    running(single)
    single.run("systemctl", "stop", AGENT)
    by_hand = single.start_agent()
    answers = lambda: single.run("cordonctl", "status", check=False).returncode == 0  # noqa: E731
    wait_until(answers, "the agent answers", READY_SECONDS, interval=0.3)
    refused = single.run("dpkg", "-r", AGENT, check=False)
    assert refused.returncode != 0
    assert "runs already" in refused.stderr
    assert attached(single.host)
    single.run("pkill", "--full", "cordon-agent run")  # the machine's own, it has its own pids
    by_hand.wait(30)
    single.run("dpkg", "-r", AGENT)
    assert attached(single.host) == []


def test_upgrade_and_downgrade_swap_programs_under_open_connections(
    pair: Pair, debs: list[Path], newer: list[Path]
) -> None:
    """One connection is served through both, a refused unit is refused at every moment."""
    conversation = ["bash", "-c", _converse(pair.db.host.v4)]
    pair.web.run("systemd-run", "--quiet", "--collect", "--unit=shop", *conversation)
    prober = pair.web.start("sh", "-c", _probe(pair.db.host.v4))
    before = attached(pair.db.host)
    for files in (newer, debs):
        names = bring(pair.db, files)
        pair.db.run("dpkg", "--force-downgrade", "-i", *names, timeout=INSTALL_SECONDS)
        wait_active(pair.db)
        _wait_swapped(pair.db.host, before)
        version = pair.db.run("dpkg-query", "-W", "-f", "${Version}", AGENT).stdout
        assert version == packages.version(files[1])
        assert len(attached(pair.db.host)) == len(before)
        before = attached(pair.db.host)
    assert pair.web.is_active("shop"), pair.web.journal("-u", "shop")
    pair.web.write("/tmp/enough", "")
    wait_until(lambda: not pair.web.is_active("shop"), "the conversation ends", 30.0, interval=0.2)
    answers = pair.web.run("cat", "/tmp/answers").stdout.split()
    assert len(answers) > 10
    assert set(answers) == {"+PONG"}
    prober.stop()
    probes = pair.web.path("/tmp/probes").read_text().split()
    assert len(probes) > 3
    assert set(map(int, probes)) <= set(REFUSED), probes


def _wait_swapped(host: LabHost, before: list[int]) -> None:
    def swapped() -> bool:
        return not set(attached(host)) & set(before)

    wait_until(swapped, "every program is another one", READY_SECONDS)


def _converse(address: str) -> str:
    """Questions and answers over one connection to redis, until there have been enough."""
    return (
        f"exec 3<>/dev/tcp/{address}/6379; while [ ! -e /tmp/enough ]; do echo PING >&3; "
        "read -r -t 10 -u 3 answer || exit 1; echo $answer >>/tmp/answers; sleep 0.1; done"
    )


def _probe(address: str) -> str:
    """Requests of a unit that nothing allows, one after the other, with curl's answers."""
    return f"while :; do curl -s -m 1 -o /dev/null http://{address}/; echo $? >>/tmp/probes; done"


def test_the_same_sources_make_the_same_packages(debs: list[Path]) -> None:
    """At least: nothing in them tells when or where they were built."""
    for package in debs:
        listing = subprocess.run(
            ["dpkg-deb", "-c", str(package)], capture_output=True, text=True, check=True
        ).stdout
        times = {line.split()[3] for line in listing.splitlines()}
        assert len(times) == 1, f"{package.name} has files of {times}"
        assert time.strftime("%Y") or times


def test_provisioning_a_test_machine_again_brings_a_rebuilt_package_of_the_same_version(
    single: Machine, debs: list[Path], scratch: Path
) -> None:
    """Vagrant's script, as it runs after `make deb`, on a machine that has the packages."""
    folder = scratch / "rebuilt"
    folder.mkdir()
    single.boot()
    single.run("mkdir", "-p", PROVISIONED)
    for file in [*packages.rebuilt(debs, folder), *VAGRANT.glob("cordon-vagrant-*")]:
        single.write(f"{PROVISIONED}/{file.name}", file.read_bytes())
    single.write("/root/provision", (VAGRANT / "install").read_bytes(), 0o755)
    before = single.run("tail", "-n", "1", f"/{packages.MAIN}").stdout.strip()
    single.run("/root/provision", PROVISIONED, "192.0.2.1 web", timeout=INSTALL_SECONDS)
    after = single.run("tail", "-n", "1", f"/{packages.MAIN}").stdout.strip()
    assert (before == packages.BUILD, after) == (False, packages.BUILD)
    single.run("cordonctl", "--help")
