# SPDX-License-Identifier: Apache-2.0
"""Kernel tests: each is marked `kernel`, needs root, and may ask for a lab of two hosts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.kernel)


@pytest.fixture(autouse=True)
def _root(require_root: None) -> None:
    """Every test of this folder needs root."""


@pytest.fixture
def lab(require_root: None) -> Iterator[Lab]:
    """Two hosts, `a` and `b`, on one wire, without agents."""
    with Lab("a", "b") as built:
        yield built
