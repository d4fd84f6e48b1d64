# SPDX-License-Identifier: Apache-2.0
"""The entry point: a fleet under the soak's traffic and disturbances, scraped for some minutes;
then each shipped dashboard as a picture in docs/pictures. Needs root; nothing else stays.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path

import click

from tests.lab.cordon import ROOT
from tests.lab.host import LabHost
from tests.lab.prometheus import Prometheus
from tests.lab.waiting import wait_until
from tests.pictures import drawing
from tests.pictures.board import Board, Panel, Query, parse
from tests.pictures.drawing import Line
from tests.soak.disturb import Disturber, disturb
from tests.soak.scene import Scene, scene

SHIPPED = ROOT / "packaging"
PORT = 9420
SCRAPE_SECONDS = 5
RATE_INTERVAL = f"{4 * SCRAPE_SECONDS}s"
"""Four scrapes, as Grafana has it."""
POINTS = 120
NOTE = "drawn by scripts/picture-dashboards from the dashboard's own queries; not by Grafana"


def start_prometheus(built: Scene) -> Prometheus:
    """On the controller's host, with the configuration that is shipped but for times and places."""
    desk: LabHost = built.fleet.controller.lab
    config = (SHIPPED / "prometheus/scrape.yml").read_text()
    agents = ", ".join(f'"{host.lab.v4}:{PORT}"' for host in built.fleet.hosts.values())
    for old, new in {
        "30s": f"{SCRAPE_SECONDS}s",
        f'"127.0.0.1:{PORT}"': agents,
        "127.0.0.1:9440": built.fleet.controller.metrics,
    }.items():
        assert old in config, f"scrape.yml has changed: {old} is gone"
        config = config.replace(old, new)
    (desk.folder / "prometheus").mkdir(mode=0o700)
    shutil.copy(SHIPPED / "prometheus/rules.yml", desk.folder / "prometheus")
    prometheus = Prometheus.start(desk, config)
    wait_until(
        lambda: prometheus.query("sum(up)") == {(): 3.0}, "all are scraped", 60.0, interval=0.5
    )
    return prometheus


def ask(prometheus: Prometheus, panel: Panel, span: tuple[float, float]) -> list[Line]:
    found: list[Line] = []
    for query in panel.queries:
        found += _lines(prometheus, query, span)
    return found


def _lines(prometheus: Prometheus, query: Query, span: tuple[float, float]) -> list[Line]:
    begin, end = span
    step = max(SCRAPE_SECONDS, (end - begin) / POINTS)
    return [
        Line(query.name(labels), [(at, value) for at, value in points if math.isfinite(value)])
        for labels, points in prometheus.query_range(query.expression, begin, end, step)
    ]


def picture(prometheus: Prometheus, board: Board, span: tuple[float, float]) -> bytes:
    answers = {drawing.key(panel): ask(prometheus, panel, span) for panel in board.panels}
    return drawing.draw(board, answers, NOTE)


@click.command()
@click.option("--minutes", type=click.FloatRange(1.0, 120.0), default=8.0, show_default=True)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "docs/pictures",
    show_default=True,
)
def main(minutes: float, folder: Path) -> None:
    """Draw the shipped dashboards from a fleet that runs for so many minutes."""
    with scene(metrics=f"[::]:{PORT}", metrics_rules=20) as built:
        prometheus = start_prometheus(built)
        begin = time.time()
        disturb(Disturber(built), minutes * 60, pause=20.0)
        time.sleep(2 * SCRAPE_SECONDS)  # so that the last scrape is of a fleet that is whole again
        span = (begin, time.time())
        variables = {"instance": f"{built.b.lab.v4}:{PORT}", "__rate_interval": RATE_INTERVAL}
        for path in sorted((SHIPPED / "grafana").glob("*.json")):
            board = parse(json.loads(path.read_text()), variables)
            target = folder / f"{path.stem}.png"
            drawing.write(target, picture(prometheus, board, span))
            click.echo(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
