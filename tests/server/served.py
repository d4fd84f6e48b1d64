# SPDX-License-Identifier: Apache-2.0
"""`cordon-controller serve` as a child, and what its operator does beside it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from controller.store import SqlStorage, open_store
from tests.lab.waiting import wait_until

ROOT = Path(__file__).parents[2]
START_SECONDS = 90.0
STOP_SECONDS = 60.0
_SERVING = re.compile(r"^info serving controller=\S+ main=(\d+) enrolment=(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Site:
    """A controller's folder and configuration."""

    folder: Path
    database: str = ""
    name: str = "ctl-1"

    @property
    def config(self) -> Path:
        return self.folder / f"{self.name}.toml"

    @property
    def url(self) -> str:
        return self.database or f"sqlite:///{self.folder / 'state' / 'cordon.db'}"

    def write(self, **more: object) -> None:
        table: dict[str, object] = {
            "name": self.name,
            "listen": "127.0.0.1:0",
            "listen_enrolment": "127.0.0.1:0",
            "listen_metrics": "",
            "advertise": ["localhost:7440"],
            "names": ["localhost", "127.0.0.1"],
            "state_dir": str(self.folder / "state"),
            **({"database": self.database} if self.database else {}),
            **more,
        }
        lines = (f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        self.config.write_text("".join(lines))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Any command but `serve`."""
        return subprocess.run(
            [sys.executable, "-m", "controller.cli.main", *arguments, "--config", self.config],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    def init(self) -> str:
        """The first operator's login token."""
        done = self.command("init", "--trust-domain", "example.org")
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    @contextlib.contextmanager
    def store(self) -> Iterator[SqlStorage]:
        """As another controller would have it."""
        key = (self.folder / "state" / "master.key").read_bytes()
        storage = open_store(self.url, key)
        try:
            yield storage
        finally:
            storage.close()


class Served:
    """A running controller, from `with` to its end."""

    def __init__(self, site: Site, *options: str, **environment: str) -> None:
        self.site = site
        self.log = site.folder / f"{site.name}.log"
        self._options = options
        self._environment = {**os.environ, **environment}
        self.process: subprocess.Popen[bytes]
        self.main = 0
        self.enrolment = 0

    def __enter__(self) -> Served:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "controller.cli.main", "serve",
                 "--config", self.site.config, *self._options],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment,
            )  # fmt: skip
        try:
            match = wait_until(self._started, "the controller to serve", START_SECONDS, 0.05)
        except BaseException:
            self._kill()
            raise
        assert isinstance(match, re.Match), f"it ended: {self.text}"
        self.main, self.enrolment = int(match[1]), int(match[2])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            status = self.stop()
            assert error or status == 0, self.text

    @property
    def text(self) -> str:
        """What it logged so far."""
        return self.log.read_text(errors="replace")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status."""
        self.process.send_signal(how)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
            raise

    def _started(self) -> re.Match[str] | str | None:
        return _SERVING.search(self.text) or (
            f"status {self.process.returncode}" if self.process.poll() is not None else None
        )

    def _kill(self) -> None:
        self.process.kill()
        self.process.wait(STOP_SECONDS)


Pair = tuple[Served, Served, SqlStorage]
"""Two on one database, and their store."""
