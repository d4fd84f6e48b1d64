# SPDX-License-Identifier: Apache-2.0
"""`cordonctl status | ps | sockets | observe`: asks the agent of this host over its Unix socket.

An agent that is not there is a sentence and exit status 1; enforcement does not depend on it, and
the sentence says so.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from agent.cli.output import Exit, fail, output_option, print_json, print_table
from agent.core.model import Verdict
from agent.pb import local_pb2 as pb
from agent.pb import local_pb2_grpc

RUN_DIR = Path("/run/cordon")
TIMEOUT_SECONDS = 10.0
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_VERDICTS = [verdict.name.lower() for verdict in Verdict if verdict is not Verdict.NONE]

F = TypeVar("F", bound=Callable[..., Any])


def agent_options(command: F) -> F:
    """`--instance` and `--socket`, passed under these names."""
    for option in (
        click.option(
            "--instance", default="default", show_default=True, help="The agent's instance."
        ),
        click.option(
            "--socket",
            type=click.Path(path_type=Path),
            help=f"Its control socket  [default: {RUN_DIR}/INSTANCE.sock]",
        ),
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def _agent(instance: str, socket: Path | None) -> Iterator[local_pb2_grpc.LocalServiceStub]:
    """A connection; what goes wrong on it ends the command with a sentence."""
    path = (socket or RUN_DIR / f"{instance}.sock").absolute()
    options = [("grpc.max_receive_message_length", _MAX_ANSWER_BYTES)]
    try:
        with grpc.insecure_channel(f"unix:{path}", options=options) as channel:
            yield local_pb2_grpc.LocalServiceStub(channel)
    except grpc.RpcError as error:
        fail([_sentence(path, error)], Exit.REFUSED)


def _sentence(path: Path, error: grpc.RpcError) -> str:
    code = error.code()
    if code is grpc.StatusCode.UNAVAILABLE:
        try:
            there = path.exists()
        except PermissionError:
            return f"{path} may be used by root only: run this as root"
        if there:
            return (
                f"no agent answers on {path}: it has ended, or this is not root; what it enforced "
                "before, the kernel goes on enforcing"
            )
        return f"there is no agent at {path}: start cordon-agent, or name it with --instance"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"the agent at {path} did not answer within {TIMEOUT_SECONDS:g} s"
    return f"the agent at {path}: {error.details()}"


def _as_dict(message: Message) -> dict[str, Any]:
    """Every field, also those that are zero; 64-bit numbers as numbers."""
    found = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {name: _number(message, name, value) for name, value in found.items()}


def _number(message: Message, name: str, value: Any) -> Any:
    """protobuf's JSON writes 64-bit numbers as text, because JavaScript cannot hold them."""
    if isinstance(value, str) and isinstance(getattr(message, name), int):
        return int(value)
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_as_dict(item) for item in getattr(message, name)]
    return value


@click.command("status")
@agent_options
@output_option
def status_command(instance: str, socket: Path | None, output: str) -> None:
    """Which policy is in force, and whether all is well."""
    with _agent(instance, socket) as agent:
        status = agent.Status(pb.StatusRequest(), timeout=TIMEOUT_SECONDS)
    if output == "json":
        print_json(_as_dict(status))
        return
    print_table(["what", "value"], _status_rows(status))
    if status.counters:
        click.echo()
        print_table(
            ["counter", "direction", "verdict", "reason", "count"],
            [(c.kind, c.direction, c.verdict, c.reason, c.value) for c in status.counters],
        )


def _status_rows(status: pb.StatusResponse) -> list[tuple[str, object]]:
    expires = _date(status.policy_expires) if status.policy_expires else "-"
    rows: list[tuple[str, object]] = [
        ("instance", status.instance),
        ("state", status.state),
        ("summary", status.summary),
        ("host", f"{status.host_name} ({status.host})" if status.host else status.host_name),
        ("policy", f"version {status.policy_version}, expires {expires}"),
        ("policy size", f"{status.rules} rules, {status.entries} kernel entries, "
                        f"{status.workloads} workloads, {status.peers} hosts"),
        ("hooks", f"{status.hooks_attached} of {status.hooks_expected} attached"),
        ("processes", status.processes),
        ("last apply", f"{status.apply_seconds * 1000:.1f} ms"),
        ("last load", f"{status.load_seconds:.2f} s"),
        ("uptime", f"{status.uptime_seconds} s"),
    ]  # fmt: skip
    if status.tampering:
        rows.append(("TAMPERING", f"{status.tampering} ({status.repairs} repairs since start)"))
    rows.extend((f"mode of {name}", mode) for name, mode in sorted(status.modes.items()))
    rows.extend(("LIFELINE, always open", name) for name in status.lifelines)
    return rows


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


