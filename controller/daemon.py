# SPDX-License-Identifier: Apache-2.0
"""One controller: opens the store, gets itself a certificate, serves until told to stop.

The tables of services are `_main_services` and `_joining_services`; whatever runs beside them is in
`_background`. A controller has no state of its own: whichever is killed, the others go on, and what
it had begun in the store is there or not there.
"""

from __future__ import annotations

import asyncio
import signal
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from agent.edge import clock, logs, sd_notify
from agent.pb import enrolment_pb2_grpc
from controller.config import ControllerConfig
from controller.services import admin, flow_queries, flows, metrics, policy, tls
from controller.services.admin_calls import Tools
from controller.services.enrolment import JoiningServicer, RenewingServicer
from controller.services.flows import Collector, FlowSweeper
from controller.services.issuing import Issuer
from controller.services.policy import PolicyServicer
from controller.services.publisher import Publisher
from controller.services.serving import ENROLMENT_BYTES, MAIN_BYTES, Server, Service
from controller.services.sweeping import Sweeper
from controller.services.tls import OwnCertificate
from controller.storage import StorageError
from controller.store import SqlStorage

LOOK_SECONDS = 15.0
"""How often authorities, the own certificate and the database are looked at."""
LEAST_SECONDS = 1.0
WATCHDOG_SECONDS = 5.0
ENROLMENT = "cordon.v1.EnrolmentService"


@dataclass(frozen=True, slots=True)
class Parts:
    """What services are built from."""

    config: ControllerConfig
    storage: SqlStorage
    issuer: Issuer
    publisher: Publisher
    policy: PolicyServicer
    flows: Collector


def _main_services(parts: Parts) -> Sequence[Service]:
    """Main port."""
    tools = Tools(parts.config, parts.storage, parts.issuer, parts.publisher)
    return [
        Service(
            ENROLMENT,
            enrolment_pb2_grpc.add_EnrolmentServiceServicer_to_server,
            RenewingServicer(parts.storage, parts.issuer, parts.config.advertise),
        ),
        Service(policy.NAME, policy.add_to_server, parts.policy, parts.policy.stop),
        admin.service(tools),
        flows.service(parts.publisher, parts.flows),
        flow_queries.service(tools),
    ]


def _joining_services(parts: Parts) -> Sequence[Service]:
    """Enrolment port."""
    return [
        Service(
            ENROLMENT,
            enrolment_pb2_grpc.add_EnrolmentServiceServicer_to_server,
            JoiningServicer(parts.storage, parts.issuer, parts.config.advertise),
        ),
    ]


def _background(parts: Parts) -> Sequence[Callable[[], Awaitable[None]]]:
    """Runs from before the ports are open until the end."""
    return [
        Sweeper(parts.storage).run,
        parts.publisher.run,
        parts.policy.watcher.run,
        parts.policy.claims.run,
        parts.flows.run,
        FlowSweeper(parts.storage, parts.config).run,
    ]


