# SPDX-License-Identifier: Apache-2.0
"""`cordonctl doctor` on lab hosts: a healthy one, a suspended one, one without its agent."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from agent.edge import compiler, features, libbpf, links, listener_flag, loader, sources
from agent.edge.hooks import HOOKS, ProgramType
from agent.edge.links import AttachType
from tests.kernel.world import BASE, World
from tests.lab import LabHost
from tests.lab.cordon import ROOT, cordon

DOCTOR = [sys.executable, "-m", "agent.cli.ctl", "doctor", "--output", "json", "--config"]
AGENT = [sys.executable, "-m", "agent.cli.agent"]
ENVIRONMENT = {"PYTHONPATH": str(ROOT)}
DOCTOR_SECONDS = 120.0
"""It compiles the datapath; most of a minute where the machine is busy."""
_CALL = 0x85
_PASS = bytes.fromhex("b7000000010000009500000000000000")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with cordon(BASE) as running:
        yield World.build(running)


def doctor(world: World, name: str = "b") -> tuple[int, list[dict[str, Any]]]:
    host = world.cordon[name]
    done = host.lab.run([*DOCTOR, str(host.config)], env=ENVIRONMENT, timeout=DOCTOR_SECONDS)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def of(findings: list[dict[str, Any]], level: str, area: str) -> list[str]:
    return [one["what"] for one in findings if (one["level"], one["area"]) == (level, area)]


def agent(world: World, verb: str) -> None:
    host = world.cordon["b"]
    done = host.lab.run([*AGENT, verb, "--config", str(host.config)], env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr


def folders(host: LabHost) -> set[str]:
    return {str(path) for path in host.cgroup.rglob("*") if path.is_dir()}


def test_healthy_host_has_no_problem_and_doctor_leaves_nothing(world: World) -> None:
    before = folders(world.b), sorted(world.cordon["b"].pins.rglob("*"))
    code, found = doctor(world)
    assert [one for one in found if one["level"] == "problem"] == []
    assert code == max(one["level"] == "warning" for one in found)
    assert any("programs load" in what for what in of(found, "ok", "kernel"))
    assert any("SOCK_DESTROY" in what for what in of(found, "ok", "kernel"))
    assert any("are attached and run" in what for what in of(found, "ok", "instance"))
    assert (folders(world.b), sorted(world.cordon["b"].pins.rglob("*"))) == before


def test_workload_that_could_bypass_is_named_and_one_that_cannot_is_not(world: World) -> None:
    plain = world.b.puppet("plain.service", user=65534)
    _, found = doctor(world)
    bypass = " ".join(of(found, "warning", "bypass"))
    assert "data/db in db.service holds CAP_NET_ADMIN, CAP_NET_RAW" in bypass
    assert "plain.service" not in bypass
    assert plain.process.alive


def test_suspended_instance_is_a_problem_for_each_hook(world: World) -> None:
    agent(world, "suspend")
    try:
        code, found = doctor(world)
    finally:
        agent(world, "resume")
    assert code == 2
    gone = of(found, "problem", "instance")
    assert [what for hook in HOOKS for what in gone if hook.function in what] == gone
    assert len(gone) == sum(hook.judges for hook in HOOKS), "processes are followed on"


@contextmanager
def stranger(host: LabHost) -> Iterator[None]:
    """Another tool's program at the same hook."""
    program = libbpf.prog_load(
        int(ProgramType.CGROUP_SKB), _PASS, "stranger", "GPL", int(AttachType.CGROUP_INET_INGRESS)
    )
    cgroup = os.open(host.cgroup, os.O_RDONLY | os.O_DIRECTORY)
    link = links.link_create_cgroup(program, cgroup, AttachType.CGROUP_INET_INGRESS)
    try:
        yield
    finally:
        for fd in (link, cgroup, program):
            os.close(fd)


def test_another_program_at_the_same_hook_is_named(world: World) -> None:
    with stranger(world.b):
        _, found = doctor(world)
    warned = of(found, "warning", "instance")
    assert len(warned) == 1
    assert "stranger (id " in warned[0]
    assert "CGROUP_INET_INGRESS" in warned[0]


def test_host_without_its_agent_is_a_problem_and_still_enforces(world: World) -> None:
    with cordon(BASE, hosts=("a",)) as running:
        host = running["a"]
        assert host.agent is not None
        host.agent.stop()
        done = host.lab.run([*DOCTOR, str(host.config)], env=ENVIRONMENT, timeout=DOCTOR_SECONDS)
        found = json.loads(done.stdout)
    assert done.returncode == 2
    assert ["does not answer" in what for what in of(found, "problem", "instance")] == [True]
    assert any("are attached and run" in what for what in of(found, "ok", "instance"))


def test_missing_configuration_is_a_problem_and_the_kernel_is_tried_all_the_same(
    world: World,
) -> None:
    nowhere = str(world.b.folder / "nowhere.toml")
    done = world.b.run([*DOCTOR[:-3], "--config", nowhere], env=ENVIRONMENT, timeout=DOCTOR_SECONDS)
    assert done.returncode == 2
    assert "nowhere.toml: cannot be read" in done.stdout
    assert "program types, helpers and kinds of maps work" in done.stdout
    assert "lost:" in done.stdout
    assert "do:" in done.stdout


def test_table_of_features_is_what_the_programs_really_call() -> None:
    root = sources.source_root()
    called: dict[ProgramType, set[int]] = defaultdict(set)
    with closing(
        compiler.compile_parts(root, sources.assemble(root), loader._defines())
    ) as compiled:
        for hook in HOOKS:
            code = compiled.functions[hook.function].instructions
            called[hook.program_type] |= {
                int.from_bytes(code[at + 4 : at + 8], "little")
                for at in range(0, len(code), 8)
                if code[at] == _CALL and code[at + 1] >> 4 == 0
            }
    assert called == {kind: set(map(int, used)) for kind, used in features.HELPERS.items()}


def test_kernel_here_lacks_nothing() -> None:
    assert features.lacking() == []


def test_flag_of_old_listeners_is_found_where_linux_has_it() -> None:
    numbers = platform.release().replace("-", ".").split(".")[:2]
    assert listener_flag.works() == (tuple(map(int, numbers)) >= (6, 12))
