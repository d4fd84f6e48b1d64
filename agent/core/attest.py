# SPDX-License-Identifier: Apache-2.0
"""Process facts -> selectors that hold -> the workload -> its identity. Pure.

Who reads the facts (`agent.edge.procfs`) decides nothing; who decides here reads nothing. The rules
are made so that an unprivileged user cannot choose an identity:

- The unit is systemd's own rule (cg_path_get_unit): the first component of the path that is not a
  slice. A deeper one is named by whoever the cgroup was delegated to, that is by any user. The same
  holds for containers (`agent.core.containers`).
- A path of an executable is believed if the file at that path on the host is that very file. In
  another mount namespace, which any user can make, a path holds only beside a selector of the
  cgroup (unit, container or cgroup), which the user cannot choose.
- /proc/PID/exe is believed only while it is the file that the kernel saw at exec
  (`agent.core.tagging`), for a process in a user namespace of its own may change that link.

A selector that asks for something the facts do not have does not hold. The content's hash is read
only where everything else that its selector asks for holds: until then it is `None`, and the
attestation says that it is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from agent.core.containers import Container, container_of
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
    sha256: of its content, in hex; empty if it cannot be had, None if nobody has asked yet.
    container_name, container_image: as the runtime's files say; empty if they do not.
    parent: pid of the parent, for people.
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
    sha256: str | None = None
    container_name: str = ""
    container_image: str = ""
    parent: int = 0


def without_executable(facts: Facts) -> Facts:
    """The same process, of whose executable nothing is believed."""
    return replace(facts, exe="", exe_vouched=False, sha256="")


@dataclass(frozen=True, slots=True)
class Attestation:
    """The outcome: an identity and why.

    conflict: a sentence if workloads tied; the identity is then `host`, so that a mistake in the
        policy gives no process more than a stranger has.
    wants_hash: some workload may be the process's, which only the executable's hash can tell; the
        identity is what it is without that.
    """

    identity: int
    name: str = ""
    evidence: tuple[str, ...] = ()
    conflict: str = ""
    wants_hash: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One selector of one alternative, held against the facts. `found`: what the process has."""

    selector: str
    wanted: str
    found: str
    holds: bool

    @property
    def evidence(self) -> str:
        return f"{self.selector}={self.found}"


Rank = tuple[bool, bool, bool, bool, bool, bool, int]


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


@dataclass(frozen=True, slots=True)
class _Place:
    """What follows from the cgroup's path: worked out once for all workloads."""

    units: tuple[str, ...]
    container: Container | None

    @classmethod
    def of(cls, facts: Facts) -> _Place:
        return cls(units_of(facts.cgroup), container_of(facts.cgroup))


def attest(facts: Facts, workloads: Iterable[Workload]) -> Attestation:
    """The most specific workload of which some alternative holds; `host` if there is none."""
    best: tuple[Rank, Workload, tuple[str, ...]] | None = None
    tied: Workload | None = None
    wants_hash = False
    place = _Place.of(facts)
    for workload in workloads:
        found, wanted = _best_alternative(facts, place, workload)
        wants_hash |= wanted
        if found is None:
            continue
        if best is None or found[0] > best[0]:
            best, tied = (found[0], workload, found[1]), None
        elif found[0] == best[0] and workload.identity != best[1].identity:
            tied = workload
    if best is None:
        return Attestation(Identity.HOST, wants_hash=wants_hash)
    if tied is not None:
        return replace(_conflict(facts, best[1], tied), wants_hash=wants_hash)
    name = f"{best[1].segment}/{best[1].name}"
    return Attestation(best[1].identity, name, best[2], wants_hash=wants_hash)


def _conflict(facts: Facts, one: Workload, other: Workload) -> Attestation:
    names = " and ".join(sorted(f"{w.segment}/{w.name}" for w in (one, other)))
    return Attestation(
        Identity.HOST,
        conflict=f"process {facts.pid} ({facts.command}) matches {names} equally well and counts "
        "as host: make the selectors of one of them more specific",
    )


