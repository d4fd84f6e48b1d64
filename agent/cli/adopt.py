# SPDX-License-Identifier: Apache-2.0
"""`cordonctl adopt`: connections that are older than the first policy, and their end.

They pass unjudged until the grace is over. Whoever does not want to wait lists them, warns who must
be warned, and cuts them: client and server connect anew, and are judged then. The agent itself
stays read-only: this command, run by root, asks it and ends the connections by sock_diag.
"""

from __future__ import annotations

from pathlib import Path

import click

from agent.cli import local_view as view
from agent.cli.connection import PID, TIMEOUT_SECONDS, agent_options, connected
from agent.cli.output import Exit, fail, output_option, print_json, print_table
from agent.edge import sock_destroy
from agent.edge.sock_destroy import Connection
from agent.pb import local_pb2 as pb


@click.command("adopt")
@agent_options
@click.option("--pid", type=PID, help="Only this process's.")
@click.option("--cut", is_flag=True, help="End them now: both ends see a reset and may reconnect.")
@output_option
def adopt_command(path: Path, pid: int | None, cut: bool, output: str) -> None:
    """List connections older than the first policy, or end them.

    Ended with --cut, they come again with proof of identity.
    """
    with connected(path) as agent:
        answer = agent.Sockets(pb.SocketsRequest(pid=pid or 0), timeout=TIMEOUT_SECONDS)
    adopted = [one for one in answer.sockets if one.adopted]
    failed = _cut(adopted) if cut else []
    if output == "json":
        print_json([view.as_dict(one) for one in adopted])
    else:
        print_table(view.ADOPTED_COLUMNS, map(view.adopted_row, adopted))
    if answer.more:
        click.echo("cordonctl: there are more sockets, name a process by --pid", err=True)
    if failed:
        fail(failed, Exit.REFUSED)


def _cut(adopted: list[pb.Socket]) -> list[str]:
    """Sentences about what could not be ended. Datagram sockets have nothing to end."""
    connections = [
        Connection(
            pid=one.pid,
            ipv6=one.ipv6,
            local=(one.local_address, one.local_port),
            remote=(one.remote_address, one.remote_port),
            cookie=one.cookie,
        )
        for one in adopted
        if one.protocol == "tcp"
    ]
    return [
        f"cannot end the connection of process {c.pid} to {view.endpoint(*c.remote)}: {reason}"
        for c, reason in sock_destroy.destroy(connections)
    ]
