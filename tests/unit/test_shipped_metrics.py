# SPDX-License-Identifier: Apache-2.0
"""What is shipped for Prometheus and Grafana: names that exist, alerts that are explained."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "packaging" / "prometheus"
DASHBOARDS = sorted((ROOT / "packaging" / "grafana").glob("*.json"))
MEANS_LOOK_DO = ("**Means:**", "**Do:**")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def undocumented(expression: str) -> list[str]:
    documented = (ROOT / "docs" / "metrics.md").read_text()
    names = re.findall(r"\bcordon_[a-z_]+\b(?!\s*=)", expression)
    bare = [name.removesuffix("_bucket") for name in names]
    return [name for name in bare if f"`{name}`" not in documented]


def test_there_are_enough_alerts() -> None:
    assert len(alerts()) >= 10


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_alert_asks_for_metrics_that_exist_and_has_its_section(alert: dict[str, Any]) -> None:
    assert undocumented(alert["expr"]) == []
    name = alert["alert"]
    assert alert["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    _, found, rest = (ROOT / "docs" / "runbook.md").read_text().partition(f"\n## {name}\n")
    assert found, f"docs/runbook.md has no section {name}"
    section = rest.partition("\n## ")[0]
    assert all(word in section for word in MEANS_LOOK_DO)


def test_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.M)
    assert sorted(sections) == sorted(alert["alert"] for alert in alerts())


def test_every_alert_is_tested_to_speak_and_to_be_silent() -> None:
    cases = yaml.safe_load((PROMETHEUS / "rules.test.yml").read_text())["tests"]
    checks = [check for case in cases for check in case["alert_rule_test"]]
    names = {alert["alert"] for alert in alerts()}
    assert {check["alertname"] for check in checks if check["exp_alerts"]} == names
    assert {check["alertname"] for check in checks if not check["exp_alerts"]} == names


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (panel for panel in board["panels"] if panel["type"] != "row")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboard_asks_for_metrics_that_exist(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == f"cordon-{path.stem}"
    for panel in panels(board):
        assert panel["description"], panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert undocumented(target["expr"]) == [], panel["title"]
            assert target["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_panels_do_not_overlap(path: Path) -> None:
    board = json.loads(path.read_text())
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert taken.isdisjoint(cells), panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
