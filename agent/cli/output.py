# SPDX-License-Identifier: Apache-2.0
"""How commands answer: tables for people, JSON for programs, exit statuses for scripts.

On a terminal rich draws the tables; into a pipe the same rows go as plain aligned text, without
colour, lines or wrapping, so that grep and awk work. rich is imported only where it draws.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Exit(IntEnum):
    """Exit statuses of `cordonctl`."""

    OK = 0
    REFUSED = 1
    """`explain`: the connection would be refused; elsewhere: the command failed."""
    BAD_INPUT = 2
    """The input or the command line is wrong; nothing was done."""


def output_option(command: F) -> F:
    """`--output table|json`, passed as `output`."""
    return click.option(
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="Tables for people, JSON for programs.",
    )(command)


def fail(sentences: Iterable[str], status: Exit) -> None:
    """Say what is wrong on stderr and end."""
    for sentence in sentences:
        click.echo(f"cordonctl: {sentence}", err=True)
    sys.exit(status)


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    click.echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """The same rows for a terminal or a pipe."""
    cells = [[_clean(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _rich(columns, cells, title)
    else:
        _plain(columns, cells, title)


def _clean(cell: object) -> str:
    """Nothing that comes from a policy or a process may steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(cell))


def _plain(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    if title:
        click.echo(title)
    table = [[column.upper() for column in columns], *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    for row in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def _rich(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    plain = bool(os.environ.get("NO_COLOR"))
    header = "" if plain else "bold"
    table = Table(title=title or None, title_justify="left", box=None, header_style=header)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(no_color=plain).print(table)
