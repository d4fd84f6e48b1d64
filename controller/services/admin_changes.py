# SPDX-License-Identifier: Apache-2.0
"""What was decided of a revision, as an answer that a message has room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from agent.pb import admin_pb2 as pb
from controller.diffs import unified
from controller.editing import Edit
from controller.problems import Problem
from controller.records import Head
from controller.revising import Decided
from controller.services.admin_pages import MAX_BYTES, fitting

MOST = 1000
_PROBLEM_BYTES = MAX_BYTES // 4
_DIFF_BYTES = MAX_BYTES // 4


def answer(decided: Decided, head: Head | None = None) -> pb.ApplyResponse:
    """head: the store's, if a revision was made."""
    changed = decided.edit is not None and not decided.problems
    return pb.ApplyResponse(
        revision=head.revision if head is not None else 0,
        version=head.version if head is not None else 0,
        problems=_problems(decided.problems),
        problems_total=len(set(decided.problems)),
        warnings=_problems(decided.warnings),
        changes=_changes(decided.edit) if changed else (),
        changes_total=_count(decided.edit) if changed else 0,
        hosts_touched=decided.touched,
    )


def difference(decided: Decided) -> pb.DiffResponse:
    changed = not decided.problems
    return pb.DiffResponse(
        problems=_problems(decided.problems),
        warnings=_problems(decided.warnings),
        changes=_changes(decided.edit) if changed else (),
        changes_total=_count(decided.edit) if changed else 0,
        hosts_touched=decided.touched,
        revision=decided.base,
    )


def _count(made: Edit | None) -> int:
    return 0 if made is None else len(made.put) + len(made.deleted)


def _problems(problems: Sequence[Problem]) -> Iterator[pb.DocumentProblem]:
    messages = (
        pb.DocumentProblem(
            file=problem.source.file,
            line=problem.source.line,
            field=problem.field,
            message=problem.message,
        )
        for problem in sorted(set(problems))
    )
    return fitting(messages, MOST, _PROBLEM_BYTES)


def _changes(made: Edit | None) -> Iterator[pb.DocumentChange]:
    """The later ones without a diff, if those before have taken all the room."""
    left = _DIFF_BYTES
    for change in islice(_each_change(made) if made is not None else (), MOST):
        left -= len(change.diff.encode())
        if left < 0:
            change.diff = ""
        yield change


def _each_change(made: Edit) -> Iterator[pb.DocumentChange]:
    for item in made.put:
        before = made.before.get(item.key)
        yield pb.DocumentChange(
            change=pb.CHANGE_KIND_CREATED if before is None else pb.CHANGE_KIND_UPDATED,
            kind=item.row.kind,
            name=item.row.name,
            diff=unified(before.row.text if before is not None else "", item.row.text),
        )
    for kind, name in made.deleted:
        yield pb.DocumentChange(
            change=pb.CHANGE_KIND_DELETED,
            kind=kind,
            name=name,
            diff=unified(made.before[kind, name].row.text, ""),
        )
