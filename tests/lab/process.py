# SPDX-License-Identifier: Apache-2.0
"""Real programs on a lab host: start them in their place, watch them, end them.

`launch` returns when the program's exec has happened, so that a test may look at once at its
cgroup, its namespace and its executable. The program keeps the pid of the launcher.
"""

import contextlib
import json
import os
import pwd
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.lab.errors import LabError
from tests.lab.waiting import PATIENCE

PYTHON = os.path.realpath(sys.executable)
LAUNCHER = Path(__file__).with_name("enter.py")
START_SECONDS = 10.0 * PATIENCE
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/",
}

Stream = int | IO[Any] | None


@dataclass(frozen=True)
class Program:
    """What is to run, and as whom. `env` is added to a small fixed environment."""

    argv: Sequence[str]
    user: str | int | None = None
    env: Mapping[str, str] | None = None
    cwd: str | Path = "/"


@dataclass(frozen=True)
class Place:
    """Where a program runs: the cgroup's folder and the namespace's file."""

    cgroup: Path
    netns: Path


@dataclass(frozen=True)
class Streams:
    """The three standard streams, as subprocess takes them."""

    stdin: Stream = subprocess.DEVNULL
    stdout: Stream = subprocess.DEVNULL
    stderr: Stream = subprocess.DEVNULL


@dataclass
class LabProcess:
    """A running program. All signals go to this one process by its id, never by name."""

    argv: Sequence[str]
    popen: subprocess.Popen[bytes]
    log: Path | None = None
    """Where its output goes, if into a file."""

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    @property
    def exit_status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self.popen.poll()

    def output(self) -> str:
        """What it has written to its log so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log else ""

    def write_line(self, text: str) -> None:
        """A line into its standard input, which must be a pipe."""
        assert self.popen.stdin is not None, f"{self.argv[0]} was started without a pipe"
        self.popen.stdin.write(text.encode() + b"\n")
        self.popen.stdin.flush()

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for its end and return the exit status."""
        timeout *= PATIENCE
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            message = f"{self.argv[0]} (pid {self.pid}) did not end within {timeout:g} s"
            raise LabError(f"{message}; its output ends with: {self.output()[-2000:]}") from None

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        self.popen.send_signal(number)

    def kill9(self) -> int:
        """SIGKILL, and wait until it is gone."""
        self.popen.kill()
        return self._reap()

    def stop(self, timeout: float = 5.0) -> int:
        """SIGTERM, and after `timeout` seconds SIGKILL; returns the exit status."""
        self.popen.terminate()
        try:
            self.popen.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            self.popen.kill()
        return self._reap()

    def _reap(self) -> int:
        status = self.popen.wait(START_SECONDS)
        self.close_streams()
        return status

    def close_streams(self) -> None:
        """Close our ends of its pipes."""
        for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def launch(program: Program, place: Place, streams: Streams) -> LabProcess:
    """Start a program in its place, in a session of its own, and return once it has been executed.

    Raises LabError if it cannot be executed.
    """
    reader, writer = os.pipe()
    try:
        popen = subprocess.Popen(
            [PYTHON, "-I", "-S", str(LAUNCHER), json.dumps(_order(program, place, writer))],
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=streams.stderr,
            pass_fds=(writer,),
            start_new_session=True,
        )
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    process = LabProcess(tuple(program.argv), popen)
    _await_exec(process, reader)
    return process


def _order(program: Program, place: Place, status: int) -> dict[str, Any]:
    """What enter.py reads."""
    return {
        "procs": str(place.cgroup / "cgroup.procs"),
        "netns": str(place.netns),
        "cwd": str(program.cwd),
        "status": status,
        "argv": list(program.argv),
        "env": {**ENVIRONMENT, **(program.env or {})},
        **_credentials(program.user),
    }


def _credentials(user: str | int | None) -> dict[str, Any]:
    if user is None:
        return {"uid": None}
    if isinstance(user, int):
        return {"uid": user, "gid": user, "groups": []}
    entry = pwd.getpwnam(user)
    groups = os.getgrouplist(user, entry.pw_gid)
    return {"uid": entry.pw_uid, "gid": entry.pw_gid, "groups": groups}


def _await_exec(process: LabProcess, reader: int) -> None:
    """Wait until the status pipe is closed by exec; whatever was written into it is a failure."""
    try:
        ready, _, _ = select.select([reader], [], [], START_SECONDS)
        failure = os.read(reader, 4096).decode() if ready else f"no exec in {START_SECONDS:g} s"
    except BaseException:
        process.kill9()
        raise
    finally:
        os.close(reader)
    if failure:
        process.kill9()
        raise LabError(f"cannot start {process.argv[0]}: {failure}")


def kill_session(process: LabProcess) -> None:
    """SIGKILL to the program and to what it started, as far as that stayed in its session."""
    if process.alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.kill9()
