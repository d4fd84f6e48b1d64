# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server for tests, from Debian's package: its own cluster in a temporary folder.

Never as root: the server refuses it, so as root it runs as the user `postgres`. It is a child of
the tests and gets a signal when they end, however they do.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

START_SECONDS = 60.0
STOP_SECONDS = 30.0
USER = "cordon"


class PostgresError(Exception):
    """The server cannot be had; the sentence says why."""


def binaries() -> Path:
    """The newest that is installed. Raises PostgresError."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_version)
    if not found:
        raise PostgresError("PostgreSQL is not installed: scripts/setup does it")
    return found[-1].parent


def _version(path: Path) -> int:
    text = path.parent.parent.name
    return int(text) if text.isdigit() else 0


class Cluster:
    """A running server, from `with` to its end; the folder goes with it.

    Start it in the main thread: it is stopped when the thread that started it ends.
    """

    def __init__(self) -> None:
        self._bin = binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="cordon-pg-"))
        self._data = self._folder / "data"
        self._server: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self.port = 0

    def __enter__(self) -> Cluster:
        try:
            if os.geteuid() == 0:
                shutil.chown(self._folder, "postgres", "postgres")
            self._run("initdb", "-D", self._data, "-U", USER, "-A", "trust", "-E", "UTF8",
                      "--locale", "C.UTF-8", "--no-sync")  # fmt: skip
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def start(self) -> None:
        """On the port that it had, or a free one."""
        self.port = self.port or _free_port()
        log = (self._folder / "log").open("ab")
        with log:
            self._server = subprocess.Popen(
                self._as_user(
                    "postgres",
                    "-D",
                    self._data,
                    "-p",
                    self.port,
                    "-k",
                    self._folder,
                    "-c",
                    "listen_addresses=127.0.0.1",
                    "-c",
                    "max_connections=200",
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
        self._wait_ready()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: fast. SIGQUIT: at once, as in a crash."""
        server, self._server = self._server, None
        if server is None:
            return
        server.send_signal(how)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(STOP_SECONDS)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    def create(self, template: str = "template1") -> str:
        """The name of a new database."""
        self._databases += 1
        name = f"test_{self._databases}"
        self._run("createdb", "-h", self._folder, "-p", self.port, "-U", USER, "-T", template, name)
        return name

    def drop(self, name: str) -> None:
        self._run("dropdb", "-h", self._folder, "-p", self.port, "-U", USER, "--force", name)

    def _end(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_ready(self) -> None:
        until = time.monotonic() + START_SECONDS
        assert self._server is not None, "it was started above"
        while time.monotonic() < until:
            if self._server.poll() is not None:
                break
            ready = self._as_user("pg_isready", "-q", "-h", self._folder, "-p", self.port)
            if subprocess.run(ready, cwd=self._folder, check=False).returncode == 0:
                return
            time.sleep(0.05)
        log = (self._folder / "log").read_text(errors="replace")[-2000:]
        raise PostgresError(f"the server did not start within {START_SECONDS:.0f} s: {log}")

    def _run(self, *arguments: object) -> None:
        done = subprocess.run(
            self._as_user(*arguments), cwd=self._folder, capture_output=True, check=False
        )
        if done.returncode:
            raise PostgresError(f"{arguments[0]}: {done.stderr.decode(errors='replace')[-2000:]}")

    def _as_user(self, program: object, *arguments: object) -> list[str]:
        """The signal comes when the tests' process ends without having stopped the server."""
        command = ["setpriv", "--pdeathsig", "INT"]
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            command += ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--init-groups"]
        return [*command, "--", str(self._bin / str(program)), *map(str, arguments)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
