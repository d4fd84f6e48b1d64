# SPDX-License-Identifier: Apache-2.0
"""Options that the fleet's commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from agent.cli.values import Duration

F = TypeVar("F", bound=Callable[..., Any])
PAGE = 1000
"""The most that one answer of a list holds."""
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Waiting:
    """Whether to wait until a change is in force everywhere, and for how long at most."""

    wait: bool
    seconds: int


def controller_option(command: F) -> F:
    """`--controller`, passed as `controllers`: empty for those that login told."""
    return click.option(
        "--controller",
        "controllers",
        multiple=True,
        metavar="HOST:PORT",
        envvar="CORDON_CONTROLLER",
        help="Main port to ask instead of those that login told; may be repeated.",
    )(command)


def why_option(*, required: bool = True) -> Callable[[F], F]:
    """`-m`, passed as `why`; empty if it is not there."""
    need: dict[str, Any] = {"required": True} if required else {"default": ""}
    return click.option("-m", "--why", metavar="WHY", help="The reason, for the audit log.", **need)


def wait_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--wait` and `--timeout`, passed as `waiting`."""

    @functools.wraps(command)
    def with_waiting(wait: bool, timeout: int, **others: Any) -> None:
        command(waiting=Waiting(wait, timeout), **others)

    wrapped = click.option(
        "--timeout",
        type=Duration(1, _DAY),
        default="5m",
        show_default=True,
        help="Wait no longer than this.",
    )(with_waiting)
    return click.option(
        "--wait", is_flag=True, help="Until every host enforces it or has refused it."
    )(wrapped)


def limit_option(default: int) -> Callable[[F], F]:
    """`-n`, passed as `limit`."""
    return click.option(
        "-n",
        "--limit",
        type=click.IntRange(1, 1_000_000),
        default=default,
        show_default=True,
        help="The newest so many.",
    )


def paged(ask: Callable[[int, str], Any], items: str, limit: int = 1 << 62) -> Iterator[Any]:
    """The items of all pages, at most `limit`. ask: page size and page token in, one page out."""
    token, left = "", limit
    while left > 0:
        answer = ask(min(PAGE, left), token)
        found = list(getattr(answer, items))[:left]
        yield from found
        left -= len(found)
        token = answer.next_page_token
        if not token:
            return
