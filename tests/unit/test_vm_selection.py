# SPDX-License-Identifier: Apache-2.0
"""The tests that virtual machines are to run are there, whatever was renamed meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.selection import FEW_TESTS, TESTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("named", TESTS)
def test_selected_test_is_there(named: str) -> None:
    file, _, test = named.partition("::")
    source = (ROOT / file).read_text(encoding="utf-8")
    assert f"\ndef {test.partition('[')[0]}(" in source if test else "\ndef test_" in source


def test_what_a_change_has_to_pass_is_part_of_the_whole() -> None:
    assert set(FEW_TESTS) < set(TESTS)
    assert any("test_held_between_hosts" in test for test in FEW_TESTS), "a scenario of two hosts"
