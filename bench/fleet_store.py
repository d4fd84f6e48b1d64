# SPDX-License-Identifier: Apache-2.0
"""The store of a measured controller: a fleet of agents that one rule concerns, and its process.

PostgreSQL, because changes are made from another process than the controller's, and with SQLite
only its own ring its bell.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path

from controller.records import DocumentChanges, DocumentRow
from tests.control import fleet
from tests.control.processes import Process
from tests.store import making
from tests.store.postgres import Cluster

AUDIENCES = 100
POLICY = (
    "kind: Segment\nname: front\nmode: enforce\n---\n"
    "kind: Workload\nname: web\nsegment: front\nmatch: [{unit: web.service}]\n---\n"
)
RULE = (
    "kind: Allow\nname: r\nfrom: {{cidr: 192.0.2.0/24}}\nto: {{workload: web}}\nports: [tcp/{0}]\n"
)
IDENTITIES = "identities.json"


class Site:
    """start and kill its controller, change its one rule."""

    def __init__(self, folder: Path, cluster: Cluster, agents: int) -> None:
        """Enrols them all, and leaves what each shows in `folder`."""
        url = cluster.url(cluster.create())
        self._storage = making.fleet(url)
        self._process = Process(folder, "ctl-1", url, port=free_port())
        fleet.apply(self._storage, POLICY + RULE.format(1))
        identities = []
        for number in range(1, agents + 1):
            labels = {"rack": f"r{number % AUDIENCES}"}
            row = fleet.join(self._storage, f"h{number}", number, labels)
            identities.append(fleet.identity(self._storage, row, seconds=86_400))
        _write(folder / IDENTITIES, identities)
        before = self._storage.fleet()
        self._revision, self._allocations = before.head.revision, before.allocations
        self.operator = fleet.administrator(self._storage, "olga")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def address(self) -> str:
        return self._process.address

    def start(self) -> None:
        self._process.start()

    def kill(self) -> None:
        self._process.kill()

    def change(self, number: int) -> int:
        """Returns the version when it is committed. Reads nothing of the fleet for it, which would
        be in what is measured."""
        text = RULE.format(2000 + number)
        row = DocumentRow("Allow", "r", text, "p.yaml", 1, 0)
        changes = DocumentChanges((row,), (), self._allocations)
        head = self._storage.apply(changes, self._revision, making.OPERATOR, "bench", fleet.unix())
        self._revision = head.revision
        return head.version

    def close(self) -> None:
        self._process.__exit__(None, None, None)
        self._storage.close()


def _write(path: Path, identities: Sequence[fleet.Identity]) -> None:
    """As the load program reads it."""
    listed = [
        {
            "name": one.name,
            "number": one.number,
            "chain": one.chain.decode(),
            "key": one.key.decode(),
            "roots": one.roots.decode(),
        }
        for one in identities
    ]
    path.touch(mode=0o600)
    path.write_text(json.dumps(listed))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
