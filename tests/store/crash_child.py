# SPDX-License-Identifier: Apache-2.0
"""A process that applies a revision and kills itself at a named point of it.

`POINTS` are before and after each durable step, named by what it does to which table. "list" prints
those that an apply comes by, "endless" applies until it is killed and prints each revision.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import Any

from sqlalchemy import event

from controller.records import DocumentChanges
from controller.store import SqlStorage, open_store
from tests.store.making import MASTER, NOW, OPERATOR, changes, document

STEPS = (
    "insert into allocations",
    "insert into documents",
    "insert into revisions",
    "insert into versions",
    "insert into audit",
    "update fleet",
    "commit",
)
POINTS = tuple(f"{when} {step}" for step in STEPS for when in ("before", "after"))
_STATEMENT = re.compile(r"(insert into|update) (\w+)|(select pg_notify)", re.IGNORECASE)


def _step(statement: str) -> str | None:
    match = _STATEMENT.match(statement.strip())
    if match is None:
        return None
    return "notify" if match[3] else f"{match[1]} {match[2]}".lower()


def _watch(storage: SqlStorage, wanted: str) -> None:
    engine = storage._db._writer

    def reach(point: str) -> None:
        if wanted == "list":
            print(point, flush=True)
        elif point == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    def at(when: str, statement: str) -> None:
        if step := _step(statement):
            reach(f"{when} {step}")

    @event.listens_for(engine, "before_cursor_execute")
    def _before(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        at("before", statement)

    @event.listens_for(engine, "after_cursor_execute")
    def _after(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        at("after", statement)

    @event.listens_for(engine, "commit")
    def _commit(_: Any) -> None:
        reach("before commit")


def _second() -> DocumentChanges:
    return changes(
        document("a", "new"),
        document("c", "new"),
        deleted=(("Allow", "b"),),
        numbers={"w": 256, "x": 257},
    )


def _endless(storage: SqlStorage) -> None:
    while True:
        revision = storage.head().revision
        grown = {**storage.fleet().allocations.workloads, f"n{revision}": 1000 + revision}
        put = [document(f"d{n}", f"text of {revision}") for n in range(50)]
        head = storage.apply(changes(*put, numbers=grown), revision, OPERATOR, "w", NOW)
        print(head.revision, flush=True)


def main(url: str, point: str) -> None:
    storage = open_store(url, MASTER)
    if point == "endless":
        _endless(storage)
    _watch(storage, point)
    storage.apply(_second(), 1, OPERATOR, "second", NOW)
    if point == "list":
        print("after commit", flush=True)
    elif point == "after commit":
        os.kill(os.getpid(), signal.SIGKILL)
    storage.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
