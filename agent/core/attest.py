# SPDX-License-Identifier: Apache-2.0
"""Process facts -> selectors that hold -> the workload -> its identity. Pure.

Who reads the facts (`agent.edge.procfs`) decides nothing; who decides here reads nothing. The rules
are made so that an unprivileged user cannot choose an identity:

- The unit is systemd's own rule (cg_path_get_unit): the first component of the path that is not a
  slice. A deeper one is named by whoever the cgroup was delegated to, that is by any user.
- A path of an executable is believed if the file at that path on the host is that very file. In
  another mount namespace, which any user can make, a path holds only beside a selector of the
  cgroup (unit, container or cgroup), which the user cannot choose.

A selector that asks for something the facts do not have does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from agent.core.model import Identity, Selector, Workload

_UNIT_SUFFIXES = (".service", ".scope", ".socket", ".mount", ".swap")
_SLICE = ".slice"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one process, read while it was provably the same process.

    started: clock ticks since boot, which with the pid names the process.
    uid, gid: the real ones, as the host's initial user namespace numbers them.
    cgroup: path below the instance's cgroup root, "/" for the root itself.
    exe: the executable's path, without the kernel's " (deleted)".
    exe_vouched: the file at that path on the host is the executable.
    device: the executable's, as the kernel writes it (major << 20 | minor).
    """

    pid: int
    started: int
    command: str
    uid: int
    gid: int
    user: str
    group: str
    cgroup: str
    cgroup_id: int
    exe: str
    exe_vouched: bool
    inode: int
    device: int
    ctime_ns: int
    links: int


@dataclass(frozen=True, slots=True)
class Attestation:
    """The outcome: an identity and why.

    conflict: a sentence if workloads tied; the identity is then `host`, so that a mistake in the
        policy gives no process more than a stranger has.
    """

    identity: int
    name: str = ""
    evidence: tuple[str, ...] = ()
    conflict: str = ""


Rank = tuple[bool, bool, bool, bool, bool, int]


def units_of(cgroup: str) -> tuple[str, ...]:
    """The systemd unit of a cgroup path and the slices above it, innermost first."""
    units: list[str] = []
    for part in cgroup.split("/"):
        name = part.removeprefix("_")  # systemd escapes names that look like cgroup attributes
        if name.endswith(_SLICE):
            units.insert(0, name)
        elif name:
            if name.endswith(_UNIT_SUFFIXES):
                units.insert(0, name)
            break
    return tuple(units)


def attest(facts: Facts, workloads: Iterable[Workload]) -> Attestation:
    """The most specific workload of which some alternative holds; `host` if there is none."""
    best: tuple[Rank, Workload, tuple[str, ...]] | None = None
    tied: Workload | None = None
    units = units_of(facts.cgroup)
    for workload in workloads:
        found = _best_alternative(facts, units, workload)
        if found is None:
            continue
        if best is None or found[0] > best[0]:
            best, tied = (found[0], workload, found[1]), None
        elif found[0] == best[0] and workload.identity != best[1].identity:
            tied = workload
    if best is None:
        return Attestation(Identity.HOST)
    if tied is not None:
        return _conflict(facts, best[1], tied)
    return Attestation(best[1].identity, f"{best[1].segment}/{best[1].name}", best[2])


def _conflict(facts: Facts, one: Workload, other: Workload) -> Attestation:
    names = " and ".join(sorted(f"{w.segment}/{w.name}" for w in (one, other)))
    return Attestation(
        Identity.HOST,
        conflict=f"process {facts.pid} ({facts.command}) matches {names} equally well and counts "
        "as host: make the selectors of one of them more specific",
    )


def _best_alternative(
    facts: Facts, units: tuple[str, ...], workload: Workload
) -> tuple[Rank, tuple[str, ...]] | None:
    best: tuple[Rank, tuple[str, ...]] | None = None
    for selector in workload.match:
        evidence = match(facts, units, selector)
        if evidence is None:
            continue
        rank = specificity(selector)
        if best is None or rank > best[0]:
            best = rank, evidence
    return best


def specificity(selector: Selector) -> Rank:
    """Compared in the order sha256, exe, unit or container, cgroup, user; then by their number."""
    asked = (
        selector.sha256,
        selector.exe,
        selector.unit or selector.container,
        selector.cgroup,
        selector.user or selector.group,
    )
    fields = (
        selector.sha256,
        selector.exe,
        selector.unit,
        selector.container,
        selector.cgroup,
        selector.user,
        selector.group,
    )
    first, second, third, fourth, fifth = (value is not None for value in asked)
    return first, second, third, fourth, fifth, sum(value is not None for value in fields)


def match(facts: Facts, units: tuple[str, ...], selector: Selector) -> tuple[str, ...] | None:
    """What held, "exe=/usr/bin/curl" each; None if something did not or nothing was asked."""
    evidence: list[str] = []
    if selector.sha256 is not None or selector.container is not None:
        return None  # facts that this agent does not read
    if selector.unit is not None:
        unit = next((name for name in units if fnmatchcase(name, selector.unit)), None)
        if unit is None:
            return None
        evidence.append(f"unit={unit}")
    if selector.cgroup is not None:
        if not fnmatchcase(facts.cgroup, selector.cgroup):
            return None
        evidence.append(f"cgroup={facts.cgroup}")
    if selector.exe is not None:
        if facts.exe != selector.exe or not (facts.exe_vouched or evidence):
            return None
        evidence.append(f"exe={facts.exe}")
    return _match_owner(facts, selector, evidence)


def _match_owner(facts: Facts, selector: Selector, evidence: list[str]) -> tuple[str, ...] | None:
    if selector.user is not None:
        if selector.user not in (facts.user, str(facts.uid)):
            return None
        evidence.append(f"user={selector.user}")
    if selector.group is not None:
        if selector.group not in (facts.group, str(facts.gid)):
            return None
        evidence.append(f"group={selector.group}")
    return tuple(evidence) or None


def unsupported(workloads: Iterable[Workload]) -> tuple[str, ...]:
    """Names of workloads with an alternative that asks for facts this agent does not read."""
    return tuple(
        f"{workload.segment}/{workload.name}"
        for workload in workloads
        if any(s.sha256 is not None or s.container is not None for s in workload.match)
    )


def follows_from_executable_key(workloads: Iterable[Workload]) -> bool:
    """Whether identities follow from file, user and cgroup alone, so that the kernel may keep them.

    A group is not in the kernel's key: two processes that differ only in it would share an entry.
    """
    return all(s.group is None for workload in workloads for s in workload.match)


def exe_paths(workloads: Iterable[Workload]) -> frozenset[str]:
    """Paths that matter: only for these is the file on the host looked at."""
    return frozenset(s.exe for w in workloads for s in w.match if s.exe is not None)
