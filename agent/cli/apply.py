# SPDX-License-Identifier: Apache-2.0
"""`cordonctl apply | diff | delete | rollback`: new revisions, and what they change."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from agent.cli import policy_input
from agent.cli.kinds import kind_of
from agent.cli.local_view import as_dict, word_of
from agent.cli.output import Exit, fail, output_option, print_json, print_line, print_table
from agent.cli.remote import Bounded, administration
from agent.cli.remote_options import Waiting, controller_option, wait_options, why_option
from agent.cli.rollout import conclude
from agent.cli.values import counted
from agent.pb import admin_pb2 as pb
from controller.problems import InputRefused

_FILES = click.option(
    "-f", "--file", "paths", multiple=True, required=True, metavar="FILE|FOLDER|-",
    type=click.Path(path_type=Path, allow_dash=True),
    help="YAML documents; a folder's files *.yaml; - is stdin. May be repeated.",
)  # fmt: skip
_PRUNE = click.option("--prune", is_flag=True, help="What stands in no file is removed.")
_EXPECTED = click.option(
    "--expected-revision", type=click.IntRange(0), default=0, metavar="N",
    help="Refuse if the newest revision is another one: somebody was faster.",
)  # fmt: skip


@click.command("apply")
@_FILES
@_PRUNE
@click.option("--dry-run", is_flag=True, help="Check and count everything, change nothing.")
@click.option("--force", is_flag=True, help="In spite of warnings that stop it otherwise.")
@_EXPECTED
@why_option(required=False)
@wait_options
@controller_option
@output_option
def apply_command(
    paths: tuple[Path, ...],
    dry_run: bool,
    why: str,
    waiting: Waiting,
    controllers: tuple[str, ...],
    output: str,
    **head: Any,
) -> None:
    """Make a revision of the policy from files: all of it, or nothing.

    Documents that stand in no file stay, unless --prune is given. -m says why and is required, but
    for a dry run.

    Exit status: 0 done, 1 a host refused it (--wait) or somebody else was faster, 2 there are
    problems in the files, 3 no controller, 4 not permitted.

    \b
    Examples:
      cordonctl apply -f policy/ --prune -m "shop may reach payments" --wait
      cordonctl get -o yaml | cordonctl apply -f - --dry-run
    """
    if not why and not dry_run:
        raise click.UsageError("expected -m WHY: the history keeps it; or --dry-run")
    sent = _read(paths)
    start = pb.ApplyRequest(head=pb.ApplyHead(dry_run=dry_run, why=why, **head))
    with administration(controllers) as admin:
        files = (pb.ApplyRequest(file=one) for one in sent)
        answer: pb.ApplyResponse = admin.Apply(itertools.chain([start], files))
        _answered(admin, answer, sent, waiting, output)


def _read(paths: Sequence[Path]) -> list[pb.PolicyFile]:
    try:
        return policy_input.read_policy(paths)
    except InputRefused as error:
        fail(error.sentences(), Exit.BAD_INPUT)


def _answered(
    admin: Bounded,
    answer: pb.ApplyResponse,
    sent: Sequence[pb.PolicyFile],
    waiting: Waiting,
    output: str,
) -> None:
    """Problems, warnings, changes; then the rollout."""
    policy_input.show_warnings(answer.warnings)
    if answer.problems:
        policy_input.show_problems(answer.problems, answer.problems_total, sent)
        if output == "json":
            print_json(as_dict(answer))
        sys.exit(Exit.BAD_INPUT)
    if output == "table" and answer.changes:
        _print_changes(answer.changes, answer.changes_total)
    conclude(admin, waiting, output, as_dict(answer), outcome(answer))


def outcome(answer: pb.ApplyResponse) -> str:
    """One sentence."""
    count = (
        f"{counted(answer.changes_total, 'document')} on {counted(answer.hosts_touched, 'host')}"
    )
    if answer.revision:
        return f"revision {answer.revision}, version {answer.version}: {count}"
    if answer.changes_total:
        return f"dry run, nothing was changed: {count}"
    return "nothing to change: the newest revision says all of it"


def _print_changes(changes: Sequence[pb.DocumentChange], total: int) -> None:
    rows = [(_word(change), change.kind, change.name) for change in changes]
    print_table(("change", "kind", "name"), rows)
    if total > len(changes):
        print_line(f"and {total - len(changes)} more")
    print_line("")


def _word(change: pb.DocumentChange) -> str:
    return word_of(pb.ChangeKind.DESCRIPTOR, change.change)


@click.command("diff")
@_FILES
@_PRUNE
@controller_option
@output_option
def diff_command(
    paths: tuple[Path, ...], prune: bool, controllers: tuple[str, ...], output: str
) -> None:
    """What `apply` of the same files would change.

    Exit status: 0 nothing, 1 something, 2 there are problems in the files.

    \b
    Example:
      cordonctl diff -f policy/ --prune
    """
    sent = _read(paths)
    start = pb.DiffRequest(head=pb.DiffHead(prune=prune))
    with administration(controllers) as admin:
        files = (pb.DiffRequest(file=one) for one in sent)
        answer: pb.DiffResponse = admin.Diff(itertools.chain([start], files))
    policy_input.show_warnings(answer.warnings)
    if answer.problems:
        policy_input.show_problems(answer.problems, len(answer.problems), sent)
    if output == "json":
        print_json(as_dict(answer))
    elif not answer.problems:
        _print_diff(answer)
    if answer.problems:
        sys.exit(Exit.BAD_INPUT)
    sys.exit(Exit.REFUSED if answer.changes_total else Exit.OK)


def _print_diff(answer: pb.DiffResponse) -> None:
    for change in answer.changes:
        print_line(f"{_word(change)} {change.kind}/{change.name}")
        for line in change.diff.rstrip("\n").split("\n"):
            print_line(line)
    count = counted(answer.changes_total, "document")
    hosts = counted(answer.hosts_touched, "host")
    print_line(f"against revision {answer.revision}: {count} on {hosts}")


@click.command("delete")
@click.argument("kind")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_EXPECTED
@why_option()
@wait_options
@controller_option
@output_option
def delete_command(
    kind: str,
    names: tuple[str, ...],
    expected_revision: int,
    why: str,
    waiting: Waiting,
    controllers: tuple[str, ...],
    output: str,
) -> None:
    """Make a revision without some documents.

    \b
    Example:
      cordonctl delete allow web-to-db -m "the shop has moved" --wait
    """
    request = pb.DeleteDocumentsRequest(
        documents=[pb.DocumentName(kind=kind_of(kind), name=name) for name in names],
        why=why,
        expected_revision=expected_revision,
    )
    with administration(controllers) as admin:
        _answered(admin, admin.DeleteDocuments(request).result, (), waiting, output)


@click.command("rollback")
@click.argument("revision", type=click.IntRange(1))
@_EXPECTED
@why_option()
@wait_options
@controller_option
@output_option
def rollback_command(
    revision: int,
    expected_revision: int,
    why: str,
    waiting: Waiting,
    controllers: tuple[str, ...],
    output: str,
) -> None:
    """Make a revision that is equal to an old one.

    \b
    Example:
      cordonctl rollback 41 -m "42 cut the shop off" --wait
    """
    request = pb.RollbackRequest(revision=revision, why=why, expected_revision=expected_revision)
    with administration(controllers) as admin:
        _answered(admin, admin.Rollback(request).result, (), waiting, output)
