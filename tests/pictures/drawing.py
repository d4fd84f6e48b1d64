# SPDX-License-Identifier: Apache-2.0
"""Draws a dashboard's panels where its grid has them, from what Prometheus answered.

Not Grafana's look, but its arrangement: titles, units, thresholds, stacking, and legends with the
last and the greatest value.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib import dates, ticker
from matplotlib.figure import Figure
from PIL import Image

from tests.pictures.board import COLUMNS, Board, Panel
from tests.pictures.units import text

WIDTH, DPI = 12.0, 100
"""Inches, and dots in each."""
UNIT = 0.34
"""Inches of one unit of the grid's height."""
HEAD = 0.5
GAP = 0.06
COLOURS = 128
"""Of the file: more than are told apart in lines and letters, and a third of the size."""
LEGEND_LINES = 4
LEGEND_LINE, TITLE, AXIS, MARGIN = 0.15, 0.24, 0.2, 0.62
"""Inches: a line of a legend, a title, the axis of time, and the room for values."""
BACKGROUND, BOX, EDGE, INK, PALE = "#f4f5f5", "#ffffff", "#d8d9da", "#24292e", "#8e8e8e"
PAINTS = {"green": "#56a64b", "red": "#e02f44", "orange": "#ff780a", "yellow": "#f2cc0c",
          "blue": "#3274d9"}  # fmt: skip
LINES = (
    "#56a64b", "#3274d9", "#ff780a", "#e02f44", "#8f3bb8", "#f2cc0c", "#37872d", "#1f60c4",
    "#fa6400", "#c4162a",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One series: seconds since 1970 and values."""

    name: str
    points: Sequence[tuple[float, float]]


Answers = Mapping[str, Sequence[Line]]
"""By the panel's title and place, see `key`."""


def key(panel: Panel) -> str:
    return f"{panel.title}@{panel.at}"


def draw(board: Board, answers: Answers, note: str = "") -> bytes:
    """A PNG."""
    height = board.height * UNIT + HEAD
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=BACKGROUND)
    canvas = _Canvas(figure, height)
    canvas.words(0.1, 0.3, board.title, size=13, weight="bold")
    canvas.words(WIDTH - 0.1, 0.3, note, size=8, color=PALE, ha="right")
    for panel in board.panels:
        _KINDS[panel.kind](canvas, panel, answers.get(key(panel), ()))
    return _file(figure)


def _file(figure: Figure) -> bytes:
    raw, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", facecolor=figure.get_facecolor())
    image = Image.open(raw).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(packed, format="png", optimize=True)
    return packed.getvalue()


class _Canvas:
    """The figure, measured in inches from its upper left corner, as grids are read."""

    def __init__(self, figure: Figure, height: float) -> None:
        self.figure = figure
        self._height = height

    def place(self, panel: Panel) -> tuple[float, float, float, float]:
        """x, y, width, height of a panel's box."""
        x, y, w, h = panel.at
        column = WIDTH / COLUMNS
        return x * column + GAP, HEAD + y * UNIT + GAP, w * column - 2 * GAP, h * UNIT - 2 * GAP

    def axes(self, x: float, y: float, width: float, height: float, **style: Any) -> Any:
        box = (x / WIDTH, 1 - (y + height) / self._height, width / WIDTH, height / self._height)
        return self.figure.add_axes(box, **style)

    def box(self, panel: Panel, colour: str = BOX) -> tuple[float, float, float, float]:
        """The panel's frame with its title; returns its place."""
        x, y, width, height = self.place(panel)
        axes = self.axes(x, y, width, height, facecolor=colour)
        axes.set(xticks=[], yticks=[])
        for side in axes.spines.values():
            side.set_color(EDGE)
        paint = INK if colour == BOX else "white"
        self.words(x + 0.08, y + 0.17, panel.title, size=9, weight="bold", color=paint)
        return x, y, width, height

    def words(self, x: float, y: float, what: str, size: float, **style: Any) -> None:
        style = {"color": INK, "va": "center", **style}
        self.figure.text(x / WIDTH, 1 - y / self._height, what, fontsize=size, **style)


def _row(canvas: _Canvas, panel: Panel, lines: Sequence[Line]) -> None:
    x, y, _, height = canvas.place(panel)
    canvas.words(x, y + height / 2, panel.title, size=10, weight="bold")


