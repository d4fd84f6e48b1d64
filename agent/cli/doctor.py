# SPDX-License-Identifier: Apache-2.0
"""`cordonctl doctor`: tries everything that Cordon stands on, and says what is lost and what to do.

Exit status: 0 all is well, 1 there are warnings, 2 there are problems.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

import click
import grpc

from agent.cli.output import output_option, print_json, print_line
from agent.config import Config, ConfigError
from agent.core.diagnosis import Finding, Level, ok, problem, worst
from agent.edge import cgroups, doctor_files, doctor_host, doctor_instance, doctor_kernel
from agent.edge.config_file import read_config
from agent.edge.hooks import Pins
from agent.pb import local_pb2 as pb
from agent.pb import local_pb2_grpc

ANSWER_SECONDS = 5.0
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_MARK = {Level.OK: "ok", Level.WARNING: "WARNING", Level.PROBLEM: "PROBLEM"}
_NOWHERE = Path("/nonexistent")


@click.command("doctor")
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path("/etc/cordon/agent.toml"),
    show_default=True,
    help="The agent's configuration.",
)
@output_option
def doctor_command(path: Path, output: str) -> None:
    """Try what Cordon stands on; say what is lost and what to do.

    Kernel features are tried by loading tiny programs and, at last, the datapath itself, unpinned;
    what is attached goes to an empty cgroup that doctor makes and removes. Nothing else is changed.

    Exit status: 0 all is well, 1 there are warnings, 2 there are problems.
    """
    found = []
    for finding in _examine(path):
        found.append(finding)
        if output == "table":
            _print(finding)
    if output == "json":
        print_json([{**asdict(one), "level": one.level.name.lower()} for one in found])
    sys.exit(int(worst(found)))


def _print(finding: Finding) -> None:
    print_line(f"{_MARK[finding.level]:<8} {finding.area}: {finding.what}")
    if finding.lost:
        print_line(f"{'':<8}   lost: {finding.lost}")
    if finding.todo:
        print_line(f"{'':<8}   do:   {finding.todo}")


def _examine(path: Path) -> Iterator[Finding]:
    if os.geteuid() != 0:
        yield problem(
            "doctor", "this is not root", "most of what follows cannot be tried", "run it as root"
        )
    try:
        config = read_config(path)
        yield ok("files", f"{path} is good")
    except ConfigError as error:
        yield problem(
            "files", str(error), "the agent does not start", "see docs/agent.md for every setting"
        )
        config = Config("", _NOWHERE, _NOWHERE)
    known = config.policy_key != _NOWHERE
    yield from doctor_host.examine(config.bpffs)
    root = _root(config)
    if root is not None:
        yield from doctor_kernel.examine(root)
    if known:
        yield from doctor_files.examine(config)
    if root is not None and known:
        yield from _instance(config, root)


def _root(config: Config) -> Path | None:
    """None where there is no cgroup v2, which has been said."""
    try:
        return config.cgroup_root or cgroups.mount_point()
    except (cgroups.CgroupError, OSError):
        return None


def _instance(config: Config, root: Path) -> Iterator[Finding]:
    workloads: dict[int, str] = {}
    try:
        status, workloads = _ask(config.socket)
    except grpc.RpcError as error:
        yield doctor_instance.silent_agent(f"{config.socket}: {error.code().name}")
    else:
        yield from doctor_instance.agent(status)
        yield from doctor_instance.counters(status)
    yield from doctor_instance.hooks(Pins(config.pins), root)
    yield from doctor_host.bypasses(root, workloads)


def _ask(socket: Path) -> tuple[pb.StatusResponse, dict[int, str]]:
    """The agent's status, and the workload of each process that is of one."""
    options = [("grpc.max_receive_message_length", _MAX_ANSWER_BYTES)]
    address = f"unix:{quote(os.fsencode(socket))}"
    with grpc.insecure_channel(address, options=options) as channel:
        stub = local_pb2_grpc.LocalServiceStub(channel)
        status = stub.Status(pb.StatusRequest(), timeout=ANSWER_SECONDS)
        answer = stub.Processes(pb.ProcessesRequest(), timeout=ANSWER_SECONDS)
    workloads = {p.pid: f"{p.segment}/{p.workload}" for p in answer.processes if p.segment}
    return status, workloads
