# SPDX-License-Identifier: Apache-2.0
"""How commands answer: tables for people, JSON for programs, exit statuses for scripts.

On a terminal rich draws the tables, and where one is too narrow for its columns each row becomes a
paragraph; into a pipe the same rows go as plain aligned text, without colour, lines or wrapping, so
that grep and awk work. rich is imported only where it draws.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])
GAP = 2
EMPTY = "-"
FOLDED_WIDTH = 16
"""A column is folded to no less than this: cells of fewer letters a line are not read but spelt."""


class Exit(IntEnum):
    """Exit statuses of `cordonctl`."""

    OK = 0
    REFUSED = 1
    """`explain`: the connection would be refused; elsewhere: the command failed."""
    BAD_INPUT = 2
    """The input or the command line is wrong; nothing was done."""
    UNREACHABLE = 3
    """Of the fleet's commands: no controller, or none that can answer."""
    NOT_PERMITTED = 4
    """Of the fleet's commands: not logged in, or not with the role that it takes."""


def output_option(command: F) -> F:
    """`--output table|json` and `--json`, passed as `output`."""
    return output_option_of("table", "json")(command)


def output_option_of(*formats: str) -> Callable[[F], F]:
    """The same for more formats, of which the first is the default."""

    def with_option(command: F) -> F:
        short = click.option("--json", "output", flag_value="json", help="As --output json.")
        return click.option(
            "-o",
            "--output",
            type=click.Choice(formats),
            default=formats[0],
            show_default=True,
            help="Tables for people, JSON for programs.",
        )(short(command))

    return with_option


def fail(sentences: Iterable[str], status: Exit) -> NoReturn:
    """Say what is wrong on stderr and end."""
    for sentence in sentences:
        click.echo(f"cordonctl: {printable(sentence)}", err=True)
    sys.exit(status)


def printable(text: object) -> str:
    r"""Nothing that comes from a policy or a process may steer the terminal: \x1b, \u202e."""
    return "".join(c if c.isprintable() else _escape(c) for c in str(text))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def print_line(text: str) -> None:
    """One line of the answer. BrokenPipeError is the caller's; another failure ends the command."""
    try:
        click.echo(printable(text))
    except BrokenPipeError:
        raise
    except OSError as error:
        silence()
        fail([f"the answer cannot be written: {error.strerror}"], Exit.REFUSED)


def silence() -> None:
    """Nobody takes what is still in stdout's buffer: let the interpreter's end flush it nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    for line in json.dumps(value, indent=2).splitlines():
        print_line(line)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """The same rows for a terminal or a pipe; an empty cell is a dash."""
    cells = [[printable(cell) or EMPTY for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(columns, cells)
    else:
        _print_aligned([[column.upper() for column in columns], *cells])


def print_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Names and values, one pair a line."""
    rows = [[printable(name), printable(value) or EMPTY] for name, value in facts]
    if sys.stdout.isatty():
        console, heading = _console()
        _draw_grid(console, [heading, ""], rows)
    else:
        _print_aligned(rows)


def _print_aligned(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print_line((" " * GAP).join(cells).rstrip())


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    console, heading = _console()
    if _least_width([columns, *rows]) <= console.width:
        _draw_grid(console, [""] * len(columns), rows, [(c.upper(), heading) for c in columns])
    else:
        _draw_paragraphs(console, heading, columns, rows)


def _console() -> tuple[Console, str]:
    """With the style of headings: none where NO_COLOR asks for no escape sequence at all."""
    from rich.console import Console

    console = Console(highlight=False)
    return console, "" if console.no_color else "bold"


def _least_width(table: Sequence[Sequence[str]]) -> int:
    """Of a table that can still be read."""
    widths = [min(max(map(len, cells)), FOLDED_WIDTH) for cells in zip(*table, strict=True)]
    return sum(widths) + GAP * (len(widths) - 1)


def _draw_grid(
    console: Console,
    styles: Sequence[str],
    rows: Sequence[Sequence[str]],
    header: Sequence[tuple[str, str]] = (),
) -> None:
    """styles: of each column. header: text and style of each column's head."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
    for style in styles:
        grid.add_column(style=style, overflow="fold")
    if header:
        grid.add_row(*(Text(*cell) for cell in header))
    for row in rows:
        grid.add_row(*map(Text, row))
    console.print(grid)


def _draw_paragraphs(
    console: Console, heading: str, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Each row as names and values, without the empty ones."""
    for number, row in enumerate(rows):
        if number:
            console.print()
        pairs = [pair for pair in zip(columns, row, strict=True) if pair[1] != EMPTY]
        _draw_grid(console, [heading, ""], pairs)
