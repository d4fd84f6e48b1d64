# SPDX-License-Identifier: Apache-2.0
"""`cordonctl explain --fleet`: what the newest version says of two parties, at both ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from agent.cli import explain_view
from agent.cli.local_view import Row, as_dict, word_of
from agent.cli.output import Exit, print_json, print_line, print_table
from agent.cli.remote import administration
from agent.pb import admin_pb2 as pb
from agent.pb import snapshot_pb2

_COLUMNS = ("end", "sees", "mode", "verdict", "because", "document", "rule")


def explain_fleet(
    source: str, target: str, port: str, controllers: Sequence[str], output: str
) -> None:
    """Ends the command with its exit status."""
    with administration(controllers) as admin:
        answer: pb.ExplainResponse = admin.Explain(
            pb.ExplainRequest(source=source, target=target, port=port)
        )
    if output == "json":
        print_json({"from": source, "to": target, "port": port, **as_dict(answer)})
    else:
        _print(f"{source} -> {target} {port}", answer)
    sys.exit(Exit.REFUSED if answer.result == "refused" else Exit.OK)


def _print(question: str, answer: pb.ExplainResponse) -> None:
    result = explain_view.RESULTS.get(answer.result, answer.result)
    print_line(f"{question}: {result} (version {answer.version})")
    print_table(_COLUMNS, map(_row, answer.ends))
    for note in answer.notes:
        print_line(f"note: {note}")
    explain_view.print_missing(list(answer.missing))


def _row(end: pb.ExplainedEnd) -> Row:
    direction = word_of(snapshot_pb2.Direction.DESCRIPTOR, end.direction)
    return (
        f"{direction} at {end.host}",
        end.peer,
        word_of(snapshot_pb2.Mode.DESCRIPTOR, end.mode),
        end.verdict,
        explain_view.because(end.reason),
        end.document,
        end.rule or "",
    )
