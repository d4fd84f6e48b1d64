# SPDX-License-Identifier: Apache-2.0
"""A dashboard's JSON as values: which panels there are, where, and what each asks. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

    fixed: colours of series by their name, whatever their value is.
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
    fixed: Labels = field(default_factory=dict)

    def colour(self, value: float, name: str = "") -> str:
        """Of the series' name if it has one, else by the steps; the last that the value reaches."""
        if name in self.fixed:
            return self.fixed[name]
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
    grid, config = panel["gridPos"], panel.get("fieldConfig", {})
    usual = config.get("defaults", {})
    steps = usual.get("thresholds", {}).get("steps", [])
    return Panel(
        kind=kind,
        title=title,
        at=(grid["x"], grid["y"], grid["w"], grid["h"]),
        queries=[
            Query(_filled(target["expr"], variables), target.get("legendFormat") or "")
            for target in panel.get("targets", [])
        ],
        unit=usual.get("unit", "none"),
        steps=[
            (float("-inf") if step["value"] is None else step["value"], step["color"])
            for step in steps
        ],
        stacked=usual.get("custom", {}).get("stacking", {}).get("mode") == "normal",
        names=(panel.get("options") or {}).get("textMode") == "name",
        fixed=dict(_fixed(title, one) for one in config.get("overrides", [])),
    )


def _fixed(title: str, override: Mapping[str, Any]) -> tuple[str, str]:
    """The name and the colour of an override that says nothing else."""
    match override:
        case {
            "matcher": {"id": "byName", "options": str(name)},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": str(colour)}}],
        }:
            return name, colour
    raise ValueError(f"panel {title!r}: nothing draws an override such as {override} yet")


def _filled(expression: str, variables: Mapping[str, str]) -> str:
    for name, value in variables.items():
        expression = expression.replace(f"${name}", value)
    if "$" in expression:
        raise ValueError(f"a variable without a value: {expression}")
    return expression
