# SPDX-License-Identifier: Apache-2.0
"""What a controller tells Prometheus: plain HTTP, on loopback unless the configuration says else.

No label has a value that somebody outside chose: names of hosts are the business of `cordonctl`.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from controller.config import endpoint
from controller.services.serving import PortError

registry = CollectorRegistry()

certificates = Counter(
    "cordon_controller_certificates",
    "Certificates issued, by the method that asked",
    ["method"],
    registry=registry,
)
refusals = Counter(
    "cordon_controller_refusals",
    "Calls refused, by the reason of the contract",
    ["reason"],
    registry=registry,
)
own_certificate_expires = Gauge(
    "cordon_controller_own_certificate_expires_seconds",
    "Unix time of the end of the controller's own certificate",
    registry=registry,
)
flow_records = Counter(
    "cordon_controller_flow_records",
    "Flow records kept",
    registry=registry,
)
flows_lost = Counter(
    "cordon_controller_flows_lost",
    "Judgements in flow records that hosts threw away, as no controller took them",
    registry=registry,
)
store_up = Gauge(
    "cordon_controller_store_up",
    "1 if the database answered when it was looked at last",
    registry=registry,
)
streams = Gauge(
    "cordon_controller_streams",
    "Policy streams, by whether they are in sync, being brought in step, or in line for it",
    ["state"],
    registry=registry,
)
hosts = Gauge(
    "cordon_controller_hosts",
    "Hosts that are enrolled and not revoked",
    registry=registry,
)
policy_version = Gauge(
    "cordon_controller_policy_version",
    "Newest version of policy that this controller has compiled",
    registry=registry,
)
STATES = ("in_sync", "syncing", "waiting")


def show_fleet(
    count: Callable[[str], int], hosts_now: Callable[[], int], version: Callable[[], int]
) -> None:
    """Asked at each scrape, in the port's thread: each must be one look at one value.

    count: of streams in one of STATES.
    """
    for state in STATES:
        streams.labels(state).set_function(lambda state=state: count(state))  # type: ignore[misc]
    hosts.set_function(hosts_now)
    policy_version.set_function(version)


class MetricsPort:
    """The HTTP server, in a thread of its own."""

    def __init__(self, address: str) -> None:
        """Raises PortError."""
        host, port = endpoint(address)
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise PortError(f"cannot listen on {address}: {error.strerror}") from error
        self.port: int = self._server.server_port

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
