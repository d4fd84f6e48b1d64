# SPDX-License-Identifier: Apache-2.0
"""One host of the lab: a network namespace, a cgroup subtree and folders, and programs in them.

A host has no processes of its own until a test starts them; each runs in a named unit, as it would
under systemd, so that an identity can be drawn from the unit.
"""

import contextlib
import itertools
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.lab import kernel
from tests.lab.errors import LabError
from tests.lab.process import (
    LabProcess,
    Place,
    Program,
    Stream,
    Streams,
    kill_session,
    launch,
)
from tests.lab.puppet import PUPPET_ARGV, Puppet
from tests.lab.tools import tool
from tests.lab.traces import remove_cgroup
from tests.lab.waiting import PATIENCE

AGENT_UNIT = "cordon-agent.service"
INTERFACE = "eth0"

T = TypeVar("T")


@dataclass
class LabHost:
    """A host. `number` is N in 192.0.2.N and fd00::N."""

    name: str
    number: int
    netns: Path
    cgroup: Path
    """The root of this host's cgroup subtree: what `/sys/fs/cgroup` is on a real host."""
    folder: Path
    pins: Path
    """This host's own folder in the lab's bpffs."""
    _processes: list[LabProcess] = field(default_factory=list, init=False, repr=False)
    _open: contextlib.ExitStack = field(
        default_factory=contextlib.ExitStack, init=False, repr=False
    )
    _serial: "itertools.count[int]" = field(default_factory=itertools.count, init=False, repr=False)

    @property
    def v4(self) -> str:
        return f"192.0.2.{self.number}"

    @property
    def v6(self) -> str:
        return f"fd00::{self.number:x}"

    @property
    def mac(self) -> str:
        return f"02:00:00:00:00:{self.number:02x}"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def config(self) -> Path:
        return self.folder / "config"

    @property
    def sockets(self) -> Path:
        return self.folder / "sockets"

    @property
    def logs(self) -> Path:
        return self.folder / "log"

    def address(self, family: int) -> str:
        """The address of this host in AF_INET or AF_INET6."""
        return self.v6 if family == socket.AF_INET6 else self.v4

    def unit_cgroup(self, unit: str) -> Path:
        """The folder of a unit's cgroup, made if it is not there.

        `unit` is a name below system.slice, or, with a slash in it, a path below the host's root.
        """
        path = self.cgroup / (unit if "/" in unit else f"system.slice/{unit}")
        path.mkdir(parents=True, exist_ok=True)
        return path

    def remove_unit(self, unit: str) -> None:
        """Kill the unit's processes and remove its cgroup."""
        remove_cgroup(self.unit_cgroup(unit))

    def spawn(
        self,
        argv: Sequence[str],
        unit: str = "api.service",
        *,
        user: str | int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/",
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
    ) -> LabProcess:
        """Start a program in this host. Without `stdout`, its output goes to its `log`."""
        program = Program(argv, user, env, cwd)
        if stdout is not None:
            return self._launch(program, unit, Streams(stdin, stdout))
        log = self.logs / f"{unit.replace('/', '_')}-{next(self._serial)}.log"
        return self._launch_logged(program, unit, log, stdin)

    def run(
        self,
        argv: Sequence[str],
        unit: str = "api.service",
        *,
        user: str | int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/",
        input: str = "",
        timeout: float = 10.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in this host to its end; its output comes back as text.

        Raises LabError if it has not ended after `timeout` seconds; it is killed then.
        """
        timeout *= PATIENCE
        streams = Streams(subprocess.PIPE, subprocess.PIPE, subprocess.PIPE)
        process = self._launch(Program(argv, user, env, cwd), unit, streams)
        try:
            out, err = process.popen.communicate(input.encode(), timeout)
        except subprocess.TimeoutExpired:
            kill_session(process)
            raise LabError(f"{argv[0]} on {self.name} did not end in {timeout:g} s") from None
        finally:
            process.close_streams()
        self._processes.remove(process)
        status = process.wait()
        return subprocess.CompletedProcess(
            list(argv), status, out.decode(errors="replace"), err.decode(errors="replace")
        )

    def start_daemon(
        self, argv: Sequence[str], log: Path | None = None, env: Mapping[str, str] | None = None
    ) -> LabProcess:
        """Start a long-running root process in this host's unit of the agent."""
        program = Program(argv, env=env)
        return self._launch_logged(program, AGENT_UNIT, log or self.logs / "agent.log")

    def puppet(self, unit: str = "api.service", *, user: str | int | None = None) -> Puppet:
        """Start a process in `unit` that does socket operations on command."""
        streams = Streams(subprocess.PIPE, subprocess.PIPE, None)
        return Puppet(self._launch(Program(PUPPET_ARGV, user), unit, streams), unit)

    def inside(self, function: Callable[[], T]) -> T:
        """Run a function of this process in the host's network namespace (not in its cgroup)."""
        return kernel.inside(self.netns, function)

    def tool(self, argv: Sequence[str], input: str = "") -> str:
        """Run `ip`, `nft` or their like on this host's network, outside its cgroups."""
        return tool(self.netns, argv, input)

    def sysctl(self, name: str, value: int | str | None = None) -> str:
        """Set a `net.…` sysctl of this host alone, if `value` is given; return what it is now."""
        path = Path("/proc/sys") / name.replace(".", "/")

        def work() -> str:
            if value is not None:
                path.write_text(str(value), encoding="ascii")
            return path.read_text(encoding="ascii").strip()

        return self.inside(work)

    def write_file(self, name: str, content: str | bytes, mode: int = 0o600) -> Path:
        """Write a file below the host's folder; it appears whole or not at all."""
        path = self.folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)
        fresh.chmod(mode)
        return fresh.rename(path)

    def keep(self, resource: contextlib.AbstractContextManager[T]) -> T:
        """Enter a resource that is to be left when the lab ends."""
        return self._open.enter_context(resource)

    def close(self) -> None:
        """Close what was kept, kill what was started. The lab removes the rest."""
        self._open.close()
        for process in self._processes:
            kill_session(process)
        self._processes.clear()

    def _launch(self, program: Program, unit: str, streams: Streams) -> LabProcess:
        process = launch(program, Place(self.unit_cgroup(unit), self.netns), streams)
        self._processes.append(process)
        return process

    def _launch_logged(
        self, program: Program, unit: str, log: Path, stdin: Stream = subprocess.DEVNULL
    ) -> LabProcess:
        with log.open("ab") as stream:
            process = self._launch(program, unit, Streams(stdin, stream, stream))
        process.log = log
        return process
