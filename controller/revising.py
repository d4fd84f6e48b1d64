# SPDX-License-Identifier: Apache-2.0
"""The next revision, decided: what changes, what is wrong with it, whom it touches. It reads the
store and changes nothing; runs in a thread, for a fleet has many documents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controller.allocations import Allocations, AllocationsError
from controller.checking import cut_off, examine, ties_by_labels, without_expired
from controller.documents import Revision, Workload
from controller.editing import Edit, Items, Shelf, check_texts, edit, numbered, read_files, without
from controller.editing import with_files as merge
from controller.fleet.book import DocumentKey
from controller.problems import InputRefused, Problem, Source
from controller.records import DocumentChanges, FleetRows, HostsJudged, Labels, LabelsJudged
from controller.rules import network_keys, rule_keys
from controller.storage import NotFound, Storage
from controller.trial import Trial

Make = Callable[[Items], Edit]


@dataclass(frozen=True, slots=True)
class _Host:
    """As much of one as ties ask for."""

    name: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class Decided:
    """changes: None if there are problems, or nothing changes. base: the revision that it starts
    from. touched: how many hosts' policy changes."""

    base: int
    edit: Edit | None
    problems: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()
    touched: int = 0
    changes: DocumentChanges | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """How a revision is made. force: whatever would be refused for what it may lock out, is a
    warning. what: for the audit log."""

    force: bool = False
    rollback_of: int = 0
    what: str = ""


class Reviser:
    """One per controller, for its threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._shelf = Shelf()
        self._trial = Trial(storage, self._shelf.read)

    def with_files(
        self, files: Sequence[tuple[str, bytes]], way: Way, now: int, *, prune: bool
    ) -> Decided:
        """Raises StorageError."""
        try:
            given = read_files(files)
        except InputRefused as error:
            return Decided(self._storage.head().revision, None, error.problems)
        return self._decided(lambda before: merge(before, given, prune=prune), way, now)

    def without(self, gone: Sequence[DocumentKey], way: Way, now: int) -> Decided:
        """Raises NotFound, StorageError."""

        def make(before: Items) -> Edit:
            if missing := [key for key in gone if key not in before]:
                raise NotFound(f"there is no {missing[0][0]} {missing[0][1]!r}")
            return without(before, gone)

        return self._decided(make, way, now)

    def as_before(self, revision: int, way: Way, now: int) -> Decided:
        """Raises NotFound, StorageError."""
        rows = self._storage.documents(revision)
        return self._decided(lambda now_: edit(now_, self._shelf.older(rows, now_)), way, now)

    def ties_by_labels(
        self, host: str, before: Labels, after: Labels, now: int
    ) -> tuple[LabelsJudged, list[Problem]]:
        """Between which workloads a process of this host could not choose if it had these labels.

        before: those that it has; none if it is not there yet.

        Raises StorageError. Documents that this version does not understand are another's matter.
        """
        judged = LabelsJudged(self._storage.head().revision, before)
        try:
            items = self._shelf.items(self._storage.documents(judged.revision))
        except InputRefused:
            return judged, []
        revision = Revision(tuple(item.placed for item in items.values()))
        holding, _ = without_expired(revision, now)
        return judged, ties_by_labels(holding, _Host(host, before), _Host(host, after))

    def _decided(self, make: Make, way: Way, now: int) -> Decided:
        rows = self._storage.fleet()
        base = rows.head.revision
        try:
            made = make(self._shelf.items(rows.documents))
            check_texts(made)
        except InputRefused as error:
            return Decided(base, None, error.problems)
        try:
            return self._examined(made, rows, way, now)
        except AllocationsError as error:
            return Decided(base, made, [Problem(Source(""), "", str(error))])

    def _examined(self, made: Edit, rows: FleetRows, way: Way, now: int) -> Decided:
        """Raises AllocationsError."""
        base, numbers = rows.head.revision, _numbers(made, rows.allocations)
        problems, warnings = _judged(made, rows, numbers, now)
        if (locked := _locked_out(made, now)) is not None:
            (warnings if way.force else problems).append(locked)
        if problems or not made:
            return Decided(base, made, problems, warnings)
        changes = DocumentChanges(
            put=tuple(map(numbered, made.put)),
            deleted=made.deleted,
            allocations=numbers,
            rollback_of=way.rollback_of,
            what=way.what,
            judged=HostsJudged(rows.head.version, {host.name: host.labels for host in rows.hosts}),
        )
        self._shelf.learn(made.put)
        touched = self._touched(changes, rows, now)
        return Decided(base, made, (), warnings, touched, changes)

    def _touched(self, changes: DocumentChanges, rows: FleetRows, now: int) -> int:
        documents = {
            **{(row.kind, row.name): row for row in changes.put},
            **dict.fromkeys(changes.deleted),
        }
        return len(self._trial.touched(rows, documents, changes.allocations, now))


def _numbers(made: Edit, known: Allocations) -> Allocations:
    revision = made.revision
    workloads = (workload.name for workload, _ in revision.of(Workload))
    return known.extended(workloads, (), rule_keys(revision), network_keys(revision))


def _judged(
    made: Edit, rows: FleetRows, numbers: Allocations, now: int
) -> tuple[list[Problem], list[Problem]]:
    """Problems and warnings. What is wrong only because the time of another document is over, was
    right when it was applied and must not stand in the way of everything else."""
    revision = made.revision
    holding, warnings = without_expired(revision, now)
    found = examine(holding, numbers.workloads, rows.hosts)
    problems, warnings = list(found.problems), [*warnings, *found.warnings]
    if problems and len(holding.placed) < len(revision.placed):
        whole = examine(revision, numbers.workloads, rows.hosts).problems
        lasting = {(p.source, p.field) for p in whole}  # its words name what there is
        warnings += [p for p in problems if (p.source, p.field) not in lasting]
        problems = [p for p in problems if (p.source, p.field) in lasting]
    return problems, warnings


def _locked_out(made: Edit, now: int) -> Problem | None:
    """By this change, and not by what was so before."""
    before = Revision(tuple(item.placed for item in made.before.values()))
    after = cut_off(without_expired(made.revision, now)[0])
    if after is None or cut_off(without_expired(before, now)[0]) is not None:
        return None
    return Problem(
        after.source, after.field, f"{after.message}; apply it with force if that is meant"
    )
