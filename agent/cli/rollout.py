# SPDX-License-Identifier: Apache-2.0
"""`cordonctl rollout`, and `--wait` of the commands that change something: who has what by now.

Progress goes to stderr and the answer to stdout. A wait that ends early takes nothing back.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click
import grpc

from agent.cli import remote_errors
from agent.cli.follow import take_each
from agent.cli.local_view import as_dict
from agent.cli.output import (
    Exit,
    fail,
    output_option,
    print_facts,
    print_json,
    print_line,
    print_table,
    printable,
)
from agent.cli.remote import Bounded, administration
from agent.cli.remote_options import Waiting, controller_option
from agent.cli.values import counted
from agent.edge import enrolment_client
from agent.pb import admin_pb2 as pb


@dataclass(frozen=True, slots=True)
class Watched:
    """How far a version has come. cut: why nobody looks any longer; empty at the end."""

    state: pb.WatchRolloutResponse
    cut: str = ""
    status: Exit = Exit.OK


def summary(state: pb.WatchRolloutResponse) -> str:
    """One line."""
    if not state.hosts:
        return f"version {state.version} changes no host"
    parts = [f"version {state.version}: {state.enforced} of {state.hosts} hosts enforce it"]
    counts = (("on its way", state.pending), ("refused", state.refused), ("away", state.absent))
    parts += [f"{count} {word}" for word, count in counts if count]
    return ", ".join(parts)


class Progress:
    """What is said meanwhile: on a terminal one line that changes, elsewhere a line per change."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = ""
        self._refused: set[str] = set()

    def show(self, state: pb.WatchRolloutResponse) -> None:
        for refusal in state.refusals:
            if refusal.host not in self._refused:
                self._refused.add(refusal.host)
                self._say(f"{refusal.host} refused version {state.version}: {refusal.message}")
        if (text := summary(state)) != self._last:
            self._last = text
            self._redraw(text)

    def end(self) -> None:
        if self._terminal and self._last:
            click.echo("\r\x1b[K", err=True, nl=False)

    def _say(self, text: str) -> None:
        self.end()
        click.echo(f"cordonctl: {printable(text)}", err=True)

    def _redraw(self, text: str) -> None:
        if self._terminal:
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)
        else:
            click.echo(text, err=True)


def watched(admin: Bounded, version: int, seconds: int | None) -> Watched:
    """Progress on stderr until the end, the time is over, or somebody presses Ctrl-C."""
    progress = Progress()
    states = [pb.WatchRolloutResponse(version=version)]

    def take(state: pb.WatchRolloutResponse) -> None:
        states[0] = state
        progress.show(state)

    request = pb.WatchRolloutRequest(version=version)
    again = f"it goes on without you: `cordonctl rollout {version or ''} --watch`"
    try:
        ended = take_each(lambda: admin.WatchRollout(request, seconds), take)
    except grpc.RpcError as error:
        progress.end()
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            late = f"after {seconds} s {_unanswered(states[0].pending)}; {again}"
            return Watched(states[0], late, Exit.REFUSED)
        if not version:
            raise
        told = remote_errors.told(enrolment_client.refusal_of(error), admin.call)
        return Watched(states[0], f"{told.sentence}; {again}", told.status)
    progress.end()
    return Watched(states[0]) if ended else Watched(states[0], again, Exit.REFUSED)


def _unanswered(pending: int) -> str:
    return f"{counted(pending, 'host')} {'has' if pending == 1 else 'have'} not answered"


def conclude(
    admin: Bounded, waiting: Waiting, output: str, answer: Mapping[str, Any], sentence: str
) -> None:
    """Say what was done, wait for answer["version"] if that is asked for, end with the status."""
    version = int(answer["version"])
    if output == "table":
        print_line(sentence)
    seen = watched(admin, version, waiting.seconds) if waiting.wait and version else None
    if output == "json":
        print_json({**answer, "rollout": as_dict(seen.state)} if seen else answer)
    elif seen:
        print_line(summary(seen.state))
    if seen:
        finish(seen)


def finish(seen: Watched) -> None:
    """The exit status of a version that was watched."""
    if seen.cut:
        fail([seen.cut], seen.status)
    if seen.state.refused:
        sys.exit(Exit.REFUSED)


@click.command("rollout")
@click.argument("version", type=click.IntRange(1), required=False)
@click.option("--watch", is_flag=True, help="Until every host enforces it or has refused it.")
@controller_option
@output_option
def rollout_command(
    version: int | None, watch: bool, controllers: tuple[str, ...], output: str
) -> None:
    """How many hosts enforce a version; without VERSION, the newest.

    Only hosts that the version changes are counted. Those that are away get it when they come
    back, and are not waited for.

    Exit status: 0 none refused it, 1 at least one did.

    \b
    Example:
      cordonctl rollout 27 --watch
    """
    with administration(controllers) as admin:
        seen = watched(admin, version or 0, None) if watch else _now(admin, version or 0)
    if output == "json":
        print_json(as_dict(seen.state))
    else:
        _print(seen.state)
    finish(seen)


def _now(admin: Bounded, version: int) -> Watched:
    states: list[pb.WatchRolloutResponse] = []
    request = pb.WatchRolloutRequest(version=version)
    take_each(lambda: admin.WatchRollout(request, 30.0), states.append, 1)
    if not states:
        fail(["the controller ended the answer before it began; try again"], Exit.UNREACHABLE)
    return Watched(states[0])


def _print(state: pb.WatchRolloutResponse) -> None:
    print_facts(
        [
            ("version", state.version),
            ("hosts", state.hosts),
            ("enforced", state.enforced),
            ("on its way", state.pending),
            ("refused", state.refused),
            ("away", state.absent),
        ]
    )
    if state.refusals:
        print_line("")
        print_table(("host", "refused because"), [(r.host, r.message) for r in state.refusals])
    if state.refused > len(state.refusals):
        print_line(f"and {state.refused - len(state.refusals)} more hosts refused it")