def _best_alternative(
    facts: Facts, place: _Place, workload: Workload
) -> tuple[tuple[Rank, tuple[str, ...]] | None, bool]:
    """The most specific alternative that holds, and whether another waits for a hash alone."""
    best: tuple[Rank, tuple[str, ...]] | None = None
    wants_hash = False
    for selector in workload.match:
        evidence = _match(facts, place, selector)
        if evidence is None:
            wants_hash |= _waits_for_hash(facts, place, selector)
            continue
        rank = specificity(selector)
        if best is None or rank > best[0]:
            best = rank, evidence
    return best, wants_hash


def specificity(selector: Selector) -> Rank:
    """Compared in the order sha256, exe, unit or container, a slice around it, cgroup, user; then
    by their number.

    A pattern that ends in .slice matches slices alone, and whatever unit runs in them says more.
    """
    around = selector.unit is not None and selector.unit.endswith(_SLICE)
    asked = (
        selector.sha256,
        selector.exe,
        selector.container if around else selector.unit or selector.container,
        selector.unit if around else None,
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
    first, second, third, fourth, fifth, sixth = (value is not None for value in asked)
    number = sum(value is not None for value in fields)
    return first, second, third, fourth, fifth, sixth, number


def _match(facts: Facts, place: _Place, selector: Selector) -> tuple[str, ...] | None:
    """What held, "exe=/usr/bin/curl" each; None if something did not or nothing was asked."""
    evidence: list[str] = []
    for check in _checks(facts, place, selector):
        if not check.holds:
            return None
        evidence.append(check.evidence)
    return tuple(evidence) or None


def _waits_for_hash(facts: Facts, place: _Place, selector: Selector) -> bool:
    if selector.sha256 is None or facts.sha256 is not None:
        return False
    return all(c.holds for c in _checks(facts, place, selector) if c.selector != "sha256")


def first_failure(facts: Facts, selector: Selector) -> Check | None:
    """Why an alternative is not the process's: the first selector that does not hold."""
    place = _Place.of(facts)
    return next((c for c in _checks(facts, place, selector) if not c.holds), None)


def _checks(facts: Facts, place: _Place, selector: Selector) -> Iterator[Check]:
    """What the alternative asks for, one by one, cheapest first."""
    if selector.unit is not None:
        yield _check_unit(place, selector.unit)
    if selector.container is not None:
        yield _check_container(facts, place, selector.container)
    if selector.cgroup is not None:
        holds = fnmatchcase(facts.cgroup, selector.cgroup)
        yield Check("cgroup", selector.cgroup, facts.cgroup, holds)
    if selector.exe is not None:
        placed = (selector.unit, selector.container, selector.cgroup) != (None, None, None)
        yield _check_exe(facts, selector.exe, placed)
    if selector.user is not None:
        yield _check_owner("user", selector.user, facts.user, facts.uid)
    if selector.group is not None:
        yield _check_owner("group", selector.group, facts.group, facts.gid)
    if selector.sha256 is not None:
        found = "not read yet" if facts.sha256 is None else facts.sha256
        yield Check("sha256", selector.sha256, found, facts.sha256 == selector.sha256)


def _check_unit(place: _Place, pattern: str) -> Check:
    for unit in place.units:
        if fnmatchcase(unit, pattern):
            return Check("unit", pattern, unit, holds=True)
    return Check("unit", pattern, place.units[0] if place.units else "", holds=False)


def _check_container(facts: Facts, place: _Place, pattern: str) -> Check:
    if place.container is None:
        return Check("container", pattern, "", holds=False)
    names = facts.container_name, facts.container_image
    found = place.container.match(pattern, *names)
    return Check("container", pattern, found or place.container.describe(*names), holds=bool(found))


def _check_exe(facts: Facts, wanted: str, placed: bool) -> Check:
    if facts.exe == wanted and not (facts.exe_vouched or placed):
        return Check("exe", wanted, f"{facts.exe} in another mount namespace", holds=False)
    return Check("exe", wanted, facts.exe, facts.exe == wanted)


def _check_owner(name: str, wanted: str, found: str, number: int) -> Check:
    if wanted == str(number):
        return Check(name, wanted, wanted, holds=True)
    return Check(name, wanted, found or str(number), wanted == found)
