# SPDX-License-Identifier: Apache-2.0
"""One controller on SQLite for a module's tests, and a store beside it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.access_records import Role
from controller.store import SqlStorage
from tests.server.administering import Administrator, administrator
from tests.server.served import Pair, Served, Site
from tests.store.postgres import Cluster


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("controller"))
    site.write(reflection=True)
    site.init()
    return site


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Served]:
    with Served(site) as running:
        yield running


@pytest.fixture
def storage(site: Site) -> Iterator[SqlStorage]:
    """The same store, in this process."""
    with site.store() as opened:
        yield opened


@pytest.fixture(scope="module")
def editor(served: Served) -> Iterator[Administrator]:
    with served.site.store() as storage, administrator(served, storage, Role.EDITOR) as one:
        yield one


@pytest.fixture
def pair(postgresql: Cluster, tmp_path: Path) -> Iterator[Pair]:
    name = postgresql.create()
    sites = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        site = Site(folder, postgresql.url(name), f"ctl-{number}")
        site.write()
        sites.append(site)
    sites[0].init()
    (sites[1].folder / "state").mkdir(mode=0o700)
    shutil.copy(sites[0].folder / "state/master.key", sites[1].folder / "state/master.key")
    with sites[0].store() as storage, Served(sites[0]) as first, Served(sites[1]) as second:
        yield first, second, storage
    postgresql.drop(name)
