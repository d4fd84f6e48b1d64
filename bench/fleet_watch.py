# SPDX-License-Identifier: Apache-2.0
"""A change as its operator sees it: `cordonctl apply --wait`, without the command line."""

from __future__ import annotations

import threading
import time
from typing import Any

import grpc

from agent.pb import admin_pb2, admin_pb2_grpc
from bench.fleet_store import Site

SECONDS = 120.0
ENOUGH = 0.99


class Watch:
    """Of one controller. `begin` with a version that is committed, then `acknowledged`."""

    def __init__(self, site: Site) -> None:
        one = site.operator
        credentials = grpc.ssl_channel_credentials(one.roots, one.key, one.chain)
        self._channel = grpc.secure_channel(site.address, credentials)
        grpc.channel_ready_future(self._channel).result(SECONDS)
        self._stub: Any = admin_pb2_grpc.AdminServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._thread: threading.Thread
        self._at: float | None = None

    def close(self) -> None:
        self._channel.close()

    def begin(self, version: int) -> None:
        self._at = None
        self._thread = threading.Thread(target=self._run, args=(version,), daemon=True)
        self._thread.start()

    def acknowledged(self) -> float:
        """Seconds of the machine's steady clock when ENOUGH of the hosts enforced the version, as
        the controller tells it."""
        self._thread.join(SECONDS)
        assert self._at is not None, "the rollout came to its end"
        return self._at

    def _run(self, version: int) -> None:
        while not self._look(version):
            time.sleep(0.02)  # the controller has not heard of the version yet

    def _look(self, version: int) -> bool:
        request = admin_pb2.WatchRolloutRequest(version=version)
        try:
            for told in self._stub.WatchRollout(request, timeout=SECONDS):
                if self._at is None and told.hosts and told.enforced >= ENOUGH * told.hosts:
                    self._at = time.monotonic()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return False
        return True
