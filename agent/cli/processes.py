# SPDX-License-Identifier: Apache-2.0
"""`cordonctl ps | whois`: who every process of this host is, and why one is nobody else.

Exit statuses: 0 answered; 1 no agent, or no such process; 2 the command line is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from agent.cli import local_view as view
from agent.cli.connection import PID, TIMEOUT_SECONDS, agent_options, connected
from agent.cli.output import (
    Exit,
    fail,
    output_option,
    print_facts,
    print_json,
    print_line,
    print_table,
)
from agent.pb import local_pb2 as pb

_STATES = ["attested", "pending", "host"]
_COLUMNS = ("pid", "command", "workload", "identity", "mode", "state", "age", "evidence")
_CANDIDATES = ("workload", "alternative", "matches", "first that fails", "wanted", "found")


@click.command("ps")
@agent_options
@click.option("--pid", type=PID, help="Only this process.")
@click.option("--workload", help="Only this one's, as name or segment/name.")
@click.option("--segment", help="Only this one's.")
@click.option("--state", type=click.Choice(_STATES), help="Only those.")
@click.option("--tree", is_flag=True, help="Children below their parents.")
@output_option
def ps_command(
    path: Path,
    pid: int | None,
    workload: str | None,
    segment: str | None,
    state: str | None,
    tree: bool,
    output: str,
) -> None:
    """Who every process is, and by which evidence."""
    with connected(path) as agent:
        answer = agent.Processes(pb.ProcessesRequest(pid=pid or 0), timeout=TIMEOUT_SECONDS)
    if pid is not None and not answer.processes:
        fail([f"process {pid} is not of this instance, or has ended"], Exit.REFUSED)
    chosen = [
        process
        for process in answer.processes
        if workload in (None, process.workload, view.workload_of(process))
        and segment in (None, process.segment)
        and state in (None, process.state)
    ]
    if output == "json":
        print_json([view.as_dict(process) for process in chosen])
        return
    rows = _as_tree(chosen) if tree else ((0, process) for process in chosen)
    print_table(_COLUMNS, (_row(depth, process) for depth, process in rows))


def _as_tree(processes: Sequence[pb.Process]) -> Iterator[tuple[int, pb.Process]]:
    """Each with its depth; one whose parent is not among them stands at the left."""
    known = {process.pid for process in processes}
    children: dict[int, list[pb.Process]] = {}
    for process in processes:
        parent = process.parent if process.parent in known else 0
        children.setdefault(parent, []).append(process)
    pending = [(0, process) for process in reversed(children.get(0, ()))]
    while pending:
        depth, process = pending.pop()
        yield depth, process
        below = reversed(children.get(process.pid, ()))
        pending.extend((depth + 1, child) for child in below)


def _row(depth: int, process: pb.Process) -> view.Row:
    return (
        process.pid,
        "  " * depth + process.command,
        view.workload_of(process),
        process.identity,
        process.mode,
        process.state,
        _age(process.age_seconds),
        " ".join(process.evidence),
    )


def _age(seconds: float) -> str:
    """In the largest unit that leaves a whole number."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:.1f}s" if seconds < 10 else f"{int(seconds)}s"


@click.command("whois")
@agent_options
@click.argument("pid", type=PID)
@output_option
def whois_command(path: Path, pid: int, output: str) -> None:
    """Who a process is, and why it is no other workload."""
    with connected(path) as agent:
        answer = agent.Whois(pb.WhoisRequest(pid=pid), timeout=TIMEOUT_SECONDS)
    if not answer.HasField("process"):
        fail([f"process {pid} is not of this instance, or has ended"], Exit.REFUSED)
    if output == "json":
        print_json(_as_dict(answer))
        return
    print_facts(_facts(answer))
    if answer.candidates:
        print_line("")
        print_table(_CANDIDATES, map(_candidate_row, _nearest_first(answer.candidates)))


def _as_dict(answer: pb.WhoisResponse) -> dict[str, object]:
    return {
        "process": view.as_dict(answer.process),
        "facts": dict(answer.facts),
        "conflict": answer.conflict,
        "candidates": [view.as_dict(candidate) for candidate in answer.candidates],
    }


def _facts(answer: pb.WhoisResponse) -> list[tuple[str, object]]:
    process = answer.process
    return [
        ("process", f"{process.pid} ({process.command}), {_age(process.age_seconds)} old"),
        ("identity", f"{view.workload_of(process) or process.state} ({process.identity})"),
        ("state", process.state),
        ("mode", process.mode),
        ("because", " ".join(process.evidence) or answer.conflict or "no workload matches"),
        *sorted(answer.facts.items()),
    ]


def _nearest_first(candidates: Iterable[pb.Candidate]) -> list[pb.Candidate]:
    return sorted(candidates, key=lambda c: (not c.won, not c.matched))


def _candidate_row(candidate: pb.Candidate) -> view.Row:
    if candidate.matched:
        matches = "yes" if candidate.won else "yes, another one is more specific"
    else:
        matches = "no"
    name = f"{candidate.segment}/{candidate.workload}"
    return (
        name, candidate.alternative, matches, candidate.selector, candidate.wanted, candidate.found,
    )  # fmt: skip
