# SPDX-License-Identifier: Apache-2.0
"""`cordonctl explain`: why a verdict was what it was, or what policy says of a connection.

The first asks the agent of this host about a verdict that it has kept, the second asks files. Both
end with the smallest Allow that is missing, if one is.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from agent.cli import local_view as view
from agent.cli.connection import TIMEOUT_SECONDS, agent_options, connected
from agent.cli.output import (
    Exit,
    fail,
    output_option,
    print_facts,
    print_json,
    print_line,
)
from agent.cli.remote_options import controller_option
from agent.core.model import Protocol
from agent.pb import local_pb2 as pb

_PATH = click.Path(path_type=Path)
_OF_FILES = ("inventory", "policy", "snapshots", "key")
_PROTOCOLS = [protocol.name.lower() for protocol in Protocol]


class Ends(click.ParamType):  # type: ignore[type-arg]
    """A five-tuple, of which parts may be left out."""

    name = "TUPLE"

    def convert(self, value: Any, param: Any, ctx: Any) -> dict[str, Any]:
        words = str(value).split()
        protocol = words.pop(0) if words and words[0] in _PROTOCOLS else ""
        if not 1 <= len(words) <= 2:
            self.fail(
                'expected one or two ends, such as "tcp 192.0.2.1:40000 192.0.2.2:5432", '
                f"got {value!r}", param, ctx
            )  # fmt: skip
        (address, port), (other, other_port) = [
            *(_end(word) or self.fail(f"expected ADDRESS:PORT or :PORT, got {word!r}", param, ctx)
              for word in words),
            *[("", 0)] * (2 - len(words)),
        ]  # fmt: skip
        return {
            "protocol": protocol,
            "address": address,
            "port": port,
            "other_address": other,
            "other_port": other_port,
        }


def _end(text: str) -> tuple[str, int] | None:
    """ "192.0.2.1:80", "[fd00::1]:80", ":80", "192.0.2.1"; None for what cannot be one."""
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        address, _, port = text.rpartition(":") if text.count(":") == 1 else (text, "", "")
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        return None
    return (address, int(port or 0)) if address or port else None


@click.command("explain")
@click.option("--last", is_flag=True, help="The newest refusal on this host.")
@click.option("--flow", "number", type=click.IntRange(1), metavar="ID", help="A verdict's id.")
@click.option("--tuple", "ends", type=Ends(), help='Such as "tcp 192.0.2.1:40000 192.0.2.2:5432".')
@agent_options
@click.option("--fleet", is_flag=True, help="Ask the controller, with --from, --to and --port.")
@controller_option
@click.option("--from", "source", metavar="PARTY", help="Who connects.")
@click.option("--to", "target", metavar="PARTY", help="Who is connected to.")
@click.option("--port", help="Such as tcp/5432 or icmp/echo-request.")
@click.option("--inventory", type=_PATH, help="The hosts: hosts.yaml.")
@click.option("--policy", type=_PATH, help="Folder with the policy's YAML files.")
@click.option("--snapshot", "snapshots", type=_PATH, multiple=True, help="Instead of the two.")
@click.option("--key", type=_PATH, help="Public key of the snapshots.  [policy.pub beside them]")
@output_option
def explain_command(
    path: Path, last: bool, number: int | None, ends: dict[str, Any] | None, output: str,
    fleet: bool, controllers: tuple[str, ...], **question: Any,
) -> None:  # fmt: skip
    """Say why something was refused, or whether it would pass.

    --last, --flow and --tuple ask the agent of this host about a verdict that it has kept:
    who the process is and by which evidence, how the peer was known, which rule decided or that
    none did, and what the policy in force says of it now. Ids are in what `observe` shows. Of a
    tuple, parts may be left out, and the newest verdict that fits is meant.

    --from, --to and --port ask whether a connection would pass at both of its ends, by --inventory
    and --policy, by snapshot files as hosts have them, or with --fleet by the newest version that
    the controller has (see `cordonctl login`). PARTY is the name of a workload,
    host:NAME for a host's processes that match no workload, an address, a network, or world.

    If an Allow is missing, the smallest one is printed, ready to be pasted.

    Exit status: 0 it passes, 1 it is refused, 2 the question or the files are wrong; with --fleet
    also 3 no controller, 4 not permitted.

    \b
    Examples:
      cordonctl explain --last
      cordonctl explain --fleet --from web --to db --port tcp/5432
    """
    asked = [name for name in ("source", "target", "port") if question[name] is not None]
    of_agent = last + (number is not None) + (ends is not None)
    if of_agent > 1 or (of_agent and asked) or (not of_agent and len(asked) != 3):
        raise click.UsageError(
            "expected one of --last, --flow and --tuple, or all of --from, --to and --port"
        )
    files = [name for name in _OF_FILES if question[name]]
    if fleet and (of_agent or files):
        raise click.UsageError("expected with --fleet only --from, --to and --port")
    if fleet:
        from agent.cli.explain_fleet import explain_fleet

        parties = {name: str(question[name]) for name in ("source", "target", "port")}
        explain_fleet(**parties, controllers=controllers, output=output)
    elif of_agent:
        _explain_flow(path, pb.ExplainFlowRequest(id=number or 0, **(ends or {})), output)
    else:
        from agent.cli.policy import explain_policy

        explain_policy(output=output, **question)


def _explain_flow(path: Path, request: pb.ExplainFlowRequest, output: str) -> None:
    with connected(path) as agent:
        answer = agent.ExplainFlow(request, timeout=TIMEOUT_SECONDS)
    if not answer.HasField("flow"):
        fail(
            ["the agent has kept no such verdict: allowed connections make one only while "
             "`observe` runs, and `flow_history` says how many are kept"],
            Exit.BAD_INPUT,
        )  # fmt: skip
    if output == "json":
        print_json(view.as_dict(answer) | {
            "flow": view.as_dict(answer.flow),
            "process": view.as_dict(answer.process) if answer.HasField("process") else None,
        })  # fmt: skip
    else:
        _print(answer)
    sys.exit(Exit.REFUSED if answer.flow.verdict == "refuse" else Exit.OK)


def _print(answer: pb.ExplainFlowResponse) -> None:
    flow = answer.flow
    print_line(view.flow_line(flow))
    print_facts(
        [
            ("verdict", _verdict(flow)),
            ("because", answer.because),
            ("rule", f"{flow.rule_name} ({flow.rule})" if flow.rule else ""),
            ("mode", answer.mode),
            ("here", f"{flow.local_workload}, {_process(answer)}"),
            ("evidence", " ".join(answer.process.evidence)),
            ("peer", flow.peer_workload),
            ("known", answer.proof),
            ("policy", f"version {flow.policy_version}" if flow.policy_version else ""),
            ("now", _now(answer)),
            ("when", datetime.fromtimestamp(flow.time).isoformat(timespec="milliseconds")),
            ("flow", flow.id),
        ]
    )
    for note in answer.notes:
        print_line(f"note: {note}")
    if answer.allow:
        for line in ("", "The smallest Allow that is missing:", "", *answer.allow.splitlines()):
            print_line(line)


def _verdict(flow: pb.Flow) -> str:
    meaning = {
        "refuse": "refused",
        "audit": "passed, because the segment is in audit mode: enforce would have refused it",
        "allow": "allowed",
        "held": "held, until the process was attested",
    }
    return meaning.get(flow.verdict, flow.verdict)


def _process(answer: pb.ExplainFlowResponse) -> str:
    flow, process = answer.flow, answer.process
    if not flow.pid:
        return "no process of this host"
    if not answer.HasField("process"):
        return f"process {flow.pid}, which has ended"
    if process.identity != flow.local_identity:
        return f"process {flow.pid}, which is another one now, or has another identity"
    return f"process {process.pid} {process.command}"


def _now(answer: pb.ExplainFlowResponse) -> str:
    if not answer.now_verdict:
        return ""
    rule = f", rule {answer.now_rule}" if answer.now_rule else ""
    return f"policy {answer.now_version} says {answer.now_verdict}, {answer.now_reason}{rule}"
