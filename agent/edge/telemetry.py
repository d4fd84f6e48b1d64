# SPDX-License-Identifier: Apache-2.0
"""The agent's metrics as one object for the daemon: what it counts itself, and who may ask.

The daemon tells what happened; everything else is read when somebody asks. Not being able to serve
metrics is said and ignored: enforcement does not depend on being watched.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from agent.config import Config
from agent.core.agent import Agent
from agent.core.commands import TagProcess
from agent.core.events import (
    Attached,
    Event,
    FactsNotRead,
    Loaded,
    PolicyApplied,
    PolicyNotApplied,
    SnapshotRefused,
)
from agent.core.model import Identity
from agent.edge import clock, logs
from agent.edge.flow_shipper import FlowShipper
from agent.edge.hooks import Pins
from agent.edge.metrics import AgentCollector
from agent.edge.metrics_server import Access, MetricsServer, MetricsServerError
from agent.edge.refuser import OUTCOMES, Refuser

LAG_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0)
"""Seconds. Usual is below a millisecond; the usual hold limit is 2 s."""
_SNAPSHOTS = {
    PolicyApplied: "applied",
    PolicyNotApplied: "failed",
    SnapshotRefused: "refused",
}


class Telemetry:
    """Made before anything is loaded; `open` when the pins are there."""

    def __init__(self, config: Config, agent: Agent, shipper: FlowShipper | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._config = config
        self._server: MetricsServer | None = None
        self._refuser: Refuser | None = None
        self.registry = CollectorRegistry()
        self._collector = AgentCollector(agent, config.metrics_rules)
        self.registry.register(self._collector)
        self.registry.register(_Others(self))
        if shipper is not None:
            self.registry.register(FlowCollector(shipper))
        ProcessCollector(registry=self.registry)
        self._attestations = Counter(
            "cordon_attestations",
            "Processes that were given an identity, by the kind of it.",
            ["result"],
            registry=self.registry,
        )
        self._lag = Histogram(
            "cordon_attestation_lag_seconds",
            "From a process's exec to its identity.",
            buckets=LAG_BUCKETS,
            registry=self.registry,
        )
        self._snapshots = Counter(
            "cordon_snapshots",
            "Snapshots by what became of them.",
            ["result"],
            registry=self.registry,
        )
        for result in _SNAPSHOTS.values():
            self._snapshots.labels(result)
        for result in ("workload", "host", "unreadable"):
            self._attestations.labels(result)

    def _start(self) -> None:
        """Listen, if the configuration says where.

        Not before the hooks are attached: a listener that is older than they are has no identity.
        """
        config = self._config
        if config.metrics is None or self._server is not None:
            return
        access = Access(config.metrics_certificate, config.metrics_key, config.metrics_users)
        try:
            self._server = MetricsServer(self.registry, config.metrics, access)
        except MetricsServerError as error:
            logs.write("warning", "cannot serve metrics, ignoring", [("reason", error)])
            return
        if not config.metrics.loopback and not (access.users and access.certificate):
            logs.write(
                "warning",
                "metrics can be read, or their password overheard, by the network: set "
                "metrics_users, metrics_certificate and metrics_key",
                [("endpoint", config.metrics)],
            )

    def open(self, pins: Pins, refuser: Refuser) -> None:
        """The datapath is loaded."""
        self._collector.open(pins)
        self._refuser = refuser

    def happened(self, event: Event) -> None:
        result = _SNAPSHOTS.get(type(event))
        if result is not None:
            self._snapshots.labels(result).inc()
        elif isinstance(event, FactsNotRead):
            self._attestations.labels("unreadable").inc()
        elif isinstance(event, Attached) or (
            isinstance(event, Loaded) and not event.attach_pending
        ):
            self._start()

    def tagged(self, command: TagProcess) -> None:
        """A process has its identity from now on."""
        is_host = command.after.identity == Identity.HOST
        self._attestations.labels("host" if is_host else "workload").inc()
        before = command.before
        if before is not None and before.identity == Identity.PENDING:
            self._lag.observe(max(0, clock.monotonic_ns() - before.since_ns) / 1e9)

    @property
    def unanswered(self) -> int:
        return self._server.refused if self._server is not None else 0

    @property
    def told(self) -> Mapping[str, int]:
        """Refusals by how they were told."""
        return self._refuser.told if self._refuser is not None else {}

    def close(self) -> None:
        if self._server is not None:
            self._server.close()


class _Others(Collector):
    """What the server did not answer, which only a later scrape can tell, and refusals told."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def collect(self) -> list[Metric]:
        text = "Requests for metrics closed unanswered, as there were too many."
        told = CounterMetricFamily(
            "cordon_refusals_told",
            "Refused handshakes by how the one who waits was told.",
            labels=["how"],
        )
        for how in OUTCOMES:
            told.add_metric([how], self._telemetry.told.get(how, 0))
        return [
            CounterMetricFamily("cordon_scrapes_refused", text, self._telemetry.unanswered),
            told,
        ]


class FlowCollector(Collector):
    """What became of flow records, in judgements."""

    def __init__(self, shipper: FlowShipper) -> None:
        self._shipper = shipper

    def collect(self) -> list[Metric]:
        outbox = self._shipper.outbox
        records = CounterMetricFamily(
            "cordon_flow_records",
            "Judgements in flow records by what became of them.",
            labels=["result"],
        )
        records.add_metric(["shipped"], outbox.shipped)
        records.add_metric(["lost"], outbox.lost)
        return [
            records,
            CounterMetricFamily(
                "cordon_flow_records_folded",
                "Judgements without a record of their own, as a minute had too many kinds.",
                self._shipper.summary.folded,
            ),
            GaugeMetricFamily(
                "cordon_flow_requests_waiting",
                "Requests with flow records that no controller has taken yet.",
                len(outbox),
            ),
        ]
