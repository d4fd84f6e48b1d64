# SPDX-License-Identifier: Apache-2.0
"""Which workloads may run on which host, and what is wrong with workloads.

A workload may run where the labels of one of its alternatives' `host` hold; on that host it has
these alternatives. Two workloads with the same alternative on one host cannot be told apart, ever:
that is refused here. Ties that need a look at a process are the agent's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.core.model import Selector
from agent.core.model import Workload as PlacedWorkload
from controller.documents import Match, Placed, Segment, Workload
from controller.inventory import Host
from controller.problems import Problem

UNSUPPORTED = ("container", "sha256", "group", "gid")
"""Selectors of the language that no agent of this version attests."""


@dataclass(frozen=True, slots=True)
class Placement:
    """hosts: host name -> the workloads that may run there, by identity."""

    hosts: Mapping[str, tuple[PlacedWorkload, ...]]

    def residents(self, host: str) -> frozenset[int]:
        return frozenset(workload.identity for workload in self.hosts[host])


def place(
    workloads: Sequence[tuple[Workload, Placed]], hosts: Sequence[Host], numbers: Mapping[str, int]
) -> Placement:
    """All workloads on all hosts, in the order of their identities."""
    ordered = sorted(((numbers[w.name], w) for w, _ in workloads), key=lambda pair: pair[0])
    result: dict[str, tuple[PlacedWorkload, ...]] = {}
    for host in hosts:
        placed = [
            PlacedWorkload(number, workload.name, workload.segment, match)
            for number, workload in ordered
            if (match := alternatives(workload, host.labels))
        ]
        result[host.name] = tuple(placed)
    return Placement(result)


def alternatives(workload: Workload, labels: Mapping[str, str]) -> tuple[Selector, ...]:
    """Of a host with these labels; none if the workload does not run there."""
    found = [_selector(m) for m in workload.match if m.host.items() <= labels.items()]
    return tuple(dict.fromkeys(found))


def _selector(match: Match) -> Selector:
    user = str(match.uid) if match.uid is not None else match.user
    return Selector(unit=match.unit, cgroup=match.cgroup, exe=match.exe, user=user)


def check_workloads(
    workloads: Sequence[tuple[Workload, Placed]], segments: Mapping[str, Segment]
) -> list[Problem]:
    """Segments that nobody described, and selectors that no agent understands."""
    problems: list[Problem] = []
    for workload, placed in workloads:
        if workload.segment not in segments:
            message = (
                f"segment {workload.segment} has no Segment document: add kind: Segment, "
                f"name: {workload.segment}, mode: audit"
            )
            problems.append(placed.problem(message, "segment"))
        for index, match in enumerate(workload.match):
            for name in UNSUPPORTED:
                if getattr(match, name) is not None:
                    message = (
                        f"the selector {name} is not supported yet by this version: "
                        "use unit, cgroup, exe, user or uid"
                    )
                    problems.append(placed.problem(message, "match", index, name))
    return problems


def check_ties(
    workloads: Sequence[tuple[Workload, Placed]], hosts: Sequence[Host]
) -> list[Problem]:
    """Pairs of workloads of which no process of a common host could say which it is."""
    by_selector: dict[Selector, list[tuple[str, Match, int, Placed]]] = {}
    for workload, placed in workloads:
        for index, match in enumerate(workload.match):
            if (selector := _selector(match)) != Selector():  # else refused for what it asks
                user = (workload.name, match, index, placed)
                by_selector.setdefault(selector, []).append(user)
    problems: list[Problem] = []
    for users in by_selector.values():
        for position, (name, match, index, placed) in enumerate(users):
            for other_name, other, _, other_placed in users[:position]:
                host = _common_host(match, other, hosts) if name != other_name else None
                if host is not None:
                    message = (
                        f"a tie: Workload {name} and Workload {other_name} "
                        f"({other_placed.source}) have the same selectors on host {host.name}: "
                        "make one of them more specific or tell their hosts apart"
                    )
                    problems.append(placed.problem(message, "match", index))
    return problems


def _common_host(one: Match, other: Match, hosts: Sequence[Host]) -> Host | None:
    return next((h for h in hosts if h.has(one.host) and h.has(other.host)), None)


def warn_homeless(
    workloads: Sequence[tuple[Workload, Placed]], hosts: Sequence[Host]
) -> list[Problem]:
    """Alternatives whose host labels no host has."""
    return [
        placed.problem("matches nothing: no host has these labels", "match", index, "host")
        for workload, placed in workloads
        for index, match in enumerate(workload.match)
        if not any(host.has(match.host) for host in hosts)
    ]