class Controller:
    """One run. The store is closed by whoever opened it."""

    def __init__(self, config: ControllerConfig, storage: SqlStorage) -> None:
        self._config = config
        self._storage = storage
        self._issuer = Issuer(storage)
        publisher = Publisher(storage, storage.bell)
        servicer = PolicyServicer(config, storage, publisher)
        collector = Collector(storage)
        self._parts = Parts(config, storage, self._issuer, publisher, servicer, collector)
        self._own: OwnCertificate
        self._healthy = True
        self._metrics: metrics.MetricsPort | None = None
        self.main: Server
        self.joining: Server

    async def run(self, started: Callable[[], None] = lambda: None) -> int:
        """Until told to stop; returns the exit status. Raises StorageError, PortError before it
        serves."""
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, signal.Signals(number).name)
        await self._prepare()
        tasks = [
            asyncio.create_task(self._guard(part))
            for part in (self._look, self._watchdog, *_background(self._parts))
        ]
        try:
            await self._open_ports()
            sd_notify.notify("READY=1")
            started()
            return await self._ended
        finally:
            await self._close(tasks)

    def stop(self, why: str) -> None:
        logs.write("info", "stopping", [("signal", why)])
        self._end(0)

    def _end(self, status: int) -> None:
        if not self._ended.done():
            self._ended.set_result(status)

    async def _prepare(self) -> None:
        await self._issuer.refresh()
        settings = await asyncio.to_thread(self._storage.settings)
        config = self._config
        self._own = OwnCertificate(
            self._issuer, config.name, config.names, settings.certificate_seconds
        )
        self._renewed(await self._own.renew())
        metrics.store_up.set(1)

    async def _open_ports(self) -> None:
        config = self._config
        self.main = Server(_main_services(self._parts), MAIN_BYTES, reflects=config.reflection)
        self.joining = Server(_joining_services(self._parts), ENROLMENT_BYTES, reflects=False)
        main = await self.main.start(config.listen, tls.main_credentials(self._own))
        joining = await self.joining.start(
            config.listen_enrolment, tls.enrolment_credentials(self._own)
        )
        desk = self._parts.publisher.desk
        metrics.show_fleet(
            self._parts.policy.count, lambda: len(desk.records), lambda: desk.head.version
        )
        if config.listen_metrics:
            self._metrics = metrics.MetricsPort(config.listen_metrics)
        logs.write("info", "serving",
                   [("controller", config.name), ("main", main), ("enrolment", joining),
                    ("trust_domain", self._issuer.trust_domain)])  # fmt: skip

    async def _close(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        sd_notify.notify("STOPPING=1")
        servers = [getattr(self, name) for name in ("main", "joining") if hasattr(self, name)]
        await asyncio.gather(*(server.stop() for server in servers))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._parts.policy.watcher.flush()
        if self._metrics:
            await asyncio.to_thread(self._metrics.close)

    async def _guard(self, part: Callable[[], Awaitable[None]]) -> None:
        """The only place that catches broadly: the service manager starts a new controller."""
        try:
            await part()
        except Exception:
            trace = traceback.format_exc().strip()
            logs.write("error", "unexpected, the controller ends", [("trace", trace)])
            self._end(70)

    async def _watchdog(self) -> None:
        while True:
            sd_notify.notify("WATCHDOG=1")
            await asyncio.sleep(WATCHDOG_SECONDS)

    async def _look(self) -> None:
        """Authorities, own certificate, and by that whether the database answers."""
        pause = LEAST_SECONDS
        while True:
            due = self._own.shown.issued.renew_after - clock.unix_seconds()
            await asyncio.sleep(min(LOOK_SECONDS, max(due, pause)))
            pause = await self._look_once()

    async def _look_once(self) -> float:
        """After how many seconds a look is of use again."""
        try:
            changed = await self._issuer.refresh()
            if changed or self._own.due(clock.unix_seconds()):
                self._renewed(await self._own.renew())
        except StorageError as error:
            logs.write("warning", f"no store, will retry in {LOOK_SECONDS:.0f} s",
                       [("reason", error)])  # fmt: skip
            await self._set_healthy(healthy=False)
            return LOOK_SECONDS
        await self._set_healthy(healthy=True)
        return LEAST_SECONDS

    def _renewed(self, shown: tls.Shown) -> None:
        metrics.own_certificate_expires.set(shown.issued.expires)
        logs.write("info", "own certificate renewed",
                   [("generation", shown.generation),
                    ("expires", shown.issued.expires)])  # fmt: skip

    async def _set_healthy(self, *, healthy: bool) -> None:
        """Without the database nobody can enrol; open streams are as good as before."""
        metrics.store_up.set(healthy)
        if healthy == self._healthy or not hasattr(self, "joining"):
            return
        self._healthy = healthy
        for server in (self.main, self.joining):
            await server.set_serving([ENROLMENT], serving=healthy)
