# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus scrapes real agents, and sees what the kernel counted."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from agent.core.abi import EXECUTABLE, EXECUTABLE_KEY, Executable, ExecutableKey
from agent.edge.hooks import HOOKS
from agent.edge.http_auth import hash_line
from agent.edge.maps import BpfMap
from tests.kernel.world import BASE, PORT, QUIET, World
from tests.lab import Lab, wait_until
from tests.lab.certificate import write_certificate
from tests.lab.cordon import ROOT, Cordon, cordon
from tests.lab.prometheus import METRICS, Prometheus, http_get, promtool, wait_for_metrics

MOST_SERIES = 150
SCRAPE_SECONDS = 10.0
GENEROUS_SECONDS = 2.0
"""For reading 10,000 entries, which takes some milliseconds where nothing else runs."""
CONFIG = """
scrape_configs:
  - job_name: cordon-agent
    scrape_interval: 500ms
    scrape_timeout: 500ms
    static_configs: [{targets: ['127.0.0.1:9420']}]
"""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with cordon(BASE, metrics_rules=10) as running:
        for host in running.hosts.values():
            wait_for_metrics(host.lab)
        yield World.build(running)


def traffic(world: World) -> None:
    """One connection that is allowed, one refused at the server, one refused at connect."""
    listener = world.listen()
    client = world.web.connect(world.b.v4, PORT, timeout=2.0)
    assert client.ok, client
    assert world.db.accept(listener.handle).ok
    assert world.loner.connect(world.b.v4, PORT, timeout=QUIET).error is not None
    assert world.other.connect(world.b.v4, PORT).error == "EPERM"


def scrape(world: World, host: str = "b") -> str:
    return http_get(world.cordon[host].lab, METRICS).decode()


def samples(text: str) -> list[Sample]:
    return [s for family in text_string_to_metric_families(text) for s in family.samples]


def value(text: str, name: str, **labels: str) -> float:
    found = [s.value for s in samples(text) if s.name == name and s.labels == labels]
    assert len(found) == 1, f"{name}{labels} {len(found)} times in {text}"
    return found[0]


def test_prometheus_sees_what_the_kernel_counted(world: World) -> None:
    prometheus = Prometheus.start(world.b, CONFIG)
    traffic(world)
    refused = world.refused_at_server("no_rule")
    assert refused > 0
    wait_until(
        lambda: refused in prometheus.query(
            'cordon_verdicts_total{direction="ingress",verdict="refuse",reason="no_rule"}'
        ).values(),
        "Prometheus to have the refusals that the agent's status has",
        timeout=SCRAPE_SECONDS,
    )  # fmt: skip
    assert prometheus.query("up") == {(): 1.0}
    hooks = prometheus.query("cordon_hooks_attached == cordon_hooks_expected")
    assert sum(hooks.values()) == len(HOOKS)
    assert {dict(labels)["kind"] for labels in hooks} == {"traffic", "processes"}
    assert prometheus.query("cordon_agent_state == 1") == {(("cordon_agent_state", "in_sync"),): 1}
    verified = prometheus.query('cordon_tags_total{result="verified"}')
    assert next(iter(verified.values())) == world.cordon["b"].outcomes()["tag_verified"]
    assert prometheus.query("cordon_rule_connections_total{rule='web-to-db'} > 0")


def test_metrics_are_as_promtool_wants_them(world: World) -> None:
    traffic(world)
    promtool("check", "metrics", input=scrape(world))


def test_ordinary_agent_has_few_series(world: World) -> None:
    traffic(world)
    for host in ("a", "b"):
        assert len(samples(scrape(world, host))) <= MOST_SERIES


def test_policy_and_maps_are_shown(world: World) -> None:
    text = scrape(world)
    status = world.cordon["b"].status()
    assert value(text, "cordon_policy_version") == status.policy_version
    assert value(text, "cordon_policy_expiry_timestamp_seconds") == status.policy_expires
    assert value(text, "cordon_policy_objects", kind="rules") == status.rules
    names = ("rules", "ranges", "addresses", "networks", "peers", "residents", "modes")
    sizes = [value(text, "cordon_bpf_map_entries", map=name) for name in names]
    assert sum(sizes) == status.entries
    assert value(text, "cordon_bpf_map_entries", map="processes") >= 1
    assert value(text, "cordon_bpf_map_capacity", map="processes") == 65536


