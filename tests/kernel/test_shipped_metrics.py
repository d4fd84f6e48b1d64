# SPDX-License-Identifier: Apache-2.0
"""The shipped scrape configuration, alerts and dashboards in a real Prometheus with real agents."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.world import BASE, World
from tests.lab import wait_until
from tests.lab.cordon import ROOT, cordon
from tests.lab.prometheus import Prometheus, promtool

SHIPPED = ROOT / "packaging" / "prometheus"
DASHBOARDS = sorted((ROOT / "packaging" / "grafana").glob("*.json"))
SCRAPE_SECONDS = 15.0


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with cordon(BASE) as running:
        yield World.build(running)


@pytest.fixture(scope="module")
def prometheus(world: World) -> Prometheus:
    folder = world.b.folder / "prometheus"
    folder.mkdir()
    shutil.copy(SHIPPED / "rules.yml", folder)
    config = (SHIPPED / "scrape.yml").read_text()
    assert config.count("30s") == 2
    # The intervals alone are changed, because a test does not wait for half a minute.
    running = Prometheus.start(
        world.b, config.replace("30s", "500ms").replace("scrape_timeout: 5s", "")
    )
    wait_until(lambda: running.query("cordon_build_info"), "a first scrape", timeout=SCRAPE_SECONDS)
    return running


def test_rules_and_scrape_configuration_are_as_promtool_wants_them() -> None:
    promtool("check", "config", SHIPPED / "scrape.yml")
    promtool("check", "rules", SHIPPED / "rules.yml")


def test_alerts_speak_and_are_silent_where_they_should() -> None:
    promtool("test", "rules", SHIPPED / "rules.test.yml")


def test_healthy_agent_raises_no_alert(prometheus: Prometheus) -> None:
    assert prometheus.query("up") == {(): 1.0}
    assert prometheus.query("ALERTS") == {}


def test_suspended_agent_raises_the_alert_that_nothing_is_enforced(
    world: World, prometheus: Prometheus
) -> None:
    pending = 'ALERTS{alertname="CordonEnforcementAbsent"}'
    config = str(world.cordon["b"].config)
    environment = {"PYTHONPATH": str(ROOT)}
    argv = [str(ROOT / ".venv/bin/python"), "-m", "agent.cli.agent"]
    assert world.b.run([*argv, "suspend", "--config", config], env=environment).returncode == 0
    wait_until(lambda: prometheus.query(pending), "the alert", timeout=SCRAPE_SECONDS)
    assert world.b.run([*argv, "resume", "--config", config], env=environment).returncode == 0
    wait_until(lambda: not prometheus.query(pending), "its end", timeout=SCRAPE_SECONDS)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_can_be_asked(prometheus: Prometheus, path: Path) -> None:
    """Those with `topk` of rules or program times are empty here; a wrong expression raises."""
    may_be_empty = ("cordon_rule_connections_total", "cordon_bpf_program_seconds_total")
    for panel in json.loads(path.read_text())["panels"]:
        for target in panel.get("targets", []):
            asked = target["expr"].replace("$instance", "127.0.0.1:9420")
            asked = asked.replace("$__rate_interval", "10s")
            wait_until(
                lambda asked=asked: (  # type: ignore[misc]
                    prometheus.query(asked) or any(name in asked for name in may_be_empty)
                ),
                f"data for {panel['title']}: {asked}",
                timeout=SCRAPE_SECONDS,
            )
