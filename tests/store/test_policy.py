# SPDX-License-Identifier: Apache-2.0
"""Revisions, quarantine, settings and the audit log."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text

from controller.allocations import Allocations
from controller.records import (
    Actor,
    Cause,
    DocumentChanges,
    FleetSettings,
    Head,
    HostChange,
    HostsJudged,
    Page,
    Target,
)
from controller.storage import Conflict, Moved, NotFound, Refused, Unavailable
from controller.store import SqlStorage
from controller.store.database import Database
from tests.store.making import NOW, OPERATOR, addresses, changes, document, join


def _texts(storage: SqlStorage, revision: int | None = None) -> dict[str, str]:
    return {row.name: row.text for row in storage.documents(revision)}


def test_apply_makes_revision_version_and_audit_entry_of_one_moment(storage: SqlStorage) -> None:
    before = storage.head()
    head = storage.apply(changes(document("a"), document("b")), 0, OPERATOR, "first", NOW + 5)
    assert head == Head(1, before.version + 1, 1)
    assert storage.head() == head
    (revision,) = storage.revisions(Page()).items
    assert (revision.number, revision.version, revision.at) == (1, head.version, NOW + 5)
    assert (revision.who, revision.why) == (OPERATOR.who, "first")
    assert (revision.documents, revision.changes) == (2, 2)
    (version,) = storage.changes(before.version)
    assert (version.cause, version.object, version.at) == (Cause.POLICY, "1", NOW + 5)
    entry = storage.audit(0, Page()).items[0]
    assert (entry.what, entry.why, entry.version) == ("Apply", "first", head.version)
    assert (entry.who, entry.address) == (OPERATOR.who, OPERATOR.address)


def test_every_revision_stays_as_it_was(storage: SqlStorage) -> None:
    storage.apply(changes(document("a", "1"), document("b", "1")), 0, OPERATOR, "w", NOW)
    storage.apply(changes(document("a", "2"), deleted=(("Allow", "b"),)), 1, OPERATOR, "w", NOW)
    storage.apply(changes(document("b", "3")), 2, OPERATOR, "w", NOW)
    assert _texts(storage, 0) == {}
    assert _texts(storage, 1) == {"a": "1", "b": "1"}
    assert _texts(storage, 2) == {"a": "2"}
    assert _texts(storage, 3) == _texts(storage) == {"a": "2", "b": "3"}
    assert [row.documents for row in storage.revisions(Page()).items] == [2, 1, 2]
    assert {row.name: row.since for row in storage.documents()} == {"a": 2, "b": 3}
    with pytest.raises(NotFound, match="no revision 4"):
        storage.documents(4)


def test_rollback_is_a_revision_of_its_own(storage: SqlStorage) -> None:
    storage.apply(changes(document("a", "1")), 0, OPERATOR, "w", NOW)
    storage.apply(changes(document("a", "2")), 1, OPERATOR, "w", NOW)
    storage.apply(changes(document("a", "1"), rollback_of=1), 2, OPERATOR, "back", NOW)
    assert storage.revisions(Page()).items[0].rollback_of == 1
    assert storage.audit(0, Page()).items[0].what == "Rollback"
    assert _texts(storage) == {"a": "1"}


def test_apply_refuses_what_does_not_start_from_the_newest(storage: SqlStorage) -> None:
    storage.apply(changes(document("a")), 0, OPERATOR, "w", NOW)
    before = storage.head(), storage.audit(0, Page())
    with pytest.raises(Conflict, match="newest revision is 1, not 0"):
        storage.apply(changes(document("b")), 0, OPERATOR, "w", NOW)
    with pytest.raises(Conflict, match="Allow/c is not in revision 1"):
        storage.apply(changes(deleted=(("Allow", "c"),)), 1, OPERATOR, "w", NOW)
    assert (storage.head(), storage.audit(0, Page())) == before


def test_apply_refuses_what_was_judged_by_other_labels(storage: SqlStorage) -> None:
    labels = join(storage, "web-1", "192.0.2.7", labels={"role": "web"}).labels
    judged = HostsJudged(storage.head().version, {"web-1": labels})

    def apply() -> None:
        revision = storage.head().revision
        what = replace(changes(document("a", str(revision))), judged=judged)
        storage.apply(what, revision, OPERATOR, "w", NOW)

    moved = HostChange(addresses=addresses("192.0.2.8"))
    storage.update_host("web-1", moved, OPERATOR, "w", NOW)
    apply()
    join(storage, "web-2")
    with pytest.raises(Moved, match="host web-2 has other labels"):
        apply()
    storage.revoke_host("web-2", OPERATOR, "w", NOW)
    apply()
    storage.update_host("web-1", HostChange(set_labels={"a": "b"}), OPERATOR, "w", NOW)
    before = storage.head()
    with pytest.raises(Moved, match="host web-1 has other labels"):
        apply()
    assert storage.head() == before


def test_numbers_are_given_once_and_kept(storage: SqlStorage, other: SqlStorage) -> None:
    first = storage.apply(changes(document("a"), numbers={"w": 256}), 0, OPERATOR, "w", NOW)
    assert other.fleet().allocations.workloads == {"w": 256}
    both = {"w": 256, "x": 257}
    storage.apply(changes(document("b"), numbers=both), first.revision, OPERATOR, "w", NOW)
    assert other.fleet().allocations.workloads == both
    for wrong in ({"w": 256}, {"w": 300, "x": 257}, {**both, "y": 257}):
        with pytest.raises(Conflict):
            storage.apply(changes(document("c"), numbers=wrong), 2, OPERATOR, "w", NOW)
    assert storage.head().revision == 2


def test_kinds_of_numbers_are_apart(storage: SqlStorage) -> None:
    numbers = Allocations(workloads={"n": 300}, rules={"n": 300})
    storage.apply(DocumentChanges((), (), numbers), 0, OPERATOR, "w", NOW)
    read = storage.fleet().allocations
    assert (read.workloads, read.rules, read.revision) == ({"n": 300}, {"n": 300}, 1)


@pytest.mark.parametrize("table", ["documents", "revisions", "versions", "audit"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET {} = {}"])
def test_history_cannot_be_changed_even_by_hand(
    storage: SqlStorage, url: str, table: str, change: str
) -> None:
    storage.apply(changes(document("a")), 0, OPERATOR, "w", NOW)
    column = {"documents": "line", "revisions": "changes"}.get(table, "version")
    database = Database(url)
    try:
        with pytest.raises((Conflict, Unavailable), match=r"changed"), database.writing(NOW) as w:
            w.connection.execute(text(change.format(table, column, column)))
    finally:
        database.close()
    assert not storage.check()


def test_pages_show_everything_once(storage: SqlStorage) -> None:
    for number in range(7):
        storage.apply(changes(document(f"d{number}")), number, OPERATOR, "w", NOW)
    seen: list[int] = []
    page = Page(size=3)
    while True:
        answer = storage.revisions(page)
        seen += [row.number for row in answer.items]
        assert answer.total == 7
        if not answer.next:
            break
        page = Page(size=3, after=answer.next)
    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_quarantine_of_a_host_gives_its_record_the_next_serial(storage: SqlStorage) -> None:
    serial = join(storage, "web-1").record_serial
    target = Target(host="web-1")
    version = storage.set_quarantine(target, NOW + 60, OPERATOR, "odd", NOW)
    (change,) = storage.changes(version - 1)
    assert (change.cause, change.object) == (Cause.QUARANTINE, "web-1")
    (row,) = storage.quarantines()
    assert (row.target, row.until, row.since, row.who) == (target, NOW + 60, NOW, OPERATOR.who)
    host = storage.host("web-1")
    assert host is not None
    assert host.record_serial == serial + 1
    storage.set_quarantine(target, None, OPERATOR, "well again", NOW)
    assert not storage.quarantines()
    with pytest.raises(NotFound, match="not in quarantine"):
        storage.set_quarantine(target, None, OPERATOR, "w", NOW)
    with pytest.raises(NotFound, match="no host 'web-2'"):
        storage.set_quarantine(Target(host="web-2"), NOW + 60, OPERATOR, "w", NOW)


def test_quarantines_end_once_however_many_ask(storage: SqlStorage, other: SqlStorage) -> None:
    join(storage, "web-1")
    over, later = Target(host="web-1"), Target(workload="pci/db")
    storage.set_quarantine(over, NOW + 60, OPERATOR, "w", NOW)
    storage.set_quarantine(later, NOW + 90, OPERATOR, "w", NOW)
    assert storage.end_quarantines(NOW + 59) == []
    assert storage.end_quarantines(NOW + 60) == [over]
    assert other.end_quarantines(NOW + 60) == []
    assert [row.target for row in other.quarantines()] == [later]


def test_there_is_a_bound_on_quarantines(
    storage: SqlStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.store.policy.MOST_QUARANTINES", 1)
    storage.set_quarantine(Target(workload="a"), NOW + 60, OPERATOR, "w", NOW)
    with pytest.raises(Refused, match="there are 1 quarantines"):
        storage.set_quarantine(Target(workload="b"), NOW + 60, OPERATOR, "w", NOW)
    storage.set_quarantine(Target(workload="a"), NOW + 90, OPERATOR, "longer", NOW)


def test_settings_change_with_a_version_and_only_if_they_change(storage: SqlStorage) -> None:
    changed = FleetSettings(lease_seconds=120)
    version = storage.update_settings(changed, OPERATOR, "w", NOW)
    assert version == storage.head().version
    assert storage.settings() == storage.fleet().settings == changed
    assert storage.audit(0, Page()).items[0].object == "lease_seconds 3600 to 120"
    assert storage.update_settings(changed, OPERATOR, "w", NOW) == 0


def test_refusals_are_in_the_audit_log_with_whatever_text(storage: SqlStorage) -> None:
    odd = "x'; DROP TABLE audit; --\n\u202e\U0001f98a"
    storage.note_refused(Actor("spiffe://x", "::1"), "Apply", odd, "ROLE_TOO_LOW", NOW)
    entry = storage.audit(0, Page()).items[0]
    assert (entry.object, entry.refused, entry.version) == (odd, "ROLE_TOO_LOW", 0)
    assert storage.audit(NOW + 1, Page()).items == []


def test_time_of_versions_never_goes_back(storage: SqlStorage) -> None:
    storage.apply(changes(document("a")), 0, OPERATOR, "w", NOW + 100)
    storage.apply(changes(document("b")), 1, OPERATOR, "a controller's clock is behind", NOW)
    times = [row.at for row in storage.changes(0)]
    assert times == sorted(times)
    assert storage.fleet().at == NOW + 100


def test_settings_that_somebody_else_has_changed_are_not_overwritten(storage: SqlStorage) -> None:
    base = storage.settings()
    storage.update_settings(replace(base, lease_seconds=120), OPERATOR, "w", NOW)
    head = storage.head()
    with pytest.raises(Conflict, match="changed meanwhile"):
        storage.update_settings(replace(base, epochs_ahead=2), OPERATOR, "w", NOW, base)
    assert storage.head() == head
    newer = storage.settings()
    assert storage.update_settings(replace(newer, epochs_ahead=2), OPERATOR, "w", NOW, newer)
    assert storage.settings() == replace(base, lease_seconds=120, epochs_ahead=2)


def test_a_document_is_there_from_the_revision_that_put_it_to_the_one_that_took_it(
    storage: SqlStorage,
) -> None:
    assert not storage.has_document("Allow", "a")
    storage.apply(changes(document("a")), 0, OPERATOR, "w", NOW)
    assert storage.has_document("Allow", "a")
    assert not storage.has_document("Deny", "a")
    deleted = replace(changes(deleted=(("Allow", "a"),)), what="DeleteDocuments")
    storage.apply(deleted, 1, OPERATOR, "w", NOW)
    assert not storage.has_document("Allow", "a")
    assert storage.audit(0, Page()).items[0].what == "DeleteDocuments"
