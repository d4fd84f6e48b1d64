# SPDX-License-Identifier: Apache-2.0
"""The store that most tests of streams begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.store import SqlStorage
from tests.control import fleet
from tests.control.fleet import POLICY, join
from tests.store import making


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SqlStorage]:
    """A fleet of three hosts under the base policy."""
    opened = making.fleet(making.sqlite_url(tmp_path))
    for number, (name, role) in enumerate({"a": "web", "b": "db", "c": "other"}.items(), 1):
        join(opened, name, number, {"role": role})
    fleet.apply(opened, POLICY)
    yield opened
    opened.close()
