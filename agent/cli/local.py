# SPDX-License-Identifier: Apache-2.0
"""`cordonctl status | sockets | observe`: asks the agent of this host over its Unix socket.

Exit statuses: 0 answered; 1 no agent, or it could not answer; 2 the command line is wrong.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import click

from agent.cli import local_view as view
from agent.cli.connection import PID, TIMEOUT_SECONDS, agent_options, connected
from agent.cli.follow import follow
from agent.cli.output import (
    output_option,
    print_facts,
    print_json,
    print_line,
    print_table,
)
from agent.core.model import Reason, Verdict
from agent.pb import local_pb2 as pb

_VERDICTS = [v.name.lower() for v in (Verdict.ALLOW, Verdict.REFUSE, Verdict.AUDIT)]
"""Those that make events; what is held is only counted."""
_REASONS = [reason.name.lower() for reason in Reason if reason is not Reason.NONE]


@click.command("status")
@agent_options
@output_option
def status_command(path: Path, output: str) -> None:
    """What is in force, and whether all is well."""
    with connected(path) as agent:
        status = agent.Status(pb.StatusRequest(), timeout=TIMEOUT_SECONDS)
    if output == "json":
        print_json(view.as_dict(status))
        return
    print_facts(view.status_facts(status))
    if status.counters:
        print_line("")
        print_table(view.COUNTER_COLUMNS, view.counter_rows(status.counters))


@click.command("sockets")
@agent_options
@click.option("--pid", type=PID, help="Only this process's.")
@output_option
def sockets_command(path: Path, pid: int | None, output: str) -> None:
    """Every socket's identities, verdict and rule."""
    with connected(path) as agent:
        answer = agent.Sockets(pb.SocketsRequest(pid=pid or 0), timeout=TIMEOUT_SECONDS)
    if output == "json":
        print_json([view.as_dict(one) for one in answer.sockets])
    else:
        print_table(view.SOCKET_COLUMNS, map(view.socket_row, answer.sockets))
    if answer.more:
        click.echo("cordonctl: there are more sockets, name a process by --pid", err=True)


@click.command("observe")
@agent_options
@click.option(
    "--workload", "workloads", multiple=True, metavar="NAME",
    help="Of either side, as name or segment/name; may be repeated.",
)  # fmt: skip
@click.option(
    "--verdict", "verdicts", multiple=True, type=click.Choice(_VERDICTS),
    help="May be repeated.",
)  # fmt: skip
@click.option(
    "--reason", "reasons", multiple=True, type=click.Choice(_REASONS), metavar="REASON",
    help="Such as no_rule or tag_forged; may be repeated.",
)  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65535), help="Of either side.")
@click.option("--direction", type=click.Choice(["ingress", "egress"]), help="As this host sees it.")
@click.option("--pid", type=PID, help="Of the process on this host.")
@click.option(
    "--last", type=click.IntRange(0, 100_000), default=0, metavar="N",
    help="First the newest N that the agent has kept.",
)  # fmt: skip
@click.option("--no-follow", is_flag=True, help="End after those of --last.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after N.")
@output_option
def observe_command(
    path: Path, no_follow: bool, count: int | None, output: str, **filters: Any
) -> None:
    """Verdicts as they happen.

    One line each, until Ctrl-C; in JSON one object each. What is refused, and what audit mode lets
    pass, makes an event always, as many a second as the policy's settings allow; what is allowed
    makes one while somebody observes. suppressed=N: N events before this one were not told.
    """
    if no_follow and not filters["last"]:
        raise click.UsageError("expected --last N with --no-follow")
    chosen = {name: value for name, value in filters.items() if value is not None}
    request = pb.ObserveRequest(kept_only=no_follow, **chosen)
    line = _json_line if output == "json" else view.flow_line
    with contextlib.suppress(KeyboardInterrupt), connected(path) as agent:
        agent.Status(pb.StatusRequest(), timeout=TIMEOUT_SECONDS)  # one that hangs is told
        follow(lambda: agent.Observe(request), line, count)


def _json_line(flow: pb.Flow) -> str:
    return json.dumps(view.as_dict(flow))
