# SPDX-License-Identifier: Apache-2.0
"""The loop: events go to core in order, commands are carried out, and every end is a clean one.

Real are the files, the signals, the control socket and the service manager's; made up is the
kernel, which is why only the daemon's own doing is asked about here.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import daemon
from agent.config import Config
from agent.core.events import PolicyApplied, ProcessReport
from agent.core.model import Snapshot
from agent.edge import clock, counters, loader_child, snapshot_codec
from agent.edge.hooks import Pins
from agent.edge.kernel import Place
from agent.edge.libbpf import BpfError
from agent.edge.loader_child import LoadError, Report
from agent.edge.local_server import LocalSocketError
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
    """fault: raised by the next `apply`."""

    fault: Exception | None = None
    in_force: list[int] = field(default_factory=list)
    attached: int = 0
    observe: bool = False
    closed: bool = False
    generation: int = 0
    processes: FakeProcessMaps = field(default_factory=FakeProcessMaps)

    def prepare(self) -> None:
        assert self.attached == 0

    def refresh_clock(self) -> None:
        """Nothing to refresh."""

    def lost_reports(self) -> int:
        return 0

    def set_observe(self, *, on: bool) -> None:
        self.observe = on

    def apply(self, snapshot: Snapshot) -> PolicyApplied:
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        self.in_force.append(snapshot.version)
        return PolicyApplied(snapshot.version, snapshot.version << 16, 1, 0.0)

    def attach(self) -> None:
        self.attached += 1

    def process_reports(self, receive: Callable[[ProcessReport], None]) -> PipeRing:
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
        cgroup = self.folder / "cgroup"
        cgroup.mkdir()
        (cgroup / "cgroup.procs").touch()
        pins = self.folder / "pins"
        self.place = Place(Pins(pins), cgroup, cgroup)
        self.config = Config(
            host_name="a",
            snapshot=self.folder / "a.snapshot",
            policy_key=self.folder / "policy.pub",
            instance="a",
            bpffs=pins,
            state_dir=self.folder / "state",
            run_dir=self.folder / "run",
        )
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(self.folder / "notify"))
        self.manager.setblocking(False)
        self.told: list[str] = []

    def publish(self, version: int) -> None:
        made = snapshots.snapshot(snapshots.rule(1), version=version)
        fresh = self.config.snapshot.with_suffix(".new")
        fresh.write_bytes(snapshot_codec.seal(made, KEY))
        fresh.chmod(0o600)
        fresh.rename(self.config.snapshot)

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


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    made = Scene(tmp_path, MadeUpKernel())

    async def load(config: Path) -> Report:
        if made.load is not None:
            raise made.load
        return Report(loaded=True, seconds=0.5, attach_pending=True)

    monkeypatch.setattr(daemon, "Kernel", lambda place: made.kernel)
    monkeypatch.setattr(loader_child, "run_loader", load)
    monkeypatch.setattr(clock, "unix_seconds", lambda: float(snapshots.NOW))
    monkeypatch.setattr(counters, "read_counters", lambda folder: [])
    monkeypatch.setattr(sys, "setswitchinterval", lambda seconds: None)  # this process lives on
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    yield made
    made.manager.close()


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_from_start_to_stop(scene: Scene) -> None:
    scene.publish(7)

    async def during() -> None:
        await scene.until(lambda: scene.heard("READY=1"), "readiness")
        status = await scene.status()
        assert (status.state, status.policy_version, status.load_seconds) == ("in_sync", 7, 0.5)
        assert scene.config.socket.stat().st_mode & 0o777 == 0o600
        terminate()

    assert scene.run(during) == 0
    assert (scene.kernel.in_force, scene.kernel.attached) == ([7], 1)
    assert scene.kernel.closed
    assert scene.heard("STOPPING=1")
    assert scene.heard("STATUS=Policy version 7 is in force.")
    assert scene.told.count("READY=1") == 1
    assert not scene.config.socket.exists()
    assert scene.config.cache.read_bytes() == scene.config.snapshot.read_bytes()
    assert scene.config.cache.stat().st_mode & 0o777 == 0o600


def test_new_file_is_seen_and_comes_into_force(scene: Scene) -> None:
    async def during() -> None:
        await scene.until(lambda: scene.heard("READY=1"), "readiness without a policy")
        for version in (7, 8):
            scene.publish(version)
            await scene.until(lambda v=version: v in scene.kernel.in_force, "the policy")  # type: ignore[misc]
        terminate()

    assert scene.run(during) == 0
    assert scene.kernel.in_force == [7, 8]


def test_policy_that_the_kernel_refuses_leaves_the_old_one(scene: Scene) -> None:
    scene.publish(7)

    async def during() -> None:
        await scene.until(lambda: scene.heard("READY=1"), "readiness")
        scene.kernel.fault = BpfError(28, "writing the map rules")
        scene.publish(8)
        refused = "STATUS=Policy version 7 is in force; the snapshot file is not: " \
                  "writing the map rules: No space left on device (ENOSPC)"  # fmt: skip
        await scene.until(lambda: scene.heard(refused), "the refusal")
        terminate()

    assert scene.run(during) == 0
    assert scene.kernel.in_force == [7]


def test_failed_load_ends_it_with_1_and_the_loaders_words(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.load = LoadError("this kernel has no sockets")

    async def during() -> None:
        """It ends by itself."""

    assert scene.run(during) == 1
    assert "this kernel has no sockets" in capsys.readouterr().err
    assert scene.kernel.attached == 0


def test_what_nobody_foresaw_ends_it_with_70_and_a_trace(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.publish(7)
    scene.kernel.fault = RuntimeError("nobody foresaw this")

    async def during() -> None:
        """It ends by itself."""

    assert scene.run(during) == 70
    assert "enforcement goes on" in (said := capsys.readouterr().err)
    assert "nobody foresaw this" in said
    assert len([line for line in said.splitlines() if "nobody foresaw" in line]) == 1
    assert scene.kernel.closed


def test_fault_in_a_ring_ends_it_with_70(scene: Scene) -> None:
    async def during() -> None:
        await scene.until(lambda: scene.heard("READY=1"), "readiness")
        scene.kernel.asking.add("no report at all")

    assert scene.run(during) == 70


def test_cache_that_cannot_be_written_is_ignored_loudly(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    (scene.folder / "state").write_text("a file where the folder should be")
    scene.publish(7)

    async def during() -> None:
        await scene.until(lambda: scene.heard("READY=1"), "readiness")
        terminate()

    assert scene.run(during) == 0
    assert scene.kernel.in_force == [7]
    assert "cannot write the policy cache, ignoring" in capsys.readouterr().err


def test_allowed_connections_are_told_while_somebody_observes(scene: Scene) -> None:
    async def during() -> None:
        await scene.until(lambda: scene.heard("READY=1"), "readiness")
        async with grpc.aio.insecure_channel(f"unix:{scene.config.socket}") as channel:
            call = local_pb2_grpc.LocalServiceStub(channel).Observe(pb.ObserveRequest())
            await call.initial_metadata()
            assert scene.kernel.observe
            call.cancel()
        await scene.until(lambda: not scene.kernel.observe, "the observer to be gone")
        terminate()

    assert scene.run(during) == 0


def test_ends_also_while_somebody_observes(scene: Scene) -> None:
    async def during() -> None:
        await scene.until(lambda: scene.heard("READY=1"), "readiness")
        async with grpc.aio.insecure_channel(f"unix:{scene.config.socket}") as channel:
            call = local_pb2_grpc.LocalServiceStub(channel).Observe(pb.ObserveRequest())
            await call.initial_metadata()
            terminate()
            with pytest.raises(grpc.aio.AioRpcError):
                await call.read()

    assert scene.run(during) == 0


def test_socket_that_cannot_be_made_is_a_sentence(scene: Scene) -> None:
    scene.config = replace(scene.config, run_dir=scene.folder / ("long" * 30))

    async def during() -> None:
        """It never begins."""

    with pytest.raises(LocalSocketError, match=r"cannot listen on .*long"):
        scene.run(during)