def test_attestations_are_counted_with_their_lag(world: World, tmp_path: Path) -> None:
    before = value(scrape(world), "cordon_attestation_lag_seconds_count")
    fresh = tmp_path / "fresh"  # a file that the kernel cannot know yet: it would not ask
    shutil.copy("/bin/sleep", fresh)
    process = world.b.spawn([str(fresh), "60"], "db.service")
    world.cordon["b"].wait_attested(process.pid)
    wait_until(
        lambda: value(scrape(world), "cordon_attestation_lag_seconds_count") > before,
        "the new process's attestation in the histogram",
    )


def test_ten_thousand_entries_are_counted_in_time_and_the_loop_goes_on(world: World) -> None:
    folder = world.cordon["b"].pins / "maps"
    keys = [EXECUTABLE_KEY.pack(ExecutableKey(i, 0, 1, 0, 1, 0)) for i in range(1, 10_001)]
    with BpfMap.open_pinned(folder / "executables") as executables:
        executables.put_batch(keys, [EXECUTABLE.pack(Executable(1))] * len(keys))
        try:
            time.sleep(0.6)  # longer than an answer is kept
            text = scrape(world)
        finally:
            executables.delete_batch(keys)
    # An LRU hash evicts in runs before it is full.
    assert value(text, "cordon_bpf_map_entries", map="executables") > 8_000
    seconds = value(text, "cordon_scrape_duration_seconds")
    print(f"a scrape of 10,000 entries took {seconds * 1000:.1f} ms")
    assert seconds < GENEROUS_SECONDS
    assert value(text, "cordon_scrape_errors_total") == 0


def test_agent_without_metrics_does_not_listen(world: World) -> None:
    with cordon(BASE, hosts=("a",), metrics="off") as running, pytest.raises(OSError):  # noqa: PT011
        http_get(running["a"].lab, METRICS)


def test_prometheus_scrapes_over_tls_with_a_password() -> None:
    with Lab("a") as lab:
        certificate, key = write_certificate(lab.run_folder)
        users = lab.run_folder / "users"
        users.write_text(hash_line("prom", "geheim") + "\n")
        users.chmod(0o600)
        secured = {"metrics_certificate": certificate, "metrics_key": key, "metrics_users": users}
        running = Cordon(lab, extra={name: str(path) for name, path in secured.items()})
        try:
            running.start(BASE)
            prometheus = Prometheus.start(lab["a"], secure_config(certificate))
            wait_until(
                lambda: len(prometheus.query("up")) == 2, "both to scrape", timeout=SCRAPE_SECONDS
            )
            up = {dict(labels)["case"]: on for labels, on in prometheus.query("up").items()}
            assert up == {"right": 1.0, "wrong": 0.0}
        finally:
            running.close()


def secure_config(certificate: Path) -> str:
    """Two jobs: one knows the password, one does not."""
    jobs = [
        f"""
  - job_name: {case}
    scheme: https
    tls_config: {{ca_file: {certificate}}}
    basic_auth: {{username: prom, password: {password}}}
    scrape_interval: 500ms
    scrape_timeout: 500ms
    static_configs: [{{targets: ['127.0.0.1:9420'], labels: {{case: {case}}}}}]"""
        for case, password in (("right", "geheim"), ("wrong", "geraten"))
    ]
    return "scrape_configs:" + "".join(jobs)


def test_every_metric_is_documented(world: World) -> None:
    documented = (ROOT / "docs" / "metrics.md").read_text()
    typed = re.findall(r"^# TYPE (cordon_\w+) ", scrape(world), re.M)
    assert len(typed) > 20
    assert [name for name in typed if f"`{name}`" not in documented] == []