def _stat(canvas: _Canvas, panel: Panel, lines: Sequence[Line]) -> None:
    last = [(line.points[-1], line.name) for line in lines if line.points]
    if not last:
        x, y, width, height = canvas.box(panel)
        canvas.words(x + width / 2, y + height / 2, "No data", size=12, color=PALE, ha="center")
        return
    (_, value), name = max(last, key=lambda one: one[0][0])  # others have ended: a state of before
    colour = panel.colour(value, name)
    x, y, width, height = canvas.box(panel, PAINTS.get(colour, colour))
    shown = name if panel.names else text(value, panel.unit)
    canvas.words(x + width / 2, y + height / 2 + 0.08, shown, size=18, color="white", ha="center")


def _timeseries(canvas: _Canvas, panel: Panel, lines: Sequence[Line]) -> None:
    x, y, width, height = canvas.box(panel)
    lines = [line for line in lines if line.points]
    if not lines:
        canvas.words(x + width / 2, y + height / 2, "No data", size=11, color=PALE, ha="center")
        return
    shown = min(len(lines), LEGEND_LINES)
    legend = (shown + (len(lines) > shown)) * LEGEND_LINE
    inner = height - TITLE - AXIS - legend - 0.1
    axes = canvas.axes(x + MARGIN, y + TITLE, width - MARGIN - 0.1, inner, facecolor=BOX)
    _plot(axes, panel, lines)
    _style(axes, panel)
    _legend(canvas, panel, lines, (x, y + TITLE + inner + AXIS + 0.12, width))


def _plot(axes: Any, panel: Panel, lines: Sequence[Line]) -> None:
    base: dict[float, float] = {}
    for line, colour in zip(lines, _paints(lines), strict=True):
        if panel.stacked and not _greatest(line):
            continue  # its line would lie on another's
        moments = [datetime.fromtimestamp(at, UTC) for at, _ in line.points]
        under = [base.get(at, 0.0) if panel.stacked else 0.0 for at, _ in line.points]
        over = [below + value for below, (_, value) in zip(under, line.points, strict=True)]
        axes.plot(moments, over, color=colour, linewidth=1.0)
        axes.fill_between(
            moments, under, over, color=colour, alpha=0.25 if panel.stacked else 0.08, linewidth=0
        )
        base.update({at: top for (at, _), top in zip(line.points, over, strict=True)})


def _greatest(line: Line) -> float:
    return max(value for _, value in line.points)


def _paints(lines: Sequence[Line]) -> list[str]:
    return [LINES[number % len(LINES)] for number in range(len(lines))]


def _style(axes: Any, panel: Panel) -> None:
    axes.set_ylim(bottom=0)
    top = axes.get_ylim()[1]
    if not math.isfinite(top) or top <= 0.06:
        top = max((max(line.get_ydata(), default=0.0) for line in axes.lines), default=0.0)
        axes.set_ylim(0, top * 1.05 or 1.0)
    axes.yaxis.set_major_locator(ticker.MaxNLocator(4, prune="upper"))
    axes.yaxis.set_major_formatter(lambda value, _: text(value, panel.unit))
    most = 2 + panel.at[2] // 3
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=1, maxticks=most))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
    axes.tick_params(labelsize=7, colors=INK, length=0)
    axes.grid(visible=True, color=EDGE, linewidth=0.5)
    axes.margins(x=0)
    for side in axes.spines.values():
        side.set_visible(False)


def _legend(
    canvas: _Canvas, panel: Panel, lines: Sequence[Line], place: tuple[float, float, float]
) -> None:
    """Those with the greatest values first: there is not room for all."""
    x, y, width = place
    pairs = sorted(zip(lines, _paints(lines), strict=True), key=lambda pair: -_greatest(pair[0]))
    for number, (line, colour) in enumerate(pairs):
        at = y + number * LEGEND_LINE
        if number == LEGEND_LINES:
            canvas.words(x + 0.22, at, f"and {len(lines) - number} more", size=7, color=PALE)
            return
        last, greatest = line.points[-1][1], _greatest(line)
        numbers = f"last {text(last, panel.unit)}   max {text(greatest, panel.unit)}"
        canvas.words(x + 0.1, at, "■", size=7, color=colour)
        canvas.words(x + 0.22, at, line.name, size=7)
        canvas.words(x + width - 0.1, at, numbers, size=7, ha="right")


_KINDS = {"row": _row, "stat": _stat, "timeseries": _timeseries}


def write(path: Path, picture: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture)
