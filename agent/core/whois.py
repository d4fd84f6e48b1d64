# SPDX-License-Identifier: Apache-2.0
"""Why a process is who it is: every alternative of every workload, held against its facts. Pure.

The answer is worked out anew from the same rules that attest: nothing is kept for each process, and
so nothing can be told that would not be decided again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent.core import attest
from agent.core.attest import Facts
from agent.core.containers import container_of
from agent.core.model import Workload


@dataclass(frozen=True, slots=True)
class Candidate:
    """One alternative, counted from 1. selector, wanted, found: the first that failed; empty if
    all hold.

    won: it is the process's identity. Of several workloads that hold the most specific one wins.
    """

    workload: str
    segment: str
    alternative: int
    matched: bool
    won: bool
    selector: str = ""
    wanted: str = ""
    found: str = ""


def candidates(facts: Facts, workloads: Iterable[Workload]) -> list[Candidate]:
    """In the order of the policy; of the winner, every alternative that holds counts as won."""
    workloads = tuple(workloads)
    winner = attest.attest(facts, workloads).identity
    return [
        _candidate(facts, workload, number, winner)
        for workload in workloads
        for number in range(1, len(workload.match) + 1)
    ]


def described(facts: Facts) -> dict[str, str]:
    """The facts under the names by which selectors ask for them; only those that there are."""
    container = container_of(facts.cgroup)
    found = {
        "unit": ", ".join(attest.units_of(facts.cgroup)),
        "cgroup": facts.cgroup,
        "container": "",
        "exe": facts.exe,
        "sha256": facts.sha256 or "",
        "user": f"{facts.user} ({facts.uid})" if facts.user else str(facts.uid),
        "group": f"{facts.group} ({facts.gid})" if facts.group else str(facts.gid),
    }
    if container is not None:
        found["container"] = container.describe(facts.container_name, facts.container_image)
    return {name: value for name, value in found.items() if value}


def _candidate(facts: Facts, workload: Workload, number: int, winner: int) -> Candidate:
    failed = attest.first_failure(facts, workload.match[number - 1])
    if failed is None:
        won = workload.identity == winner
        return Candidate(workload.name, workload.segment, number, matched=True, won=won)
    return Candidate(
        workload.name,
        workload.segment,
        number,
        matched=False,
        won=False,
        selector=failed.selector,
        wanted=failed.wanted,
        found=failed.found,
    )
