# SPDX-License-Identifier: Apache-2.0
"""An agent as `cordonctl` sees it: the real service on a real Unix socket, with made-up knowledge.

Its loop runs in a thread, so that a test may call the command line in its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from agent.core.flows import Flow
from agent.edge.flow_log import FlowLog
from agent.edge.local_server import LocalService, serve
from agent.edge.local_view import LocalView
from agent.pb import local_pb2 as pb

T = TypeVar("T")
WAIT_SECONDS = 10.0
HISTORY = 100

STATUS = pb.StatusResponse(
    instance="a",
    state="in_sync",
    summary="Policy version 7 is in force.",
    host_name="host-a",
    host=3,
    policy_version=7,
    policy_expires=1_800_003_600,
    generation=0x10001,
    rules=2,
    entries=12,
    workloads=1,
    peers=2,
    hooks_attached=13,
    hooks_expected=13,
    apply_seconds=0.0123,
    load_seconds=1.5,
    processes=2,
    counters=[
        pb.Counter(kind="verdict", direction="egress", verdict="allow", reason="rule_allow",
                   value=5),
        pb.Counter(kind="outcome", reason="tag_written", value=1 << 40),
    ],
    lifelines=["admin-ssh"],
    modes={"front/web": "enforce"},
    uptime_seconds=60,
)  # fmt: skip

WEB = pb.Process(
    pid=42,
    command="web",
    identity=300,
    workload="web",
    segment="front",
    mode="enforce",
    state="attested",
    evidence=["unit=web.service", "user=web"],
    uid=1000,
    cgroup="/system.slice/web.service",
    exe="/usr/bin/web",
    age_seconds=1.5,
)
STRANGER = pb.Process(pid=43, command="sh\x1b[2J", identity=1, workload="host", state="host")

WHOIS = pb.WhoisResponse(
    process=WEB,
    facts={"unit": "web.service, system.slice", "exe": "/usr/bin/web"},
    candidates=[
        pb.Candidate(workload="db", segment="data", alternative=1, selector="unit",
                     wanted="db.service", found="web.service"),
        pb.Candidate(workload="any", segment="front", alternative=2, matched=True),
        pb.Candidate(workload="web", segment="front", alternative=1, matched=True, won=True),
    ],
)  # fmt: skip

SOCKETS = (
    pb.Socket(
        protocol="tcp", state="established", local_address="192.0.2.1", local_port=40000,
        remote_address="192.0.2.2", remote_port=5432, pid=42, local_identity=300,
        local_workload="front/web", peer_identity=400, peer_workload="data/db", proof="tag",
        verdict="allow", reason="rule_allow", rule=5, rule_name="web-to-db", generation=1,
    ),
    pb.Socket(protocol="tcp", state="listen", local_address="::", local_port=80, pid=42,
              local_workload="front/web"),
)  # fmt: skip

FLOW = Flow(
    time=1_800_000_000.25,
    direction="egress",
    verdict="allow",
    reason="rule_allow",
    protocol="tcp",
    local_address="192.0.2.1",
    local_port=40000,
    remote_address="192.0.2.2",
    remote_port=5432,
    local_identity=300,
    local_workload="front/web",
    peer_identity=400,
    peer_workload="data/db",
    proof="tag",
    rule=5,
    rule_name="web-to-db",
    pid=42,
    peer_host=2,
    policy_version=7,
    suppressed=0,
    generation=0x10001,
)
REFUSED = replace(
    FLOW, verdict="refuse", reason="no_rule", rule=0, rule_name="", proof="address", pid=43,
    remote_port=22, peer_workload="world",
)  # fmt: skip
INGRESS = replace(FLOW, direction="ingress", local_port=80, local_workload="front/www")


class MadeUpView(LocalView):
    """Answers what it was given."""

    def __init__(self) -> None:
        self.answers = {0: [WEB, STRANGER], 42: [WEB]}
        self.more = False

    def status(self) -> pb.StatusResponse:
        return STATUS

    def processes(self, pid: int) -> pb.ProcessesResponse:
        return pb.ProcessesResponse(processes=self.answers.get(pid, []))

    def whois(self, pid: int) -> pb.WhoisResponse:
        return WHOIS if pid == 42 else pb.WhoisResponse()

    def sockets(self, pid: int) -> pb.SocketsResponse:
        return pb.SocketsResponse(sockets=SOCKETS, more=self.more)


class LocalAgent:
    """`observers` gets the number of observers each time that it changes."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.view = MadeUpView()
        self.observers: queue.Queue[int] = queue.Queue()
        self._loop = asyncio.new_event_loop()
        self._flows = FlowLog(HISTORY, self.observers.put)
        self._thread = threading.Thread(target=self._loop.run_forever)

    def add(self, flow: Flow) -> None:
        """As the kernel's ring does."""
        self._loop.call_soon_threadsafe(self._flows.add, flow)

    def wait_for_observers(self, count: int) -> None:
        while self.observers.get(timeout=WAIT_SECONDS) != count:
            pass

    def start(self) -> None:
        self._thread.start()
        self._server = self._run(serve(self.socket, LocalService(self.view, self._flows)))

    def stop(self) -> None:
        self._run(self._server.stop(0.1))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_SECONDS)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_SECONDS)


@contextlib.contextmanager
def local_agent(folder: Path) -> Iterator[LocalAgent]:
    """An agent that listens in `folder` and is gone at the end."""
    agent = LocalAgent(folder / "a.sock")
    agent.start()
    try:
        yield agent
    finally:
        agent.stop()
