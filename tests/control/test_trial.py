# SPDX-License-Identifier: Apache-2.0
"""Whom a change is said to touch are those whose content it changes, and trying changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from controller.documents import Placed
from controller.editing import Edit, numbered, read_files, without
from controller.fleet.book import read_row
from controller.fleet.compile import Fleet
from controller.records import DocumentRow
from controller.revising import Reviser, Way
from controller.store import SqlStorage
from controller.trial import Trial
from tests.control.fleet import POLICY, join, unix
from tests.store import making
from tests.unit.policies import WEB_TO_DB

MORE = """\
kind: Workload
name: cache
segment: data
match: [{unit: cache.service, host: {role: other}}]
---
kind: Allow
name: web-to-cache
from: {workload: web}
to: [{workload: cache}, {cidr: 198.51.100.0/24}]
ports: [tcp/11211]
"""
ENFORCED = "kind: Segment\nname: default\nmode: enforce\n"
STEPS = {
    "another port": (WEB_TO_DB.replace("6379", "6380"), {"a", "b"}),
    "a workload, a rule and a network": (MORE, {"a", "c"}),
    "all of it": (ENFORCED, {"a", "b", "c"}),
    "a comment": ("# c\n" + WEB_TO_DB.replace("6379", "6380"), set()),
}


def contents(storage: SqlStorage) -> Mapping[str, bytes]:
    loaded = Fleet()
    loaded.load(storage.fleet())
    return {name: loaded.content(loaded.audience(name)).digest for name in loaded.hosts}


def test_whom_it_says_a_change_touches_are_those_it_touches(storage: SqlStorage) -> None:
    reviser, way = Reviser(storage), Way(force=True)
    for what, (text, expected) in STEPS.items():
        before = contents(storage)
        decided = reviser.with_files([("p", text.encode())], way, unix(), prune=False)
        again = reviser.with_files([("p", text.encode())], way, unix(), prune=False)
        assert decided.touched == again.touched == len(expected), what
        assert contents(storage) == before, what
        assert decided.changes is not None
        storage.apply(decided.changes, decided.base, making.OPERATOR, "w", unix())
        after = contents(storage)
        assert {name for name in after if after[name] != before[name]} == expected, what


def test_it_follows_what_others_change_meanwhile(storage: SqlStorage) -> None:
    trial, now = Trial(storage), unix()

    def touched(made: Edit) -> frozenset[str]:
        rows = storage.fleet()
        documents = {item.key: numbered(item) for item in made.put} | dict.fromkeys(made.deleted)
        return trial.touched(rows, documents, rows.allocations, now)

    def gone() -> Edit:
        before = {item.key: item for item in read_files([("p", POLICY.encode())])}
        return without(before, [("Allow", "web-to-db")])

    assert touched(gone()) == {"a", "b"}
    join(storage, "d", 4, {"role": "web"})
    assert touched(gone()) == {"a", "b", "d"}
    storage.revoke_host("b", making.OPERATOR, "w", now)
    assert touched(gone()) == {"a", "d"}
    storage.raise_epoch(making.OPERATOR, "w", now)
    assert touched(gone()) == {"a", "d"}


def test_what_fails_is_forgotten(storage: SqlStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    reviser, files = Reviser(storage), [("p", STEPS["another port"][0].encode())]

    def fails(*_: object) -> None:
        raise RuntimeError("in the middle")

    with monkeypatch.context() as patched:
        patched.setattr(Fleet, "members", fails)
        with pytest.raises(RuntimeError):
            reviser.with_files(files, Way(), unix(), prune=False)
    assert reviser.with_files(files, Way(), unix(), prune=False).touched == 2


def test_what_was_read_once_is_not_read_again(
    storage: SqlStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet has a hundred thousand documents, and a change is mostly of one."""
    rules = "---\n".join(WEB_TO_DB[:-4].replace("web-to-db", f"r{n}") for n in range(100))
    reviser = Reviser(storage)

    def revise(text: str) -> None:
        decided = reviser.with_files([("p", text.encode())], Way(), unix(), prune=False)
        assert decided.changes is not None
        storage.apply(decided.changes, decided.base, making.OPERATOR, "w", unix())

    revise(rules)
    read: list[str] = []

    def counted(row: DocumentRow) -> Placed:
        read.append(row.name)
        return read_row(row)

    for module in ("controller.editing", "controller.trial", "controller.fleet.compile"):
        monkeypatch.setattr(f"{module}.read_row", counted)
    for port in ("1", "2"):
        read.clear()
        revise(WEB_TO_DB.replace("6379", port))
        assert read == ["web-to-db"], "alone and once, to see that it says what its file says"


def test_a_first_revision_of_many_documents_is_not_read_again_to_see_whom_it_touches(
    storage: SqlStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = "---\n".join(WEB_TO_DB[:-4].replace("web-to-db", f"r{n}") for n in range(100))
    read: list[str] = []

    def counted(row: DocumentRow) -> Placed:
        read.append(row.name)
        return read_row(row)

    for module in ("controller.editing", "controller.trial", "controller.fleet.compile"):
        monkeypatch.setattr(f"{module}.read_row", counted)
    decided = Reviser(storage).with_files([("p", rules.encode())], Way(), unix(), prune=False)
    assert decided.touched == 2
    assert len(read) == len(set(read)), "each document once"
