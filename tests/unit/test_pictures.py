# SPDX-License-Identifier: Apache-2.0
"""Whatever the shipped dashboards hold can be drawn, and what is drawn is what was answered."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from agent.core.standing import State
from tests.pictures import drawing, units
from tests.pictures.board import COLUMNS, Board, Panel, Query, parse
from tests.pictures.drawing import Line, draw, key

ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((ROOT / "packaging/grafana").glob("*.json"))
VARIABLES = {"instance": "192.0.2.1:9420", "__rate_interval": "20s"}
NOON = 1_900_000_000.0
MOST_BYTES = 150_000
"""Of a picture in the documentation."""
SHADES = 48
"""By as much two pictures may differ that have been reduced to other sets of colours."""


def shipped(path: Path) -> Board:
    return parse(json.loads(path.read_text()), VARIABLES)


def lines(count: int = 2) -> list[Line]:
    return [
        Line(f"series {number}", [(NOON + at * 5.0, 1.0 + number + at % 3) for at in range(60)])
        for number in range(count)
    ]


def image(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture)).convert("RGB")


def panel(kind: str, **more: Any) -> Panel:
    drawn: dict[str, Any] = {
        "title": "a title", "at": (0, 0, 24, 8), "queries": [], "unit": "none",
        "steps": [(float("-inf"), "green"), (1.0, "red")], "stacked": False, "names": False,
    }  # fmt: skip
    return Panel(kind=kind, **{**drawn, **more})


def difference(one: bytes, other: bytes) -> Image.Image:
    changed = ImageChops.difference(image(one), image(other)).convert("L")
    return changed.point([0] * SHADES + [255] * (256 - SHADES))


def box_of(drawn: Panel) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in dots."""
    x, y, width, height = drawn.at
    unit, head = drawing.UNIT * drawing.DPI, drawing.HEAD * drawing.DPI
    column = drawing.WIDTH * drawing.DPI / COLUMNS
    edges = (x * column, head + y * unit, (x + width) * column, head + (y + height) * unit)
    return (round(edges[0]), round(edges[1]), round(edges[2]), round(edges[3]))


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_of_a_shipped_dashboard_is_drawn(path: Path) -> None:
    board = shipped(path)
    filled = draw(board, {key(drawn): lines() for drawn in board.panels})
    changed = difference(draw(board, {}), filled)
    for drawn in board.panels:
        if drawn.kind != "row":
            assert changed.crop(box_of(drawn)).getbbox(), drawn.title


@pytest.mark.parametrize("kind", ["stat", "timeseries"])
def test_panel_is_drawn_in_its_place_and_nowhere_else(kind: str) -> None:
    places = [(x, y, 12, 8) for x in (0, 12) for y in (0, 8)]
    board = Board("x", [panel(kind, at=place) for place in places])
    empty = draw(board, {})
    for drawn in board.panels:
        changed = difference(empty, draw(board, {key(drawn): lines()})).getbbox()
        assert changed is not None
        left, top, right, bottom = box_of(drawn)
        assert left - 1 <= changed[0] < changed[2] <= right + 1
        assert top - 1 <= changed[1] < changed[3] <= bottom + 1


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboard_has_its_picture_in_the_documentation(path: Path) -> None:
    picture = ROOT / "docs/pictures" / f"{path.stem}.png"
    assert 0 < picture.stat().st_size < MOST_BYTES
    assert f"(pictures/{picture.name})" in (ROOT / "docs/metrics.md").read_text()
    width, height = image(picture.read_bytes()).size
    assert width == drawing.WIDTH * drawing.DPI
    tall = shipped(path).height * drawing.UNIT + drawing.HEAD
    assert abs(height - tall * drawing.DPI) <= 1, "drawn from another state of the dashboard"


def test_panel_of_another_kind_is_refused_by_name() -> None:
    board = {"title": "x", "panels": [{"type": "heatmap", "title": "y", "gridPos": {}}]}
    with pytest.raises(ValueError, match=r"panel 'y': nothing draws a 'heatmap' yet"):
        parse(board, {})


def test_variable_without_a_value_is_refused() -> None:
    target = {"expr": "rate(x[$__rate_interval])"}
    grid = {"x": 0, "y": 0, "w": 1, "h": 1}
    board = {
        "title": "x",
        "panels": [{"type": "stat", "title": "y", "gridPos": grid, "targets": [target]}],
    }
    with pytest.raises(ValueError, match="a variable without a value"):
        parse(board, {})


def test_stat_takes_the_colour_of_its_last_value() -> None:
    assert panel("stat").colour(0.0) == "green"
    assert panel("stat").colour(1.0) == "red"
    board = Board("x", [panel("stat")])
    last = [Line("a", [(NOON, 0.0), (NOON + 5, 2.0)])]
    red = tuple(bytes.fromhex(drawing.PAINTS["red"].removeprefix("#")))
    assert red in set(image(draw(board, {key(board.panels[0]): last})).getdata())


def test_stat_that_shows_a_name_takes_the_colour_of_the_name_that_holds_now() -> None:
    fixed = {"in_sync": "green", "stale": "orange"}
    board = Board("x", [panel("stat", names=True, fixed=fixed)])
    over = Line("in_sync", [(NOON, 1.0), (NOON + 5, 1.0)])
    now = Line("stale", [(NOON + 10, 1.0)])
    colours = set(image(draw(board, {key(board.panels[0]): [now, over]})).getdata())
    orange, green = (
        tuple(bytes.fromhex(drawing.PAINTS[name].removeprefix("#"))) for name in ("orange", "green")
    )
    assert orange in colours
    assert green not in colours


def test_override_that_nothing_draws_is_refused() -> None:
    override = {"matcher": {"id": "byName", "options": "a"}, "properties": [{"id": "unit"}]}
    grid = {"x": 0, "y": 0, "w": 1, "h": 1}
    unknown = {
        "type": "stat", "title": "y", "gridPos": grid, "fieldConfig": {"overrides": [override]},
    }  # fmt: skip
    with pytest.raises(ValueError, match="nothing draws an override such as"):
        parse({"title": "x", "panels": [unknown]}, {})


def test_state_of_a_host_is_green_only_while_all_is_well() -> None:
    board = shipped(ROOT / "packaging/grafana/host.json")
    [shown] = [drawn for drawn in board.panels if drawn.names]
    colours = {state: shown.fixed[state.value] for state in State}
    assert [state for state, colour in colours.items() if colour == "green"] == [State.IN_SYNC]
    for state, colour in colours.items():
        assert (colour in ("orange", "red")) is not state.good, state
    assert shown.colour(1.0, "of a newer agent") == "orange"


def test_legend_names_a_series_by_its_labels() -> None:
    labels = {"direction": "egress", "reason": "no_rule"}
    assert Query("x", "{{direction}} {{reason}}").name(labels) == "egress no_rule"
    assert Query("x", "half").name(labels) == "half"
    assert Query("x", "").name(labels) == "direction=egress, reason=no_rule"
    assert Query("x", "").name({}) == "x"


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (0.0, "s", "0 s"),
        (0.0123, "s", "12.3 ms"),
        (7200.0, "s", "2 h"),
        (83_886_080.0, "bytes", "80 MiB"),
        (0.5, "percentunit", "50 %"),
        (12.0, "none", "12"),
        (1234.0, "none", "1234"),
        (100.0, "ops", "100 ops/s"),
        (1500.0, "short", "1.5 K"),
    ],
)
def test_values_are_written_by_their_unit(value: float, unit: str, written: str) -> None:
    assert units.text(value, unit) == written


def test_unit_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="'parsecs'"):
        units.text(1.0, "parsecs")
