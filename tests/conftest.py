# SPDX-License-Identifier: Apache-2.0
"""What all tests share: the rule for tests that this machine cannot run, and a database server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.store.postgres import Cluster

settings.register_profile("house", settings(), deadline=None)
settings.load_profile("house")
"""No test asserts how long something takes: another process may have the core just then."""


def cannot_run(reason: str) -> None:
    """Skip with the reason; in CI (CI=true), where every test has to run, fail with it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; in CI this test must run")
    pytest.skip(reason)


@pytest.fixture
def require_root() -> None:
    """For a test that needs root."""
    if os.geteuid() != 0:
        cannot_run("needs root: run as root, or `make check` for the tests that do not")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A real PostgreSQL server, started for the first test that asks and stopped after the last."""
    from tests.store.postgres import Cluster, PostgresError, binaries

    try:
        binaries()
    except PostgresError as error:
        cannot_run(str(error))
    with Cluster() as running:
        yield running
