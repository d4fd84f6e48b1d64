# SPDX-License-Identifier: Apache-2.0
"""The loop: events go to core in order, commands are carried out, and every end is a clean one.

Real are the files, the signals, the control socket and the service manager's; made up is the
kernel, which is why only the daemon's own doing is asked about here.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest

from agent import daemon
from agent.edge import adopter, clock, counters, loader_child, snapshot_file
from agent.edge.libbpf import BpfError
from agent.edge.loader_child import LoadError, Report
from agent.edge.local_server import LocalSocketError
from agent.pb import local_pb2 as pb
from agent.pb import local_pb2_grpc
from tests.unit import snapshots
from tests.unit.made_up_daemon import MadeUpKernel, Scene


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
    monkeypatch.setattr(adopter, "walk", lambda pids, maps: [])
    monkeypatch.setattr(daemon, "VERIFY_SECONDS", 0.05)
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
    assert scene.config.cache.read_bytes() == scene.file.read_bytes()
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


def test_policy_for_which_there_were_no_descriptors_comes_into_force_once_there_are(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody touches the file again."""
    monkeypatch.setattr(daemon, "TICK_SECONDS", 0.05)
    scene.publish(7)
    reading = snapshot_file.read

    def starved(path: Path) -> bytes:
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", no_descriptor)
            return reading(path)

    async def during() -> None:
        await scene.until(lambda: scene.heard("READY=1"), "readiness")
        monkeypatch.setattr(snapshot_file, "read", starved)
        scene.publish(8)
        refused = f"STATUS=Policy version 7 is in force; the snapshot file is not: {scene.file}"
        said = f"{refused} cannot be read: Too many open files"
        await scene.until(lambda: scene.heard(said), "the refusal")
        scene.kernel.fault = BpfError(errno.EMFILE, "creating a map")
        monkeypatch.setattr(snapshot_file, "read", reading)
        await scene.until(lambda: scene.kernel.fault is None, "the map that cannot be made")
        await scene.until(lambda: scene.kernel.in_force == [7, 8], "the switch")
        terminate()

    assert scene.run(during) == 0


def no_descriptor(*_: object, **__: object) -> int:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_what_is_missing_is_put_back_while_it_runs(scene: Scene) -> None:
    scene.publish(7)

    async def during() -> None:
        await scene.until(lambda: scene.heard("READY=1"), "readiness")
        scene.kernel.missing = ("hook cordon_egress",)
        await scene.until(lambda: scene.kernel.repairs, "the repair")
        status = await scene.status()
        assert "cordon_egress, put back" in status.tampering
        assert status.state == "in_sync"
        terminate()

    assert scene.run(during) == 0


def test_suspension_is_a_state_that_lasts_until_it_is_resumed(scene: Scene) -> None:
    said = "STATUS=Suspended by an administrator: all traffic passes until `cordon-agent resume`."
    scene.publish(7)

    async def during() -> None:
        await scene.until(lambda: scene.heard("READY=1"), "readiness")
        scene.kernel.suspended = True
        await scene.until(lambda: scene.heard(said), "the word of it")
        assert (await scene.status()).state == "suspended"
        scene.kernel.suspended = False
        scene.told.clear()
        await scene.until(lambda: scene.heard("STATUS=Policy version 7 is in force."), "its end")
        assert (await scene.status()).state == "in_sync"
        terminate()

    assert scene.run(during) == 0
    assert scene.kernel.repairs == 0


def test_a_look_that_cannot_be_made_shows_in_status_until_one_can(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.publish(7)
    log: list[str] = []

    def said(event: str) -> bool:
        log.append(capsys.readouterr().err)
        return f"event={event}" in "".join(log)

    async def during() -> None:
        await scene.until(lambda: scene.heard("READY=1"), "readiness")
        scene.kernel.unseen = "Too many open files"
        await scene.until(lambda: said("not_looked"), "a look that fails")
        status = await scene.status()
        assert (status.unseen, status.tampering) == ("Too many open files", "")
        assert status.summary.endswith("hooks are attached cannot be seen: Too many open files.")
        assert "UNJUDGED" not in status.summary
        assert status.state == "in_sync"
        scene.kernel.unseen = ""
        await scene.until(lambda: said("looked_again"), "the next look")
        assert not (await scene.status()).unseen
        terminate()

    assert scene.run(during) == 0
    assert scene.kernel.repairs == 0


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
