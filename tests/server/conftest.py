# SPDX-License-Identifier: Apache-2.0
"""One controller on SQLite for a module's tests, and a store beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controller.store import SqlStorage
from tests.server.served import Served, Site


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
