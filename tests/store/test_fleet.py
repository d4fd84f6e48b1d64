# SPDX-License-Identifier: Apache-2.0
"""What compiling and streaming read and write."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import text

from controller.records import Cause, FleetRows, FleetSettings, Seen, Target, VersionRow
from controller.storage import Conflict, Refused
from controller.store import SqlStorage, open_store
from tests.store.making import (
    DOMAIN,
    NOW,
    OPERATOR,
    addresses,
    changes,
    document,
    join,
)


def test_the_whole_is_of_one_version(storage: SqlStorage) -> None:
    web = join(storage, "web-1", "192.0.2.7", labels={"role": "web"})
    gone = join(storage, "web-2")
    storage.revoke_host(gone.name, OPERATOR, "w", NOW)
    storage.apply(changes(document("a"), numbers={"w": 256}), 0, OPERATOR, "w", NOW + 3)
    storage.set_quarantine(Target(workload="w"), NOW + 60, OPERATOR, "w", NOW)
    rows = storage.fleet()
    assert rows.head == storage.head()
    assert (rows.at, rows.trust_domain, rows.settings) == (NOW + 3, DOMAIN, FleetSettings())
    assert rows.hosts == [web]
    assert rows.allocations.hosts == {"web-1": web.number}
    assert [row.name for row in rows.documents] == ["a"]
    assert [row.target for row in rows.quarantines] == [Target(workload="w")]


def test_a_part_holds_what_its_versions_touched_as_it_is_now(storage: SqlStorage) -> None:
    join(storage, "web-1")
    join(storage, "web-2")
    storage.apply(changes(document("a"), document("b"), document("c")), 0, OPERATOR, "w", NOW)
    before = storage.head().version
    storage.revoke_host("web-1", OPERATOR, "w", NOW)
    storage.apply(changes(document("a", "2"), deleted=(("Allow", "b"),)), 1, OPERATOR, "w", NOW)
    rows = storage.changes(before)
    part = storage.fleet_part(rows)
    assert not part.everything
    assert part.head == storage.head()
    assert dict(part.hosts) == {"web-1": None}
    assert {name: row and row.text for (_, name), row in part.documents.items()} == {
        "a": "2",
        "b": None,
    }
    join(storage, "web-1", now=NOW + 1)
    newer = storage.fleet_part(rows)
    assert newer.head.version > rows[-1].version
    assert newer.hosts["web-1"] is not None


def test_a_new_epoch_is_everything(storage: SqlStorage) -> None:
    before = storage.head().version
    storage.raise_epoch(OPERATOR, "w", NOW)
    assert storage.fleet_part(storage.changes(before)).everything


def test_many_hosts_are_everything(storage: SqlStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.store.fleet.MOST_HOSTS", 1)
    before = storage.head().version
    join(storage, "web-1")
    assert not storage.fleet_part(storage.changes(before)).everything
    join(storage, "web-2")
    assert storage.fleet_part(storage.changes(before)).everything


def test_a_part_takes_more_names_than_a_statement_has_room_for(storage: SqlStorage) -> None:
    names = [f"web-{number}" for number in range(1000)]
    rows = [VersionRow(n, NOW, Cause.HOST, name) for n, name in enumerate(names)]
    join(storage, "web-999")
    part = storage.fleet_part(rows)
    assert len(part.hosts) == 1000
    assert [name for name, host in part.hosts.items() if host] == ["web-999"]


def test_changes_come_in_order_and_bounded(storage: SqlStorage) -> None:
    for number in range(4):
        join(storage, f"web-{number}")
    first = storage.head().version - 3
    assert [row.version for row in storage.changes(first - 1, 2)] == [first, first + 1]
    assert not storage.changes(storage.head().version)


def test_claimed_addresses_take_the_place_of_the_old_ones(storage: SqlStorage) -> None:
    host = join(storage, "web-1", "192.0.2.7")
    new = addresses("2001:db8::7", "192.0.2.8")
    version = storage.claim_addresses("web-1", new, NOW + 1)
    (row,) = storage.changes(version - 1)
    assert (row.cause, row.object) == (Cause.HOST, "web-1")
    claimed = storage.host("web-1")
    assert claimed is not None
    assert claimed.addresses == addresses("192.0.2.8", "2001:db8::7")
    assert claimed.record_serial == host.record_serial + 1
    assert storage.claim_addresses("web-1", tuple(reversed(new)), NOW + 1) == 0
    assert join(storage, "web-2", "192.0.2.7").addresses == addresses("192.0.2.7")


def test_seen_is_kept_as_it_was_said_and_never_older(storage: SqlStorage) -> None:
    join(storage, "web-1")
    seen = Seen(NOW + 9, "ctl-1", "0.1.0", 1, 7, 8, "why", "trouble", b"report")
    storage.note_seen({"web-1": seen, "unknown": seen}, NOW + 9)
    storage.note_seen({"web-1": Seen(at=NOW + 8)}, NOW + 10)
    host = storage.host("web-1")
    assert host is not None
    assert host.seen == seen


def test_a_lease_ends_once_and_is_taken_up_again_once(
    storage: SqlStorage, other: SqlStorage
) -> None:
    join(storage, "web-1")
    join(storage, "web-2")
    join(storage, "new", now=NOW + 100)
    storage.note_seen({"web-2": Seen(at=NOW + 60)}, NOW + 60)
    with ThreadPoolExecutor(4) as pool:
        ended = pool.map(lambda s: s.end_leases(NOW + 50, NOW + 200), [storage, other] * 4)
    assert [name for names in ended for name in names] == ["web-1"]
    assert [h.name for h in storage.fleet().hosts if h.lost] == ["web-1"]
    version = storage.head().version
    storage.note_seen({"web-1": Seen(at=0)}, NOW + 210)
    assert storage.head().version == version, "old news"
    storage.note_seen({"web-1": Seen(at=NOW + 220)}, NOW + 220)
    storage.note_seen({"web-1": Seen(at=NOW + 230)}, NOW + 230)
    (row,) = storage.changes(version)
    assert (row.cause, row.object) == (Cause.HOST, "web-1")
    assert not [h for h in storage.fleet().hosts if h.lost]


def test_a_wrong_master_key_is_told_and_nothing_else_opens(url: str, storage: SqlStorage) -> None:
    stranger = open_store(url, bytes(32))
    try:
        with pytest.raises(Refused, match="the master key does not open it"):
            stranger.secrets()
        assert any("master key" in sentence for sentence in stranger.check())
    finally:
        stranger.close()


def test_reading_goes_on_while_somebody_writes(storage: SqlStorage) -> None:
    before = storage.head()
    with storage._db.writing(NOW) as writer:
        writer.version(Cause.SETTINGS)
        writer.connection.execute(text("UPDATE fleet SET version = version + 1"))
        assert storage.head() == before
        assert storage.fleet().head == before
    assert storage.head().version == before.version + 1


def test_writers_of_two_controllers_lose_nothing(storage: SqlStorage, other: SqlStorage) -> None:
    """Every version there is, is of one revision; every reader sees whole ones."""

    def apply(number: int) -> int:
        mine = (storage, other)[number % 2]
        lost = 0
        while True:
            revision = mine.head().revision
            try:
                mine.apply(changes(document(f"d{number}")), revision, OPERATOR, "w", NOW)
            except Conflict:
                lost += 1
                assert lost < 200, "somebody gets through each time"
            else:
                return lost

    def whole(rows: FleetRows) -> bool:
        return len(rows.documents) == rows.head.revision

    with ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(apply, number) for number in range(20)]
        while not all(w.done() for w in writers):
            assert whole(other.fleet())
        for writer in writers:
            writer.result()
    assert storage.head().revision == 20
    assert len(storage.documents()) == 20
    assert not storage.check()


def test_who_was_seen_is_told_by_name_and_without_reports(
    storage: SqlStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        join(storage, f"web-{number}")
    said = Seen(at=NOW + 5, controller="ctl-1", store_epoch=1, version=2, report=b"large")
    storage.note_seen({"web-1": said}, NOW + 5)
    storage.revoke_host("web-2", OPERATOR, "w", NOW)
    expected = {"web-0": Seen(), "web-1": replace(said, report=b"")}
    assert storage.seen(["web-0", "web-1", "web-2", "nobody"]) == expected
    assert storage.seen(["web-1"]) == {"web-1": expected["web-1"]}
    assert storage.seen([]) == {}
    monkeypatch.setattr("controller.store.fleet.MOST_HOSTS", 1)
    assert storage.seen(["web-0", "web-1", "web-2"]) == expected
