# SPDX-License-Identifier: Apache-2.0
"""What is done on a controller's machine: the first start, secrets, checks, an old backup."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from agent.edge import signed
from agent.pb import signed_pb2
from controller.access_records import SecretRow
from controller.records import Cause, FleetSettings, Head, Page, Seen
from controller.rotation import Rotation
from controller.storage import Conflict, NotFound
from controller.store import SqlStorage, open_store, upgrade
from controller.store.operation import SKIPPED_HOSTS
from tests.store.making import (
    DOMAIN,
    MASTER,
    NOW,
    OPERATOR,
    certify,
    changes,
    document,
    fleet,
    join,
)
from tests.store.postgres import Cluster


def test_a_store_without_a_fleet_says_so(url: str) -> None:
    upgrade(url)
    empty = open_store(url, MASTER)
    try:
        for method in (empty.head, empty.fleet, empty.settings, empty.secrets, empty.trust_domain):
            with pytest.raises(NotFound, match="`cordon-controller init`"):
                method()
        with pytest.raises(NotFound, match="`cordon-controller init`"):
            empty.raise_epoch(OPERATOR, "w", NOW)
        assert len(empty.check()) == 1
    finally:
        empty.close()


def test_a_fleet_is_made_once(storage: SqlStorage) -> None:
    assert storage.head() == Head(1, 1, 0)
    assert storage.trust_domain() == DOMAIN
    before = storage.secrets()
    with pytest.raises(Conflict, match="a fleet already"):
        storage.initialise("evil.org", FleetSettings(), [], b"", NOW)
    assert storage.trust_domain() == DOMAIN
    assert storage.secrets() == before
    assert not storage.check()


def test_secrets_are_sealed_in_the_database(storage: SqlStorage) -> None:
    secret = SecretRow("signing-key", "x", "next", NOW, b"public", b"a private key of ours")
    storage.put_secret(secret, OPERATOR, NOW)
    assert secret in storage.secrets().signing_keys
    with storage._db.reading() as connection:
        rows = connection.execute(text("SELECT kind, id, public, sealed FROM secrets")).all()
    for row in rows:
        assert b"a private key of ours" not in bytes(row.sealed)
    assert "a private key of ours" not in str(storage.audit(0, Page()))


def test_an_ended_secret_is_believed_no_more_and_wiped(storage: SqlStorage) -> None:
    old = storage.secrets().authorities[0]
    storage.put_secret(dataclasses.replace(old, stage="ended"), OPERATOR, NOW)
    assert not storage.secrets().authorities
    with storage._db.reading() as connection:
        query = text("SELECT length(sealed) FROM secrets WHERE kind = 'authority'")
        assert connection.scalar(query) == 1 + 12 + 16, "nothing is in it"


def test_a_new_signing_key_makes_everybody_sign_anew(storage: SqlStorage) -> None:
    before = storage.head().version
    row = SecretRow("signing-key", "x", "next", NOW, bytes(32), b"private")
    storage.put_secrets([row], storage.secrets().key_set, OPERATOR, NOW)
    assert [row.cause for row in storage.changes(before)] == [Cause.EPOCH]


def test_the_end_of_certificates_is_known_by_when_they_were_issued(storage: SqlStorage) -> None:
    host = join(storage, "web-1")
    certify(storage, host, 1, NOW)
    certify(storage, host, 2, NOW + 500)
    assert storage.certificates_end(NOW) == 0
    assert storage.certificates_end(NOW + 1) == NOW + 3600
    assert storage.certificates_end(NOW + 501) == NOW + 4100
    storage.revoke_host("web-1", OPERATOR, "w", NOW)
    assert storage.certificates_end(NOW + 501) == 0, "a revoked one needs nobody's patience"


def test_the_key_set_is_the_newest(storage: SqlStorage) -> None:
    for content in (b"1", b"2", b"3"):
        storage.put_key_set(content, OPERATOR, NOW)
    assert storage.secrets().key_set == b"3"


def test_the_first_key_set_is_signed_by_the_first_key(storage: SqlStorage) -> None:
    secrets = storage.secrets()
    public = Rotation("signing key", secrets.signing_keys).active.public
    envelope = signed_pb2.Signed.FromString(secrets.key_set)
    payload = signed.open_signed(envelope, signed.KEY_SET, [public])
    assert signed_pb2.PolicyKeySet.FromString(payload).keys == [public]


def test_the_epoch_is_raised_above_all_that_was_seen(storage: SqlStorage) -> None:
    join(storage, "web-1")
    storage.note_seen({"web-1": Seen(at=NOW + 1, store_epoch=7, version=1)}, NOW + 1)
    head = storage.raise_epoch(OPERATOR, "restored", NOW + 2)
    assert head.store_epoch == 8
    assert storage.head() == head
    entry = storage.audit(0, Page()).items[0]
    assert (entry.what, entry.why, entry.version) == ("raise-epoch", "restored", head.version)


def test_a_restored_backup_is_noticed_and_gives_no_number_twice(
    request: pytest.FixtureRequest, url: str, tmp_path: Path
) -> None:
    storage = fleet(url)
    join(storage, "web-1")
    storage.close()
    if url.startswith("sqlite"):
        shutil.copy(tmp_path / "cordon.db", tmp_path / "backup.db")  # closed: it is whole
        restored = f"sqlite:///{tmp_path / 'backup.db'}"
    else:
        cluster: Cluster = request.getfixturevalue("postgresql")
        restored = cluster.url(cluster.create(url.rpartition("/")[2]))

    storage = open_store(url, MASTER)
    forgotten = join(storage, "web-2", now=NOW + 1)
    lost = storage.apply(changes(document("a")), 0, OPERATOR, "w", NOW)
    storage.close()

    storage = open_store(restored, MASTER)
    try:
        _follow_after_restore(storage, lost, forgotten.number)
    finally:
        storage.close()


def _follow_after_restore(storage: SqlStorage, lost: Head, forgotten: int) -> None:
    assert storage.head().version < lost.version
    assert not storage.check()
    seen = Seen(at=NOW + 9, store_epoch=lost.store_epoch, version=lost.version)
    storage.note_seen({"web-1": seen}, NOW + 9)
    (finding,) = storage.check()
    assert finding.startswith(f"host web-1 holds version {lost.version} of epoch 1")
    assert "raise-epoch" in finding
    assert storage.raise_epoch(OPERATOR, "restored", NOW + 9).store_epoch == 2
    assert not storage.check()
    again = join(storage, "web-2", now=NOW + 10)
    assert again.number > forgotten + SKIPPED_HOSTS // 2


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("UPDATE fleet SET audit = audit + 1", "audit: expected"),
        ("UPDATE fleet SET next_host = 1", "hosts: number 1 was given out"),
        ("UPDATE fleet SET revision = 2", "revisions: expected 2 rows"),
        ("DELETE FROM secrets WHERE kind = 'root'", "the store is empty"),
        ("UPDATE secrets SET stage = 'next'", "expected one active authority, got 0"),
        ("UPDATE secrets SET kind = 'authority' WHERE kind = 'root'", "does not open"),
        ("DELETE FROM secrets WHERE kind = 'signing-key'", "the set of policy keys: "),
    ],
)
def test_check_names_what_is_damaged(url: str, damage: str, finding: str) -> None:
    storage = fleet(url)
    try:
        join(storage, "web-1")
        storage.apply(changes(document("a"), numbers={"w": 256}), 0, OPERATOR, "w", NOW)
        assert not storage.check()
        with storage._db.first_writing() as connection:
            connection.execute(text(damage))
        found = "; ".join(storage.check())
        assert finding in found
    finally:
        storage.close()
