# SPDX-License-Identifier: Apache-2.0
"""A daemon on made-up ground: real files, signals and sockets, a kernel that is values."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import daemon
from agent.config import Config
from agent.core.events import Event, PolicyApplied, Verified
from agent.core.model import Snapshot
from agent.edge import snapshot_codec
from agent.edge.hooks import Pins
from agent.edge.kernel import Place
from agent.edge.loader_child import LoadError
from agent.pb import local_pb2 as pb
from agent.pb import local_pb2_grpc
from tests.unit import snapshots
from tests.unit.agent_fakes import FakeProcessMaps

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WAIT_SECONDS = 20.0


class PipeRing:
    """As much of a ring buffer as the loop asks for: a descriptor, and records to consume."""

    def __init__(self, receive: Callable[[Any], None]) -> None:
        self._receive = receive
        self._reader, self._writer = os.pipe()
        self._records: list[Any] = []

    def add(self, record: Any) -> None:
        self._records.append(record)
        os.write(self._writer, b"\0")

    def fileno(self) -> int:
        return self._reader

    def consume(self) -> int:
        os.read(self._reader, 4096)
        records, self._records = self._records, []
        for record in records:
            self._receive(record)
        return len(records)

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


@dataclass
class MadeUpKernel:
    """fault: raised by the next `apply`.

    missing, suspended, unseen: what the next look at the kernel finds; `repair` puts it back.
    """

    fault: Exception | None = None
    missing: tuple[str, ...] = ()
    suspended: bool = False
    unseen: str = ""
    repairs: int = 0
    in_force: list[int] = field(default_factory=list)
    attaches: int = 0
    observe: bool = False
    closed: bool = False
    generation: int = 0
    processes: FakeProcessMaps = field(default_factory=FakeProcessMaps)

    @property
    def attached(self) -> int:
        if self.unseen:
            raise OSError(errno.EMFILE, self.unseen)
        return self.attaches

    def prepare(self) -> None:
        assert self.attaches == 0

    def refresh_clock(self) -> None:
        """Nothing to refresh."""

    def lost_reports(self) -> int:
        return 0

    def set_observe(self, *, on: bool) -> None:
        self.observe = on

    def set_sum_up(self, *, on: bool) -> None:
        assert not on, "there is no controller"

    def apply(self, snapshot: Snapshot) -> PolicyApplied:
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        self.in_force.append(snapshot.version)
        return PolicyApplied(snapshot.version, snapshot.version << 16, 1, 0.0)

    def attach(self) -> None:
        self.attaches += 1

    def adoption_left(self) -> float:
        return 0.0

    def verify(self) -> Verified:
        return Verified(self.missing, self.suspended, self.unseen)

    def repair(self) -> None:
        self.missing = ()
        self.repairs += 1

    def process_events(self, receive: Callable[[Event], None]) -> PipeRing:
        self.asking = PipeRing(receive)
        return self.asking

    def flow_events(self, receive: Callable[[Any], None]) -> PipeRing:
        self.flows = PipeRing(receive)
        return self.flows

    def close(self) -> None:
        self.asking.close()
        self.flows.close()
        self.closed = True


@dataclass
class Scene:
    """A daemon on made-up ground, and what a test does while it runs."""

    folder: Path
    kernel: MadeUpKernel
    load: LoadError | None = None

    def __post_init__(self) -> None:
        self.file = self.folder / "a.snapshot"
        cgroup = self.folder / "cgroup"
        cgroup.mkdir()
        (cgroup / "cgroup.procs").touch()
        pins = self.folder / "pins"
        self.place = Place(Pins(pins), cgroup, cgroup)
        self.config = Config(
            host_name="a",
            snapshot=self.file,
            policy_key=self.folder / "policy.pub",
            instance="a",
            bpffs=pins,
            state_dir=self.folder / "state",
            run_dir=self.folder / "run",
            refuse="drop",
            metrics=None,
        )
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(self.folder / "notify"))
        self.manager.setblocking(False)
        self.told: list[str] = []

    def publish(self, version: int) -> None:
        made = snapshots.snapshot(snapshots.rule(1), version=version)
        fresh = self.file.with_suffix(".new")
        fresh.write_bytes(snapshot_codec.seal(made, KEY))
        fresh.chmod(0o600)
        fresh.rename(self.file)

    def heard(self, line: str) -> bool:
        """Whether the service manager was told so."""
        while True:
            try:
                self.told += self.manager.recv(4096).decode().splitlines()
            except BlockingIOError:
                return line in self.told

    def run(self, during: Callable[[], Coroutine[Any, Any, None]]) -> int:
        """The daemon's exit status. It must end by itself once `during` is done."""
        return asyncio.run(self._run(during))

    async def _run(self, during: Callable[[], Coroutine[Any, Any, None]]) -> int:
        running = daemon.Daemon(self.config, Path("/unused"), self.place, KEY.public_key())
        task = asyncio.create_task(running.run())
        await during()
        return await asyncio.wait_for(task, WAIT_SECONDS)

    async def status(self) -> pb.StatusResponse:
        async with grpc.aio.insecure_channel(f"unix:{self.config.socket}") as channel:
            answer = await local_pb2_grpc.LocalServiceStub(channel).Status(pb.StatusRequest())
        assert isinstance(answer, pb.StatusResponse)
        return answer

    async def until(self, holds: Callable[[], object], what: str) -> None:
        for _ in range(int(WAIT_SECONDS * 100)):
            if holds():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"waited {WAIT_SECONDS:g} s for {what}")
