# SPDX-License-Identifier: Apache-2.0
"""Kill -9 in the middle of an apply: afterwards there is the old revision or the new one, whole.

The child is killed at named points, before and after each statement of the transaction and around
its COMMIT; and at moments that nobody chose. The points come from SQLAlchemy's events, so that the
store has no code for tests in it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from controller.store import SqlStorage, open_store
from tests.store import crash_child
from tests.store.making import MASTER, NOW, OPERATOR, changes, document, join

CHILD_SECONDS = 120.0
_ROOT = Path(__file__).parents[2]


def _child(url: str, point: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.crash_child", url, point],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _prepare(storage: SqlStorage) -> None:
    join(storage, "web-1")
    first = changes(document("a", "old"), document("b", "old"), numbers={"w": 256})
    storage.apply(first, 0, OPERATOR, "first", NOW)
    storage.close()


def _revision_and_whole(url: str) -> int:
    """What is in the store after the crash, and that it is of one piece."""
    storage = open_store(url, MASTER)
    try:
        assert not storage.check()
        rows = storage.fleet()
        revision = rows.head.revision
        new = revision > 1
        texts = {row.name: row.text for row in rows.documents}
        assert texts == ({"a": "new", "c": "new"} if new else {"a": "old", "b": "old"})
        numbers = {"w": 256, "x": 257} if new else {"w": 256}
        assert rows.allocations.workloads == numbers
        after = storage.apply(changes(numbers=numbers), revision, OPERATOR, "next", NOW)
        assert after.revision == revision + 1, "whoever comes next is not in the way of a dead one"
        return revision
    finally:
        storage.close()


@pytest.mark.parametrize("point", crash_child.POINTS)
def test_killed_at_a_point_leaves_the_old_or_the_new_revision(
    url: str, storage: SqlStorage, point: str
) -> None:
    _prepare(storage)
    child = _child(url, point)
    _, errors = child.communicate(timeout=CHILD_SECONDS)
    assert child.returncode == -signal.SIGKILL, errors.decode()
    assert _revision_and_whole(url) == (2 if point == "after commit" else 1)


def test_every_statement_of_an_apply_is_a_point(url: str, storage: SqlStorage) -> None:
    """So that a statement that is added gets its points."""
    _prepare(storage)
    child = _child(url, "list")
    output, errors = child.communicate(timeout=CHILD_SECONDS)
    assert child.returncode == 0, errors.decode()
    seen = set(output.decode().splitlines())
    assert seen - {"after notify", "before notify"} == set(crash_child.POINTS)


def test_killed_at_any_moment_leaves_whole_revisions(url: str, storage: SqlStorage) -> None:
    """The child applies without end; it is killed after as many revisions as the round's number,
    in the middle of whatever it does then."""
    _prepare(storage)
    told = 1
    for rounds in range(1, 5):
        child = _child(url, "endless")
        assert child.stdout is not None
        try:
            for _ in range(rounds):
                told = int(child.stdout.readline() or b"0")
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.communicate(timeout=CHILD_SECONDS)
        opened = open_store(url, MASTER)
        try:
            assert not opened.check()
            assert opened.head().revision >= told, "what was told is there"
        finally:
            opened.close()
