# SPDX-License-Identifier: Apache-2.0
"""`cordonctl quarantine host | workload | list | lift`."""

from __future__ import annotations

from typing import Any

import click

from agent.cli.local_view import Row, as_dict
from agent.cli.output import output_option, print_json, print_table
from agent.cli.remote import administration
from agent.cli.remote_options import Waiting, controller_option, wait_options, why_option
from agent.cli.rollout import conclude
from agent.cli.values import Moment, moment_text
from agent.pb import admin_pb2 as pb

_COLUMNS = ("target", "name", "until", "since", "who", "why")
_UNTIL = click.option(
    "--until", required=True, type=Moment(ahead=True),
    help="A duration such as 2h, or a time such as 2030-01-31T18:00.",
)  # fmt: skip


@click.group("quarantine")
def quarantine_group() -> None:
    """Cut a host or a workload off from everything but lifelines, until a time."""


@quarantine_group.command("host")
@click.argument("name")
@_UNTIL
@why_option()
@wait_options
@controller_option
@output_option
def host_command(name: str, **others: Any) -> None:
    """Cut a host off, both ways.

    \b
    Example:
      cordonctl quarantine host web-1 --until 2h -m "acts strangely" --wait
    """
    _quarantine({"host": name}, **others)


@quarantine_group.command("workload")
@click.argument("name")
@_UNTIL
@why_option()
@wait_options
@controller_option
@output_option
def workload_command(name: str, **others: Any) -> None:
    """Cut a workload off, both ways and on every host.

    \b
    Example:
      cordonctl quarantine workload shop --until 2030-01-31T18:00 -m "CVE-2030-1"
    """
    _quarantine({"workload": name}, **others)


def _quarantine(
    target: dict[str, str],
    until: int,
    why: str,
    waiting: Waiting,
    controllers: tuple[str, ...],
    output: str,
) -> None:
    ((kind, name),) = target.items()
    with administration(controllers) as admin:
        answer = admin.Quarantine(pb.QuarantineRequest(until=until, why=why, **target))
        sentence = (
            f"{kind} {name} is in quarantine until {moment_text(until)}, where version "
            f"{answer.version} is in force"
        )
        conclude(admin, waiting, output, {**target, "until": until, **as_dict(answer)}, sentence)


@quarantine_group.command("list")
@controller_option
@output_option
def list_command(controllers: tuple[str, ...], output: str) -> None:
    """Quarantines in force; those that end first come first.

    \b
    Example:
      cordonctl quarantine list
    """
    with administration(controllers) as admin:
        answer = admin.ListQuarantines(pb.ListQuarantinesRequest())
    if output == "json":
        print_json([as_dict(one) for one in answer.quarantines])
    else:
        print_table(_COLUMNS, map(_row, answer.quarantines))


def _row(entry: pb.QuarantineEntry) -> Row:
    kind = entry.WhichOneof("target") or ""
    name = getattr(entry, kind) if kind else ""
    until, since = moment_text(entry.until), moment_text(entry.since)
    return kind, name, until, since, entry.who, entry.why


@quarantine_group.command("lift")
@click.argument("target", type=click.Choice(["host", "workload"]))
@click.argument("name")
@why_option()
@wait_options
@controller_option
@output_option
def lift_command(
    target: str, name: str, why: str, waiting: Waiting, controllers: tuple[str, ...], output: str
) -> None:
    """End a quarantine before its time.

    \b
    Example:
      cordonctl quarantine lift host web-1 -m "it was the backup"
    """
    chosen = {target: name}
    with administration(controllers) as admin:
        answer = admin.LiftQuarantine(pb.LiftQuarantineRequest(why=why, **chosen))
        sentence = f"{target} {name} is free again, where version {answer.version} is in force"
        conclude(admin, waiting, output, {**chosen, **as_dict(answer)}, sentence)
