# SPDX-License-Identifier: Apache-2.0
"""`cordonctl get | history | audit`: the policy as it is and was, and who did what."""

from __future__ import annotations

import sys
from typing import Any

import click

from agent.cli.kinds import kind_of
from agent.cli.local_view import Row, as_dict
from agent.cli.output import (
    Exit,
    fail,
    output_option,
    output_option_of,
    print_json,
    print_line,
    print_table,
)
from agent.cli.remote import administration
from agent.cli.remote_options import controller_option, limit_option, paged
from agent.cli.values import Moment, moment_text
from agent.pb import admin_pb2 as pb

_REVISIONS = (
    "revision", "version", "at", "who", "documents", "changes", "equal to", "why",
)  # fmt: skip
_AUDIT = ("number", "at", "who", "from", "what", "object", "version", "refused", "why")


@click.command("get")
@click.argument("kind", required=False)
@click.argument("name", required=False)
@click.option("--revision", type=click.IntRange(0), default=0, metavar="N", help="An old one's.")
@controller_option
@output_option_of("table", "yaml", "json")
def get_command(
    kind: str | None, name: str | None, revision: int, controllers: tuple[str, ...], output: str
) -> None:
    """Documents of the policy: all, of a KIND, or the one with that NAME.

    -o yaml gives them as they were applied, comments included: what it prints can be applied.

    \b
    Examples:
      cordonctl get
      cordonctl get allow web-to-db -o yaml
      cordonctl get --revision 41 -o yaml >before.yaml
    """
    wanted = [pb.DocumentName(kind=kind_of(kind), name=name or "")] if kind else []
    request = pb.GetDocumentsRequest(documents=wanted, revision=revision)
    with administration(controllers) as admin:
        found: list[pb.GetDocumentsResponse] = list(admin.GetDocuments(request))
    if name and not found:
        fail([f"there is no {wanted[0].kind} {name}: `cordonctl get {kind}` lists them"],
             Exit.REFUSED)  # fmt: skip
    if output == "json":
        print_json([as_dict(one) | {"document": _parsed(one)} for one in found])
    elif output == "yaml":
        _print_yaml(found)
    else:
        print_table(("kind", "name", "since"), [(d.kind, d.name, d.since) for d in found])


def _parsed(one: pb.GetDocumentsResponse) -> Any:
    """Its fields; None for a text that this cordonctl does not read."""
    from controller import yamlfile
    from controller.problems import InputRefused

    try:
        documents = yamlfile.parse(one.name, one.text.encode())
    except InputRefused:
        return None
    return documents[0].value if documents else None


def _print_yaml(found: list[pb.GetDocumentsResponse]) -> None:
    """To a terminal without what could steer it; elsewhere byte for byte."""
    text = "---\n".join(one.text if one.text.endswith("\n") else f"{one.text}\n" for one in found)
    if sys.stdout.isatty():
        for line in text.rstrip("\n").split("\n"):
            print_line(line)
    else:
        click.echo(text, nl=False)


@click.command("history")
@limit_option(20)
@controller_option
@output_option
def history_command(limit: int, controllers: tuple[str, ...], output: str) -> None:
    """Revisions of the policy, newest first: who made them, when and why.

    \b
    Example:
      cordonctl history -n 5
    """
    with administration(controllers) as admin:
        found: list[pb.Revision] = list(
            paged(
                lambda size, token: admin.ListRevisions(
                    pb.ListRevisionsRequest(page_size=size, page_token=token)
                ),
                "revisions",
                limit,
            )
        )
    if output == "json":
        print_json([as_dict(one) for one in found])
        return
    print_table(
        _REVISIONS,
        [
            (one.number, one.version, moment_text(one.at), one.who, one.documents, one.changes,
             one.rollback_of or "", one.why)
            for one in found
        ],
    )  # fmt: skip


def who(spiffe_id: str) -> str:
    """Without what is the same for all of a fleet: "admin/operator/olga"."""
    path = spiffe_id.removeprefix("spiffe://").partition("/")[2]
    return path or spiffe_id


@click.command("audit")
@click.option("--since", type=Moment(ahead=False), default=0, help="A time, or how long ago: 2h.")
@limit_option(50)
@controller_option
@output_option
def audit_command(since: int, limit: int, controllers: tuple[str, ...], output: str) -> None:
    """What was done or refused, newest first: who, from where, when, what and why.

    \b
    Example:
      cordonctl audit --since 1d -n 1000 -o json
    """
    with administration(controllers) as admin:
        found: list[pb.AuditEntry] = list(
            paged(
                lambda size, token: admin.ListAudit(
                    pb.ListAuditRequest(page_size=size, page_token=token, since=since)
                ),
                "entries",
                limit,
            )
        )
    if output == "json":
        print_json([as_dict(one) for one in found])
        return
    print_table(_AUDIT, map(_audit_row, found))


def _audit_row(one: pb.AuditEntry) -> Row:
    return (
        one.number,
        moment_text(one.at),
        who(one.who),
        getattr(one, "from"),
        one.what,
        one.object,
        one.version or "",
        one.refused,
        one.why,
    )
