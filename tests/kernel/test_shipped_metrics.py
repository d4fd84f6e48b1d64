# SPDX-License-Identifier: Apache-2.0
"""What is shipped for Prometheus, in a real one that scrapes real agents and their controller."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.world import BASE, World
from tests.lab import wait_until
from tests.lab.cordon import ROOT
from tests.lab.fleet import fleet
from tests.lab.prometheus import Prometheus, promtool

SHIPPED = ROOT / "packaging" / "prometheus"
DASHBOARDS = sorted((ROOT / "packaging" / "grafana").glob("*.json"))
SCRAPE_SECONDS = 15.0
CONTROLLER = "127.0.0.1:9440"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with fleet(BASE) as running:
        yield World.build(running)  # type: ignore[arg-type] # hosts by name is all that it asks for


@pytest.fixture(scope="module")
def prometheus(world: World) -> Prometheus:
    folder = world.b.folder / "prometheus"
    folder.mkdir()
    shutil.copy(SHIPPED / "rules.yml", folder)
    config = (SHIPPED / "scrape.yml").read_text()
    assert config.count("30s") == 2
    assert config.count(CONTROLLER) == 1
    # The controller is on another host, and a test does not wait for half a minute.
    config = config.replace("30s", "500ms").replace("scrape_timeout: 5s", "")
    controller = world.cordon.lab["c"].v4
    running = Prometheus.start(
        world.b, config.replace(CONTROLLER, CONTROLLER.replace("127.0.0.1", controller))
    )
    for first in ("cordon_build_info", "cordon_controller_store_up"):
        wait_until(lambda first=first: running.query(first), first, timeout=SCRAPE_SECONDS)  # type: ignore[misc]
    return running


def test_rules_and_scrape_configuration_are_as_promtool_wants_them() -> None:
    promtool("check", "config", SHIPPED / "scrape.yml")
    promtool("check", "rules", SHIPPED / "rules.yml")


def test_alerts_speak_and_are_silent_where_they_should() -> None:
    promtool("test", "rules", SHIPPED / "rules.test.yml")


def test_healthy_agent_raises_no_alert(prometheus: Prometheus) -> None:
    assert prometheus.query("sum(up)") == {(): 2.0}
    assert prometheus.query("cordon_controller_hosts") == {(): 2.0}
    in_sync = (("state", "in_sync"),)
    assert prometheus.query("cordon_controller_streams")[in_sync] == 2.0
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
    """What nobody asks for or nothing has caused is empty here; a wrong expression raises."""
    may_be_empty = (
        "cordon_rule_connections_total",
        "cordon_bpf_program_seconds_total",
        "cordon_controller_refusals_total",
    )
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
