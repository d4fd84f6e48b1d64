# SPDX-License-Identifier: Apache-2.0
"""Names, labels and states of the agent's metrics, as far as they need no kernel."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agent.config import parse_config
from agent.core import events
from agent.core.abi import Outcome, Process
from agent.core.agent import Agent
from agent.core.attest import Facts
from agent.core.commands import TagProcess
from agent.core.model import Identity
from agent.edge import kernel_metrics
from agent.edge.metric_names import HELP, OUTCOME_NAMES
from agent.edge.telemetry import Telemetry
from agent.version import VERSION
from tests.unit.snapshots import snapshot

SNAPSHOT = snapshot()
GOOD: dict[str, object] = {
    "host_name": "a",
    "snapshot": "/etc/cordon/host.snapshot",
    "policy_key": "/etc/cordon/policy.pub",
    "metrics": "off",
}


def samples(telemetry: Telemetry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = generate_latest(telemetry.registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(parse_config(GOOD, "agent.toml"), Agent())


def test_version_is_the_packages() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION


def test_every_outcome_has_a_name_of_the_house_with_a_help_text() -> None:
    assert set(OUTCOME_NAMES) == set(Outcome)
    for name in OUTCOME_NAMES.values():
        assert re.fullmatch(r"cordon_[a-z_]+", name.metric)
        assert not name.metric.endswith(("_total", "_count", "_sum"))
        assert name.metric in HELP


def test_outcomes_of_one_metric_have_the_same_label_and_different_values() -> None:
    for metric in {name.metric for name in OUTCOME_NAMES.values()}:
        names = [name for name in OUTCOME_NAMES.values() if name.metric == metric]
        assert len({name.label for name in names}) == 1
        assert len({name.value for name in names}) == len(names)


def test_agent_that_has_no_datapath_yet_says_its_state(telemetry: Telemetry) -> None:
    found = samples(telemetry)
    states = {labels[0][1]: v for (name, labels), v in found.items() if name.endswith("_state")}
    assert states["starting"] == 1
    assert sum(states.values()) == 1
    assert ("cordon_hooks_attached", (("kind", "traffic"),)) not in found
    assert found["cordon_hooks_expected", (("kind", "traffic"),)] == 10


def test_snapshots_are_counted_by_what_became_of_them(telemetry: Telemetry) -> None:
    refused = events.SnapshotRefused(events.Source.FILE, "bad signature")
    telemetry.happened(refused)
    telemetry.happened(refused)
    found = samples(telemetry)
    assert found["cordon_snapshots_total", (("result", "refused"),)] == 2
    assert found["cordon_snapshots_total", (("result", "applied"),)] == 0


def _tag(identity: int, before: int) -> TagProcess:
    entry = Process(before, 0, 1, 0, 1, 1, 0, 1, 1)
    facts = Facts.__new__(Facts)  # not looked at
    return TagProcess(facts, entry, entry._replace(identity=identity))


def test_attestations_are_counted_and_only_waits_have_a_lag(telemetry: Telemetry) -> None:
    telemetry.tagged(_tag(300, int(Identity.PENDING)))
    telemetry.tagged(_tag(301, 300))
    telemetry.tagged(_tag(int(Identity.HOST), 300))
    found = samples(telemetry)
    assert found["cordon_attestations_total", (("result", "workload"),)] == 2
    assert found["cordon_attestations_total", (("result", "host"),)] == 1
    assert found["cordon_attestation_lag_seconds_count", ()] == 1


def test_policy_in_force_is_shown_with_its_keys() -> None:
    agent = Agent()
    agent.policy.snapshot = SNAPSHOT
    found = samples(Telemetry(parse_config(GOOD, "agent.toml"), agent))
    assert found["cordon_policy_version", ()] == SNAPSHOT.version
    assert found["cordon_policy_expiry_timestamp_seconds", ()] == SNAPSHOT.expires
    last = max(key.epoch for key in SNAPSHOT.receive_secrets)
    expiry = found["cordon_key_expiry_timestamp_seconds", (("use", "verify"),)]
    assert expiry == (last + 1) * SNAPSHOT.settings.epoch_seconds
    modes = [v for (name, _), v in found.items() if name == "cordon_workloads"]
    assert sum(modes) == len(SNAPSHOT.workloads)


def test_no_secret_is_in_a_scrape() -> None:
    agent = Agent()
    agent.policy.snapshot = SNAPSHOT
    text = generate_latest(Telemetry(parse_config(GOOD, "agent.toml"), agent).registry).decode()
    keys = [*SNAPSHOT.receive_secrets, *(key for peer in SNAPSHOT.peers for key in peer.keys)]
    assert keys
    assert not any(key.key.hex() in text or repr(key.key) in text for key in keys)


def test_rule_series_are_capped_and_keep_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    hits = {1: 5, 2: 50, 3: 1, 9: 99}
    monkeypatch.setattr(kernel_metrics, "sums", lambda path: iter(hits.items()))
    series = kernel_metrics.RuleSeries(2)
    names = {1: "one", 2: "two", 3: "three"}  # rule 9 is of an older policy

    def shown() -> dict[str, float]:
        (family,) = series.families(Path("maps"), names)
        return {sample.labels["rule"]: sample.value for sample in family.samples}

    assert shown() == {"one": 5, "two": 50}
    hits[3] = 1000
    assert shown() == {"one": 5, "two": 50}
    del names[1]
    assert shown() == {"two": 50, "three": 1000}


def test_rule_series_are_off_unless_asked_for() -> None:
    assert kernel_metrics.RuleSeries(0).families(Path("/nowhere"), {1: "one"}) == []
