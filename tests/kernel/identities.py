# SPDX-License-Identifier: Apache-2.0
"""What the identity tests share: one host with an agent, and questions about its processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from agent.pb import local_pb2
from tests.lab import LabHost, wait_until
from tests.lab.cordon import RPC_SECONDS, Cordon, CordonHost, cordon

SEGMENTS = """
---
kind: Segment
name: s
mode: enforce
---
kind: Segment
name: default
mode: audit
"""


def workload(name: str, *alternatives: str) -> str:
    """A Workload document of segment `s`; each alternative is the inside of a YAML mapping."""
    items = "".join(f"  - {{{alternative}}}\n" for alternative in alternatives)
    return f"---\nkind: Workload\nname: {name}\nsegment: s\nmatch:\n{items}"


def policy(*documents: str) -> str:
    return "".join(documents) + SEGMENTS


class Host:
    """Host `a` of a running Cordon, asked as `cordonctl ps` asks."""

    def __init__(self, running: Cordon) -> None:
        self.running = running
        self.agent: CordonHost = running["a"]

    @property
    def lab(self) -> LabHost:
        return self.agent.lab

    def process(self, pid: int) -> local_pb2.Process | None:
        request = local_pb2.ProcessesRequest(pid=pid)
        found = self.agent.stub().Processes(request, timeout=RPC_SECONDS).processes
        return found[0] if found else None

    def settled(self, pid: int, timeout: float = 10.0) -> str:
        """The workload's name, or "host", once the process is not pending."""

        def ask() -> str:
            process = self.process(pid)
            return "" if process is None or process.state == "pending" else name_of(process)

        return wait_until(ask, f"process {pid} has an identity", timeout=timeout)

    def becomes(self, pid: int, name: str, timeout: float = 10.0) -> local_pb2.Process:
        """Wait until the process is that workload."""

        def ask() -> local_pb2.Process | None:
            process = self.process(pid)
            return process if process is not None and name_of(process) == name else None

        return wait_until(ask, f"process {pid} is {name}", timeout=timeout)  # type: ignore[return-value]

    def outcome(self, name: str) -> int:
        return self.agent.outcomes().get(name, 0)


def name_of(process: local_pb2.Process) -> str:
    if process.state == "pending":
        return "pending"
    return process.workload or "host"


@contextlib.contextmanager
def one_host(text: str, **extra: object) -> Iterator[Host]:
    """A lab of one host with an agent under this policy."""
    with cordon(text, ("a",), **extra) as running:
        yield Host(running)
