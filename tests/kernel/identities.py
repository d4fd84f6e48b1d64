# SPDX-License-Identifier: Apache-2.0
"""What the identity tests share: one host with an agent, and questions about its processes."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.edge import cgroups
from agent.edge.process_maps import ProcessMaps
from agent.pb import local_pb2
from tests.lab import LabHost, LabProcess, wait_until
from tests.lab.cordon import RPC_SECONDS, Cordon, CordonHost, cordon

SEGMENTS = """
---
kind: Segment
name: s
mode: enforce
---
kind: Segment
name: default
mode: audit
"""


def workload(name: str, *alternatives: str) -> str:
    """A Workload document of segment `s`; each alternative is the inside of a YAML mapping."""
    items = "".join(f"  - {{{alternative}}}\n" for alternative in alternatives)
    return f"---\nkind: Workload\nname: {name}\nsegment: s\nmatch:\n{items}"


def policy(*documents: str) -> str:
    return "".join(documents) + SEGMENTS


@contextlib.contextmanager
def racer() -> Iterator[Path]:
    """A folder that every user may read, with the program `racer` in it."""
    folder = Path(tempfile.mkdtemp(prefix="cordon-racer-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        source = Path(__file__).with_name("racer.c")
        command = ["gcc", "-Wall", "-Werror", "-static", "-O1", "-pthread", str(source)]
        subprocess.run([*command, "-o", str(folder / "racer")], check=True, timeout=120)
        yield folder
    finally:
        shutil.rmtree(folder)


def read_line(process: LabProcess, timeout: float = 20.0) -> str:
    """A line of the process's standard output, which is a pipe."""
    stream = process.popen.stdout
    assert stream is not None
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([stream], [], [], timeout)
        assert ready, f"{process.argv} said nothing within {timeout:g} s"
        piece = os.read(stream.fileno(), 1)
        assert piece, f"{process.argv} ended with status {process.wait()}"
        line += piece
    return line.decode().strip()


def write_line(process: LabProcess) -> None:
    assert process.popen.stdin is not None
    process.popen.stdin.write(b"\n")
    process.popen.stdin.flush()


class Host:
    """Host `a` of a running Cordon, asked as `cordonctl ps` asks."""

    def __init__(self, running: Cordon, text: str) -> None:
        self.running = running
        self.text = text
        self.agent: CordonHost = running["a"]

    @property
    def lab(self) -> LabHost:
        return self.agent.lab

    def process(self, pid: int) -> local_pb2.Process | None:
        request = local_pb2.ProcessesRequest(pid=pid)
        found = self.agent.stub().Processes(request, timeout=RPC_SECONDS).processes
        return found[0] if found else None

    def settled(self, pid: int, timeout: float = 10.0) -> str:
        """The workload's name, or "host", once the process is not pending; "" if it has ended."""

        def ask() -> str | None:
            process = self.process(pid)
            if process is not None and process.state != "pending":
                return f"={name_of(process)}"
            return None if Path(f"/proc/{pid}").exists() else "="

        found = wait_until(ask, f"process {pid} has an identity", timeout=timeout)
        assert found is not None, "waited for"
        return found.removeprefix("=")

    def becomes(self, pid: int, name: str, timeout: float = 10.0) -> local_pb2.Process:
        """Wait until the process is that workload."""

        def ask() -> local_pb2.Process | None:
            process = self.process(pid)
            return process if process is not None and name_of(process) == name else None

        return wait_until(ask, f"process {pid} is {name}", timeout=timeout)  # type: ignore[return-value]

    def start(self, argv: Sequence[str], unit: str, user: str | int | None = None) -> LabProcess:
        """Start a program whose standard input and output are ours."""
        pipe = subprocess.PIPE
        return self.lab.spawn(argv, unit, user=user, stdin=pipe, stdout=pipe)

    def settled_as(self, pid: int, exe: str) -> str:
        """As `settled`, once the process runs an executable whose path holds this."""

        def there() -> bool:
            process = self.process(pid)
            return process is not None and exe in process.exe

        wait_until(there, f"process {pid} runs {exe}")
        return self.settled(pid)

    def owners(self, pid: int, state: str = "established") -> list[str]:
        """Whose the process's sockets in this state are, as the kernel sees it."""
        return [s.local_workload for s in self.agent.sockets(pid) if s.state == state]

    def entries(self) -> dict[int, object]:
        """The kernel's own."""
        maps = ProcessMaps(self.agent.pins / "maps")
        try:
            return dict(maps.all())
        finally:
            maps.close()

    def living(self) -> list[int]:
        return list(cgroups.pids(self.lab.cgroup))

    def walk_again(self) -> None:
        """The same policy as a new revision: every process is looked at anew."""
        self.running.apply(self.text)

    def outcome(self, name: str) -> int:
        return self.agent.outcomes().get(name, 0)


def name_of(process: local_pb2.Process) -> str:
    if process.state == "pending":
        return "pending"
    return process.workload or "host"


@contextlib.contextmanager
def one_host(text: str, **extra: object) -> Iterator[Host]:
    """A lab of one host with an agent under this policy."""
    with cordon(text, ("a",), **extra) as running:
        yield Host(running, text)
