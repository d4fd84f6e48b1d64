# SPDX-License-Identifier: Apache-2.0
"""Load: programs in a unit that connect, talk or serve by themselves for as long as a test goes on.

A puppet does what it is told and when; a load goes on while the test does something else. What
came of each connection is counted there, by the program that made it, and asked for at the end.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.lab.errors import LabError
from tests.lab.host import LabHost
from tests.lab.process import PYTHON
from tests.lab.puppet import read_line
from tests.lab.waiting import PATIENCE, wait_until

_SOURCE = Path(__file__).with_name("load_main.py").read_text(encoding="utf-8")
_ANSWER_SECONDS = 15.0 * PATIENCE
"""A program answers between two connections; the longest of those is a lane's timeout."""


@dataclass(frozen=True)
class Lane:
    """Where to connect. `expect`: outcomes that are right, "ok", "TIMEOUT" or an errno's name."""

    name: str
    address: str
    port: int
    expect: tuple[str, ...] = ("ok",)
    timeout: float = 5.0


@dataclass(frozen=True)
class Report:
    """counts: by lane (of a server: by port) and outcome. odd: the first that were not expected."""

    counts: dict[str, dict[str, int]]
    odd: list[dict[str, Any]]

    def total(self, outcome: str = "ok") -> int:
        return sum(found.get(outcome, 0) for found in self.counts.values())


def _path(host: LabHost, record: str | None) -> str | None:
    return None if record is None else str(host.folder / record)


class Load:
    """One program. It waits for `begin`; the lab ends it with the rest."""

    def __init__(self, host: LabHost, unit: str, order: dict[str, Any]) -> None:
        argv = [PYTHON, "-I", "-S", "-c", _SOURCE, json.dumps(order)]
        pipe = subprocess.PIPE
        self.process = host.spawn(argv, unit, stdin=pipe, stdout=pipe)
        self.lanes = [
            Lane(**{**lane, "expect": tuple(lane["expect"])}) for lane in order.get("lanes", ())
        ]
        self.record = Path(order["record"]) if order.get("record") else None
        """Where each connection is written down; whole after a `report`."""
        self._what = f"the load of {order['kind']} in {unit} on {host.name}"

    @classmethod
    def serve(
        cls, host: LabHost, unit: str, ports: Sequence[int], record: str | None = None
    ) -> Load:
        """Echo on these ports, over both families. record: a file's name, to write all down in."""
        order = {"kind": "serve", "ports": list(ports), "record": _path(host, record)}
        return cls(host, unit, order)

    @classmethod
    def connect(
        cls,
        host: LabHost,
        unit: str,
        lanes: Sequence[Lane],
        pause: float = 0.002,
        record: str | None = None,
    ) -> Load:
        """Short connections, one after the other, with a pause after each, which is longer where
        the lab is patient; `record` as of serve."""
        order = {"kind": "connect", "lanes": [asdict(lane) for lane in lanes]}
        how = {"pause": pause * PATIENCE, "record": _path(host, record)}
        return cls(host, unit, {**order, **how})

    @classmethod
    def talk(
        cls, host: LabHost, unit: str, lane: Lane, connections: int, pause: float = 0.002
    ) -> Load:
        """Long connections that must never break."""
        order = {"kind": "talk", "lanes": [asdict(lane)], "connections": connections}
        return cls(host, unit, {**order, "pause": pause * PATIENCE})

    @property
    def pid(self) -> int:
        return self.process.pid

    def report(self) -> Report:
        """What came of it so far."""
        stdin, stdout = self.process.popen.stdin, self.process.popen.stdout
        assert stdin is not None, "it was started with pipes"
        assert stdout is not None, "it was started with pipes"
        try:
            stdin.write(b"\n")
            stdin.flush()
            found = json.loads(read_line(stdout, _ANSWER_SECONDS))
        except (OSError, TimeoutError) as failure:
            raise LabError(f"{self._what}: {failure}") from None
        return Report(found["counts"], found["odd"])

    def begin(self) -> None:
        """Start it; a server listens when this returns."""
        for _ in range(2):  # the second is answered by what the first has started
            self.report()

    def wait_running(self) -> None:
        """Until something has come of it."""
        wait_until(lambda: self.report().counts, f"{self._what} gets somewhere", timeout=10.0)
