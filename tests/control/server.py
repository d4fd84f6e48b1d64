# SPDX-License-Identifier: Apache-2.0
"""A controller's main port in the test's own loop: real store, real TLS, real streams."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from controller.config import ControllerConfig
from controller.services import policy, tls
from controller.services.issuing import Issuer
from controller.services.policy import PolicyServicer
from controller.services.publisher import Publisher
from controller.services.serving import MAIN_BYTES, Server, Service
from controller.store import SqlStorage

CONFIG = ControllerConfig(
    name="ctl-1",
    advertise=("127.0.0.1:7440",),
    names=("127.0.0.1",),
    state_dir=Path("/nonexistent"),
)


@dataclass
class Controller:
    storage: SqlStorage
    publisher: Publisher
    servicer: PolicyServicer
    server: Server

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"


@contextlib.asynccontextmanager
async def controller(storage: SqlStorage, **changed: object) -> AsyncIterator[Controller]:
    """changed: of its configuration."""
    config = replace(CONFIG, **changed)  # type: ignore[arg-type]
    issuer = Issuer(storage)
    await issuer.refresh()
    own = tls.OwnCertificate(issuer, config.name, config.names, 3600)
    await own.renew()
    publisher = Publisher(storage, storage.bell)
    servicer = PolicyServicer(config, storage, publisher)
    service = Service(policy.NAME, policy.add_to_server, servicer, servicer.stop)
    server = Server([service], MAIN_BYTES, reflects=False)
    await server.start("127.0.0.1:0", tls.main_credentials(own))
    parts = (publisher.run, servicer.watcher.run, servicer.claims.run)
    tasks = [asyncio.create_task(part()) for part in parts]
    try:
        yield Controller(storage, publisher, servicer, server)
    finally:
        await server.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
