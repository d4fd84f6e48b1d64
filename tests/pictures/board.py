# SPDX-License-Identifier: Apache-2.0
"""A dashboard's JSON as values: which panels there are, where, and what each asks. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLUMNS = 24
"""Of Grafana's grid."""
KINDS = ("stat", "timeseries", "row")
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Query:
    """legend: as Grafana has it, with {{label}} for a label's value; "" for all labels."""

    expression: str
    legend: str

    def name(self, labels: Labels) -> str:
        """Of a series that answers it."""
        if not self.legend:
            return ", ".join(f"{k}={v}" for k, v in sorted(labels.items())) or self.expression
        return re.sub(
            r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), self.legend
        ).strip()


@dataclass(frozen=True)
class Panel:
    """at: x, y, width and height in the grid. steps: colours, each from its value on.

    names: whether a stat shows its series' name and not its value.
    """

    kind: str
    title: str
    at: tuple[int, int, int, int]
    queries: Sequence[Query]
    unit: str
    steps: Sequence[tuple[float, str]]
    stacked: bool
    names: bool

    def colour(self, value: float) -> str:
        """By the steps; the last that the value reaches."""
        reached = [colour for begin, colour in self.steps if value >= begin]
        return reached[-1] if reached else "green"


@dataclass(frozen=True)
class Board:
    title: str
    panels: Sequence[Panel]

    @property
    def height(self) -> int:
        """In units of the grid."""
        return max(panel.at[1] + panel.at[3] for panel in self.panels)


def parse(board: Mapping[str, Any], variables: Mapping[str, str]) -> Board:
    """variables: values for $name in queries. Raises ValueError for what cannot be drawn."""
    panels = [_panel(panel, variables) for panel in board["panels"]]
    return Board(board["title"], panels)


def _panel(panel: Mapping[str, Any], variables: Mapping[str, str]) -> Panel:
    kind, title = panel["type"], panel["title"]
    if kind not in KINDS:
        raise ValueError(f"panel {title!r}: nothing draws a {kind!r} yet, only {', '.join(KINDS)}")
    grid, field = panel["gridPos"], panel.get("fieldConfig", {}).get("defaults", {})
    steps = field.get("thresholds", {}).get("steps", [])
    return Panel(
        kind=kind,
        title=title,
        at=(grid["x"], grid["y"], grid["w"], grid["h"]),
        queries=[
            Query(_filled(target["expr"], variables), target.get("legendFormat") or "")
            for target in panel.get("targets", [])
        ],
        unit=field.get("unit", "none"),
        steps=[
            (float("-inf") if step["value"] is None else step["value"], step["color"])
            for step in steps
        ],
        stacked=field.get("custom", {}).get("stacking", {}).get("mode") == "normal",
        names=(panel.get("options") or {}).get("textMode") == "name",
    )


def _filled(expression: str, variables: Mapping[str, str]) -> str:
    for name, value in variables.items():
        expression = expression.replace(f"${name}", value)
    if "$" in expression:
        raise ValueError(f"a variable without a value: {expression}")
    return expression
