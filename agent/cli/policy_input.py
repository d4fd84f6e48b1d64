# SPDX-License-Identifier: Apache-2.0
"""Policy files on their way to a controller, and its problems on their way back to their lines.

Nothing is parsed here: what a document means, the controller that keeps it says.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from agent.cli.output import printable
from agent.pb import admin_pb2 as pb
from controller import files
from controller.problems import SHOWN, Problem, Source, refuse
from controller.yamlfile import MAX_BYTES

MAX_TOTAL = 64 * 1024 * 1024
STDIN = "stdin"
_SHOWN_WIDTH = 120


def read_policy(paths: Sequence[Path]) -> list[pb.PolicyFile]:
    """Files, the YAML files of folders, and stdin for -. Raises InputRefused."""
    found: dict[str, pb.PolicyFile] = {}
    total = 0
    for path in _each(paths):
        name = STDIN if str(path) == "-" else str(path)
        key = name if str(path) == "-" else str(path.resolve())
        if key in found:
            continue
        content = sys.stdin.buffer.read(MAX_BYTES + 1) if name == STDIN else files.read_input(path)
        if len(content) > MAX_BYTES:
            raise refuse(Source(name), f"expected at most {MAX_BYTES} bytes: split the file")
        total += len(content)
        found[key] = pb.PolicyFile(name=name, content=content)
        if total > MAX_TOTAL or len(found) > files.MAX_FILES:
            raise refuse(
                Source(name),
                f"expected at most {files.MAX_FILES} files and {MAX_TOTAL} bytes in all",
            )
    return list(found.values())


def _each(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if str(path) != "-" and path.is_dir():
            yield from files.yaml_files(path)
        else:
            yield path


def show_problems(
    problems: Sequence[pb.DocumentProblem], total: int, sent: Iterable[pb.PolicyFile]
) -> None:
    """Each on stderr with its line of the file; the first ones, and how many there are."""
    texts = {one.name: one.content for one in sent}
    for problem in problems[:SHOWN]:
        click.echo(f"cordonctl: {printable(_problem(problem))}", err=True)
        if line := source_line(texts.get(problem.file, b""), problem.line):
            click.echo(f"{problem.line:>6} | {printable(line)}", err=True)
    more = max(total, len(problems)) - min(SHOWN, len(problems))
    if more:
        click.echo(f"cordonctl: and {more} more; mend these first", err=True)


def show_warnings(warnings: Iterable[pb.DocumentProblem]) -> None:
    for warning in warnings:
        click.echo(f"warning: {printable(_problem(warning))}", err=True)


def _problem(one: pb.DocumentProblem) -> Problem:
    return Problem(Source(one.file or "policy", one.line), one.field, one.message)


def source_line(content: bytes, number: int) -> str:
    """A line of a file, cut to what a terminal shows; empty if there is none."""
    lines = content.split(b"\n") if number else []
    if not 1 <= number <= len(lines):
        return ""
    text = lines[number - 1].decode(errors="replace").expandtabs(4).rstrip()
    return text if len(text) <= _SHOWN_WIDTH else f"{text[:_SHOWN_WIDTH]}…"
