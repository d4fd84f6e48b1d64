# SPDX-License-Identifier: Apache-2.0
"""Which workloads may run on which host, and what is wrong with workloads.

A workload may run where the labels of one of its alternatives' `host` hold; on that host it has
these alternatives. Two workloads of which a process of one host could match both equally well are
refused here (`overlap`), so that no process is ever a surprise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Protocol

from agent.core.attest import Rank, specificity
from agent.core.model import IPAddress, Selector
from agent.core.model import Workload as PlacedWorkload
from controller.documents import Match, Placed, Segment, Workload
from controller.overlap import bucket, may_tie
from controller.problems import Problem


class Labelled(Protocol):
    """A host, or what is to be one."""

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> Mapping[str, str]: ...


class Host(Labelled, Protocol):
    """A managed host, of an inventory or of a fleet."""

    @property
    def addresses(self) -> Sequence[IPAddress]: ...

    @property
    def tags(self) -> bool: ...


class Sites:
    """Hosts by their labels: few sets of labels where hosts are many."""

    def __init__(self, hosts: Iterable[Labelled]) -> None:
        self._first: dict[frozenset[tuple[str, str]], str] = {}
        for host in hosts:
            self._first.setdefault(frozenset(host.labels.items()), host.name)
        self._having: dict[tuple[str, str], list[frozenset[tuple[str, str]]]] = defaultdict(list)
        for labels in self._first:
            for label in labels:
                self._having[label].append(labels)

    def find(self, *wanted: Mapping[str, str]) -> str | None:
        """The first host that has all of these labels."""
        asked = frozenset(label for labels in wanted for label in labels.items())
        if not asked:
            return next(iter(self._first.values()), None)
        fewest = min((self._having.get(label, []) for label in asked), key=len)
        return next((self._first[labels] for labels in fewest if asked <= labels), None)


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
    return Selector(
        unit=match.unit,
        cgroup=match.cgroup,
        container=match.container,
        exe=match.exe,
        sha256=match.sha256,
        user=str(match.uid) if match.uid is not None else match.user,
        group=str(match.gid) if match.gid is not None else match.group,
    )


def check_workloads(
    workloads: Sequence[tuple[Workload, Placed]], segments: Mapping[str, Segment]
) -> list[Problem]:
    """Segments that nobody described."""
    problems: list[Problem] = []
    for workload, placed in workloads:
        if workload.segment not in segments:
            message = (
                f"segment {workload.segment} has no Segment document: add kind: Segment, "
                f"name: {workload.segment}, mode: audit"
            )
            problems.append(placed.problem(message, "segment"))
    return problems


@dataclass(frozen=True, slots=True)
class _User:
    """An alternative, and whose it is."""

    workload: str
    selector: Selector
    match: Match
    index: int
    placed: Placed


def check_ties(workloads: Sequence[tuple[Workload, Placed]], sites: Sites) -> list[Problem]:
    """Pairs of workloads of which a process of a common host could be both."""
    by_rank: dict[Rank, list[_User]] = defaultdict(list)
    for workload, placed in workloads:
        for index, match in enumerate(workload.match):
            selector = _selector(match)
            user = _User(workload.name, selector, match, index, placed)
            by_rank[specificity(selector)].append(user)
    problems: list[Problem] = []
    for users in by_rank.values():
        for earlier, later in _candidates(users):
            if earlier.workload == later.workload or not may_tie(earlier.selector, later.selector):
                continue
            host = sites.find(earlier.match.host, later.match.host)
            if host is not None:
                problems.append(_tie(earlier, later, host))
    return problems


def _candidates(users: Sequence[_User]) -> Iterator[tuple[_User, _User]]:
    """Pairs that are not apart already by their bucket."""
    buckets: dict[str, list[_User]] = defaultdict(list)
    wide: list[_User] = []
    for user in users:
        name = bucket(user.selector)
        (wide if name is None else buckets[name]).append(user)
    narrow = chain.from_iterable(buckets.values())
    yield from chain.from_iterable(combinations(group, 2) for group in buckets.values())
    yield from combinations(wide, 2)
    if wide:
        yield from ((one, other) for one in narrow for other in wide)


def _tie(earlier: _User, later: _User, host: str) -> Problem:
    how = "have the same selectors"
    if earlier.selector != later.selector:
        how = "could match the same process equally well"
    message = (
        f"a tie: Workload {later.workload} and Workload {earlier.workload} "
        f"({earlier.placed.source}) {how} on host {host}: "
        "make one of them more specific or tell their hosts apart"
    )
    return later.placed.problem(message, "match", later.index)


def warn_homeless(workloads: Sequence[tuple[Workload, Placed]], sites: Sites) -> list[Problem]:
    """Alternatives whose host labels no host has."""
    return [
        placed.problem("matches nothing: no host has these labels", "match", index, "host")
        for workload, placed in workloads
        for index, match in enumerate(workload.match)
        if sites.find(match.host) is None
    ]