@click.command("ps")
@agent_options
@click.option("--pid", type=click.IntRange(1), default=None, help="Only this process.")
@output_option
def ps_command(instance: str, socket: Path | None, pid: int | None, output: str) -> None:
    """Processes, the identity of each, and the selectors that matched."""
    with _agent(instance, socket) as agent:
        answer = agent.Processes(pb.ProcessesRequest(pid=pid or 0), timeout=TIMEOUT_SECONDS)
    if output == "json":
        print_json([_as_dict(process) for process in answer.processes])
    else:
        print_table(
            ["pid", "command", "workload", "identity", "mode", "state", "evidence"],
            [
                (p.pid, p.command, f"{p.segment}/{p.workload}".strip("/"), p.identity, p.mode,
                 p.state, " ".join(p.evidence))
                for p in answer.processes
            ],
        )  # fmt: skip
    _fail_without(pid, bool(answer.processes))


def _fail_without(pid: int | None, found: bool) -> None:
    if pid is not None and not found:
        fail([f"process {pid} is not of this instance, or has ended"], Exit.REFUSED)


@click.command("sockets")
@agent_options
@click.option("--pid", type=click.IntRange(1), default=None, help="Only this process.")
@output_option
def sockets_command(instance: str, socket: Path | None, pid: int | None, output: str) -> None:
    """Inet sockets with the identities at both ends and the cached verdict."""
    with _agent(instance, socket) as agent:
        answer = agent.Sockets(pb.SocketsRequest(pid=pid or 0), timeout=TIMEOUT_SECONDS)
    if output == "json":
        print_json([_as_dict(one) for one in answer.sockets])
        return
    columns = ["proto", "state", "local", "workload", "remote", "peer", "proof", "verdict",
               "reason", "rule", "pid"]  # fmt: skip
    print_table(columns, [_socket_row(one) for one in answer.sockets])


def _socket_row(one: pb.Socket) -> tuple[object, ...]:
    return (
        one.protocol,
        one.state or "-",
        _endpoint(one.local_address, one.local_port),
        one.local_workload or "-",
        _endpoint(one.remote_address, one.remote_port) if one.remote_address else "-",
        one.peer_workload or "-",
        one.proof or "-",
        one.verdict or "-",
        one.reason or "-",
        one.rule_name or "-",
        one.pid,
    )


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@click.command("observe")
@agent_options
@click.option("--workload", "workloads", multiple=True, help="Of either side; may be repeated.")
@click.option("--verdict", "verdicts", multiple=True, type=click.Choice(_VERDICTS))
@click.option("--port", type=click.IntRange(1, 65535), default=None, help="Of either side.")
@click.option("--direction", type=click.Choice(["ingress", "egress"]), default=None)
@click.option("--count", type=click.IntRange(1), default=None, help="End after so many.")
@output_option
def observe_command(
    instance: str, socket: Path | None, count: int | None, output: str, **chosen: Any
) -> None:
    """Verdicts as they happen, one line each, until Ctrl-C or --count."""
    request = pb.ObserveRequest(
        workloads=chosen["workloads"],
        verdicts=chosen["verdicts"],
        port=chosen["port"] or 0,
        direction=chosen["direction"] or "",
    )
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError), _agent(instance, socket) as agent:
        flows = agent.Observe(request)
        for number, flow in enumerate(flows, start=1):
            click.echo(json.dumps(_as_dict(flow)) if output == "json" else flow_line(flow))
            sys.stdout.flush()
            if number == count:
                flows.cancel()
                return


def flow_line(flow: pb.Flow) -> str:
    """For people; a name comes from policy and holds nothing that steers a terminal."""
    arrow = "<-" if flow.direction == "ingress" else "->"
    local = f"{flow.local_workload} {_endpoint(flow.local_address, flow.local_port)}"
    peer = f"{flow.peer_workload or '?'} {_endpoint(flow.remote_address, flow.remote_port)}"
    rule = f" rule={flow.rule_name or flow.rule}" if flow.rule else ""
    proof = f" proof={flow.proof}" if flow.proof else ""
    lost = f" suppressed={flow.suppressed}" if flow.suppressed else ""
    clock = time.strftime("%H:%M:%S", time.localtime(flow.time))
    line = (
        f"{clock}.{int(flow.time * 1000) % 1000:03d} {flow.verdict.upper():<6} {flow.protocol} "
        f"{local} {arrow} {peer} {flow.reason}{rule}{proof} pid={flow.pid}{lost}"
    )
    return "".join(c if c.isprintable() else "?" for c in line)
