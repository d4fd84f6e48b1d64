# SPDX-License-Identifier: Apache-2.0
"""Every test of the contract runs twice: on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.store import SqlStorage, open_store
from tests.store import making
from tests.store.postgres import Cluster


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of an empty database."""
    if request.param == "sqlite":
        yield making.sqlite_url(tmp_path)
        return
    cluster: Cluster = request.getfixturevalue("postgresql")
    name = cluster.create()
    yield cluster.url(name)
    cluster.drop(name)


@pytest.fixture
def storage(url: str) -> Iterator[SqlStorage]:
    """A fleet without hosts."""
    opened = making.fleet(url)
    yield opened
    opened.close()


@pytest.fixture
def other(url: str, storage: SqlStorage) -> Iterator[SqlStorage]:
    """The same store, as another controller has it."""
    opened = open_store(url, making.MASTER)
    yield opened
    opened.close()
