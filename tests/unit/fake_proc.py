# SPDX-License-Identifier: Apache-2.0
"""What the reader of /proc is asked with, and processes for it that are files in a folder."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from agent.core.interest import Interest
from agent.edge.procfs import ProcessReader

NO_PATHS = Interest()


def paths(named: set[str]) -> Interest:
    return Interest(exe_paths=frozenset(named))


@dataclass
class FakeProc:
    """A folder in the shape of /proc, and one in that of a cgroup hierarchy.

    The instance guards `guarded`, which lies below the mount, as in a lab.
    """

    folder: Path

    def __post_init__(self) -> None:
        self.mount = self.folder / "cgroup"
        self.root = self.mount / "guarded"
        self.proc = self.folder / "proc"
        self.add_cgroup("")
        (self.proc / "self/ns").mkdir(parents=True)
        (self.folder / "mount-namespace").touch()
        (self.proc / "self/ns/mnt").symlink_to(self.folder / "mount-namespace")
        self.reader = ProcessReader(self.root, self.mount, self.proc)

    def add_cgroup(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        (path / "cgroup.procs").touch()
        return path

    def add(
        self,
        pid: int,
        *,
        command: str = "web",
        state: str = "S",
        started: int = 1000,
        cgroup: str = "/guarded/web.service",
        exe: Path | None = Path("/bin/sh"),
    ) -> Path:
        """A process of user 1001 and group 1002 (real ids; the others differ)."""
        folder = self.proc / str(pid)
        (folder / "ns").mkdir(parents=True)
        numbers = " ".join(["0"] * 18)
        (folder / "stat").write_text(f"{pid} ({command}) {state} {numbers} {started} 0 0\n")
        (folder / "status").write_text(
            f"Name:\t{command}\nState:\tS\nUid:\t1001\t0\t0\t0\nGid:\t1002\t0\t0\t0\n"
        )
        (folder / "cgroup").write_bytes(b"1:name=systemd:/x\n0::" + os.fsencode(cgroup) + b"\n")
        (folder / "ns/mnt").symlink_to(self.folder / "mount-namespace")
        if exe is not None:
            (folder / "exe").symlink_to(exe)
        below = self.add_cgroup(cgroup.removeprefix("/guarded").removeprefix("/"))
        with (below / "cgroup.procs").open("a") as members:
            members.write(f"{pid}\n")
        return folder

    def own_namespace(self, pid: int) -> None:
        """Give the process another mount namespace than ours."""
        link = self.proc / str(pid) / "ns/mnt"
        link.unlink()
        link.touch()

    def end(self, pid: int) -> None:
        shutil.rmtree(self.proc / str(pid))
