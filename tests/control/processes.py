# SPDX-License-Identifier: Apache-2.0
"""Controllers as processes of their own, over one store: started, asked for their port, killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from tests.store import making

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
_SERVING = re.compile(r"serving .*main=(\d+) ")


class Process:
    """`cordon-controller serve`, from `with` to its end."""

    def __init__(self, folder: Path, name: str, database: str, port: int = 0) -> None:
        self.name = name
        self._folder = folder / name
        self._folder.mkdir()
        key = self._folder / "master.key"
        key.touch(mode=0o600)
        key.write_bytes(making.MASTER)
        self._config = self._folder / "controller.toml"
        self._config.write_text(
            f'name = "{name}"\n'
            f'listen = "127.0.0.1:{port}"\n'
            'listen_enrolment = "127.0.0.1:0"\n'
            'listen_metrics = ""\n'
            f'advertise = ["127.0.0.1:{port or 1}"]\n'
            'names = ["127.0.0.1"]\n'
            f'state_dir = "{self._folder}"\n'
            f'database = "{database}"\n'
        )
        self._log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""

    @property
    def pid(self) -> int:
        assert self._process is not None, "it runs"
        return self._process.pid

    def __enter__(self) -> Process:
        self.start()
        return self

    def start(self) -> None:
        argv = [sys.executable, "-m", "controller.cli.main", "serve", "--config", str(self._config)]
        self._log.write_bytes(b"")
        with self._log.open("wb") as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, env=environment)
        until = time.monotonic() + START_SECONDS
        while (found := _SERVING.search(self.log())) is None:
            if self._process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"controller {self.name} does not serve: {self.log()}")
            time.sleep(0.05)
        self.address = f"127.0.0.1:{found.group(1)}"

    def log(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        """At once, as in a crash."""
        assert self._process is not None, "it runs"
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(START_SECONDS)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(START_SECONDS)
