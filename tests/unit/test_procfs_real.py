# SPDX-License-Identifier: Apache-2.0
"""The facts of real processes, as this kernel writes them; `test_procfs` has the made-up ones."""

from __future__ import annotations

import ctypes
import getpass
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.edge import cgroups
from agent.edge.procfs import ProcessGone, ProcessReader
from tests.unit.fake_proc import NO_PATHS, paths

PR_SET_NAME = 15


@pytest.fixture
def reader() -> ProcessReader:
    mount = cgroups.mount_point()
    return ProcessReader(mount, mount)


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"]) as child:
        _await_command(child.pid, "sleep")
        yield child.pid
        child.kill()


def _await_command(pid: int, command: str) -> None:
    """Until its exec has happened: Popen returns after, or just before it."""
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/comm").read_text().strip() != command:
        assert time.monotonic() < deadline, f"waited 10 s for {command} to be executed"
        time.sleep(0.01)


def test_a_real_process_is_read(reader: ProcessReader, sleeper: int) -> None:
    exe = os.path.realpath(shutil.which("sleep") or "")
    facts = reader.read(sleeper, paths({exe}))
    assert (facts.command, facts.uid, facts.user) == ("sleep", os.getuid(), getpass.getuser())
    assert (facts.exe, facts.exe_vouched, facts.inode) == (exe, True, os.stat(exe).st_ino)
    assert reader.unchanged(facts)


def test_a_real_process_that_ends_is_gone(reader: ProcessReader) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        _await_command(child.pid, "sleep")
        facts = reader.read(child.pid, NO_PATHS)
        child.kill()
    with pytest.raises(ProcessGone):
        reader.unchanged(facts)


def test_a_real_exec_is_seen(reader: ProcessReader) -> None:
    script = "read go; exec sleep 60"
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE) as child:
        _await_command(child.pid, "sh")
        facts = reader.read(child.pid, NO_PATHS)
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
        _await_command(child.pid, "sleep")
        assert not reader.unchanged(facts)
        child.kill()


def test_a_deleted_executable_keeps_its_path(reader: ProcessReader, tmp_path: Path) -> None:
    exe = tmp_path / "mine"
    shutil.copy(shutil.which("sleep") or "", exe)
    with subprocess.Popen([exe, "60"]) as child:
        _await_command(child.pid, "mine")
        exe.unlink()
        facts = reader.read(child.pid, NO_PATHS)
        child.kill()
    assert (facts.exe, facts.links) == (str(exe), 0)


def test_a_real_process_cannot_claim_another_user_by_its_name(reader: ProcessReader) -> None:
    """The kernel writes the name into /proc/PID/status and escapes line feeds alone."""
    forged = b"\x0bUid:77\x0bGid:7"
    libc = ctypes.CDLL(None)
    before = Path("/proc/self/comm").read_text().strip()
    libc.prctl(PR_SET_NAME, forged, 0, 0, 0)
    try:
        facts = reader.read(os.getpid(), NO_PATHS)
    finally:
        libc.prctl(PR_SET_NAME, before.encode(), 0, 0, 0)
    assert facts.command.encode() == forged
    assert (facts.uid, facts.gid) == (os.getuid(), os.getgid())


def test_walk_finds_this_very_process(reader: ProcessReader) -> None:
    seen, living = reader.walk(NO_PATHS)
    assert os.getpid() in living
    assert seen[os.getpid()].exe == os.path.realpath(sys.executable)
