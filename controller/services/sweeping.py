# SPDX-License-Identifier: Apache-2.0
"""Ends what is over: leases of silent hosts, quarantines. Runs on every controller; the store ends
each thing once."""

from __future__ import annotations

import asyncio

from agent.edge import clock, logs
from controller.storage import Storage, StorageError

SWEEP_SECONDS = 15.0
LEAST_SECONDS = 1.0


class Sweeper:
    """One per controller."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def run(self) -> None:
        pause = SWEEP_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = SWEEP_SECONDS
            try:
                pause = await asyncio.to_thread(self.sweep, int(clock.unix_seconds()))
            except StorageError as error:
                logs.write("warning", f"cannot sweep, will retry in {SWEEP_SECONDS:.0f} s",
                           [("reason", error)])  # fmt: skip

    def sweep(self, now: int) -> float:
        """Seconds until there may be something to end again. Raises StorageError."""
        settings = self._storage.settings()
        for name in self._storage.end_leases(now - settings.lease_seconds, now):
            logs.write("warning", "lease ended", [("host", name)])
        for target in self._storage.end_quarantines(now):
            logs.write("info", "quarantine ended",
                       [("host", target.host), ("workload", target.workload)])  # fmt: skip
        next_end = min((row.until for row in self._storage.quarantines()), default=None)
        if next_end is None:
            return SWEEP_SECONDS
        return min(SWEEP_SECONDS, max(LEAST_SECONDS, next_end - now))
