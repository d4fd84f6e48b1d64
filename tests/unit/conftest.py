# SPDX-License-Identifier: Apache-2.0
"""What several files of these tests begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.local_agent import LocalAgent, local_agent


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[LocalAgent]:
    """One that `cordonctl` can ask."""
    with local_agent(tmp_path) as running:
        yield running
