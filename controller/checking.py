# SPDX-License-Identifier: Apache-2.0
"""What is wrong, or to be looked at, between documents and the hosts that they are for. Pure.

One check for both ways in: files of a folder, and what an administrator applies. `examine` knows no
time; what no longer holds is left out before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.core.model import Action, IPNetwork
from controller.documents import (
    DEFAULT_SEGMENT,
    Lifeline,
    Placed,
    Revision,
    Segment,
    Workload,
)
from controller.placement import (
    Host,
    Labelled,
    Sites,
    alternatives,
    check_ties,
    check_workloads,
    warn_homeless,
)
from controller.problems import Problem
from controller.rules import Statement, statements
from controller.selectors import Resolver


@dataclass(frozen=True, slots=True)
class Examined:
    """statements: of no use if there are problems."""

    statements: Sequence[Statement]
    problems: Sequence[Problem]
    warnings: Sequence[Problem]


def examine(revision: Revision, numbers: Mapping[str, int], hosts: Sequence[Host]) -> Examined:
    """numbers: of every workload."""
    workloads, segments = revision.of(Workload), {s.name: s for s, _ in revision.of(Segment)}
    resolver = Resolver({w.name: w for w, _ in workloads}, segments, numbers)
    found, sites = statements(revision, resolver), Sites(hosts)
    problems = [*check_workloads(workloads, segments), *check_ties(workloads, sites)]
    warnings = [*warn_homeless(workloads, sites), *resolver.warnings]
    return Examined(
        statements=found,
        problems=[*problems, *resolver.problems],
        warnings=[*warnings, *_warn_managed_addresses(found, hosts)],
    )


def ties_by_labels(revision: Revision, before: Labelled, after: Labelled) -> list[Problem]:
    """Ties between workloads that a host with other labels brings about.

    before, after: the same host. Those that it has now were told.
    """
    here = [
        (workload, placed)
        for workload, placed in revision.of(Workload)
        if alternatives(workload, after.labels)
    ]
    known = set(check_ties(here, Sites([before])))
    return [tie for tie in check_ties(here, Sites([after])) if tie not in known]


def without_expired(revision: Revision, now: int) -> tuple[Revision, list[Problem]]:
    """The documents that still hold, and a warning for each that does not."""
    kept: list[Placed] = []
    warnings: list[Problem] = []
    for placed in revision.placed:
        until = placed.document.until
        if until is not None and int(until.timestamp()) <= now:
            warnings.append(placed.problem("left out: its time is over", "until"))
        else:
            kept.append(placed)
    return Revision(tuple(kept)), warnings


def cut_off(revision: Revision) -> Problem | None:
    """Whether administration could be locked out by it: `default` is enforced, sshd is a process
    of it unless a document says otherwise, and no lifeline lets tcp in."""
    enforced = [
        placed
        for segment, placed in revision.of(Segment)
        if segment.name == DEFAULT_SEGMENT and segment.mode == "enforce"
    ]
    ways_in = (
        lifeline
        for lifeline, _ in revision.of(Lifeline)
        if lifeline.direction == "in" and any(port.startswith("tcp") for port in lifeline.ports)
    )
    if not enforced or next(ways_in, None) is not None:
        return None
    return enforced[0].problem(
        "no lifeline covers administration: processes that are no workload, sshd among them, "
        "are enforced, and no Lifeline with direction: in has a tcp port",
        "mode",
    )


def _warn_managed_addresses(found: Iterable[Statement], hosts: Sequence[Host]) -> list[Problem]:
    """A managed host is judged by identity; who names its address may not know that."""
    book = _Addresses(hosts)
    warnings: list[Problem] = []
    for statement in found:
        if statement.action is Action.LIFELINE:  # lifelines go by address, whoever is there
            continue
        covered = min(book.covered(statement.peer.networks), default=None)
        if covered is not None:
            message = (
                f"{covered[1]} holds an address of host {covered[2]}, which this "
                "does not cover: connections of managed hosts are judged by identity; "
                "name a workload, segment: default or unproven for them"
            )
            warnings.append(statement.placed.problem(message))
    return list(dict.fromkeys(warnings))


class _Addresses:
    """Addresses of hosts that write tags, in their order."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._known = sorted(
            (address.version, int(address), rank, host.name)
            for rank, host in enumerate(hosts)
            if host.tags
            for address in host.addresses
        )

    def covered(self, networks: Iterable[IPNetwork]) -> Iterator[tuple[int, str, str]]:
        """The rank of a host within each network, the network, the host's name."""
        for network in networks:
            first = (network.version, int(network.network_address))
            last = (network.version, int(network.broadcast_address))
            at = bisect_left(self._known, first)
            if at < len(self._known) and self._known[at][:2] <= last:
                yield self._known[at][2], str(network), self._known[at][3]
