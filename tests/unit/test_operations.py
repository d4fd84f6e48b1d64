# SPDX-License-Identifier: Apache-2.0
"""docs/operations.md: each test that it names is there, and each fault of its tables has one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.core.log_events import EVENTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.M)
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)))
BY_OTHER_MEANS = {23}
"""A kernel on which the verifier refuses: the page says how that is found."""


def test_every_fault_has_its_row() -> None:
    assert sorted(int(number) for number, _ in ROWS) == sorted({*range(1, 41)} - BY_OTHER_MEANS)


@pytest.mark.parametrize(("number", "row"), ROWS, ids=[number for number, _ in ROWS])
def test_every_row_says_everything(number: str, row: str) -> None:
    fault, holds, seen, done, proofs = row.split(" | ")
    assert min(map(len, (fault, holds, seen, done))) > 0
    assert re.fullmatch(r"`[\w/.:]+`(<br>`[\w/.:]+`)*", proofs)


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[test for _, test in NAMED])
def test_every_test_that_is_named_is_there(file: str, test: str) -> None:
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    assert re.search(rf"^def {test}\(", text, re.M), f"tests/{file} has no {test}"


def test_alerts_and_events_that_are_named_are_there() -> None:
    rules = (ROOT / "packaging" / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    for alert in set(re.findall(r"`(Cordon[A-Z]\w+)`", PAGE)):
        assert f"alert: {alert}\n" in rules, alert
    seen = " ".join(row.split(" | ")[2] for _, row in ROWS)
    other = {"status", "process_map_full", "watchdog", "syncing", "cordon_bpf_map_entries",
             "cordon_controller_refusals_total"}  # fmt: skip
    for name in set(re.findall(r"`([a-z_]+)`", seen)) - other:
        assert name in EVENTS.values(), name
