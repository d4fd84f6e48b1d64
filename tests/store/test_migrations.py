# SPDX-License-Identifier: Apache-2.0
"""Tables: made by migrations, and the same as `tables.py` says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from controller.storage import Refused, Unavailable
from controller.store import SqlStorage, migrating, open_store, upgrade
from controller.store.database import Database
from controller.store.tables import metadata
from tests.store.making import MASTER


def test_migrations_make_the_tables_that_the_store_knows(url: str) -> None:
    assert upgrade(url) == ("", migrating.head())
    database = Database(url)
    try:
        with database.reading() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []
    finally:
        database.close()


def test_migrating_again_changes_nothing(url: str) -> None:
    upgrade(url)
    assert upgrade(url) == (migrating.head(), migrating.head())


def test_two_that_migrate_at_once_do_it_once(url: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = sorted(pool.map(lambda _: upgrade(url), range(2)))
    assert done == [("", migrating.head()), (migrating.head(), migrating.head())]


def test_tables_of_another_version_are_refused(url: str, storage: SqlStorage) -> None:
    with storage._db.first_writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'newer'"))
    with pytest.raises(Refused, match="tables are of newer, expected"):
        open_store(url, MASTER)


def test_a_database_without_tables_is_refused(url: str) -> None:
    with pytest.raises(Refused, match="`cordon-controller store migrate`"):
        open_store(url, MASTER)


def test_sqlite_is_durable_and_keeps_its_references(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'cordon.db'}")
    try:
        with database.reading() as connection:
            for pragma, value in (
                ("journal_mode", "wal"),
                ("synchronous", 2),
                ("foreign_keys", 1),
                ("busy_timeout", 10_000),
            ):
                assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value
    finally:
        database.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "not an url", "sqlite+aiosqlite:///x"])
def test_another_database_is_refused_without_showing_the_url(url: str) -> None:
    with pytest.raises(Unavailable) as caught:
        Database(url)
    assert "x/y" not in str(caught.value)


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    gone = "postgresql+psycopg://cordon:geheim@127.0.0.1:1/cordon"
    with pytest.raises(Unavailable) as caught:
        open_store(gone, MASTER)
    assert "geheim" not in str(caught.value)
