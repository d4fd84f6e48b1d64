# SPDX-License-Identifier: Apache-2.0
"""Processes and the kernel's side of them as values, for tests that have neither.

The comparing and writing of entries is the real one (`ProcessMaps`), on dictionaries.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from agent.core.abi import EXECUTABLE_KEY, ExecutableKey, Process, ProcessFlag
from agent.core.attest import Facts
from agent.core.events import ProcessReport
from agent.core.interest import Interest
from agent.core.model import Identity, Snapshot
from agent.edge.maps import BpfMap
from agent.edge.process_maps import ProcessMaps
from agent.edge.procfs import FactsUnreadable, ProcessGone, ProcessReader, Scarce


def facts(pid: int, exe: str = "/bin/web", user: str = "root", started: int = 1) -> Facts:
    """A process with a file of its own for each path, all in one unit."""
    uid = {"root": 0, "app": 1000}[user]
    inode = int.from_bytes(hashlib.sha256(exe.encode()).digest()[:4], "little")
    return Facts(
        pid=pid, started=started, command=exe.rpartition("/")[2], uid=uid, gid=uid, user=user,
        group=user, cgroup="/system.slice/x.service", cgroup_id=7, exe=exe, exe_vouched=True,
        inode=inode, device=1 << 20, ctime_ns=0, links=1,
    )  # fmt: skip


def executable_key(of: Facts) -> bytes:
    return EXECUTABLE_KEY.pack(ExecutableKey(of.inode, 0, of.cgroup_id, 0, of.device, of.uid))


class DictMap:
    """As much of a BpfMap as ProcessMaps asks for."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self.entries[key] = value

    def change(self, key: bytes, value: bytes) -> bool:
        if key not in self.entries:
            return False
        self.entries[key] = value
        return True

    def delete(self, key: bytes) -> bool:
        return self.entries.pop(key, None) is not None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(list(self.entries.items()))

    def count(self) -> int:
        return len(self.entries)

    def clear(self) -> int:
        count = len(self.entries)
        self.entries.clear()
        return count

    def close(self) -> None:
        """Nothing is open."""


class FakeProcessMaps(ProcessMaps):
    """The real comparing and writing, on dictionaries."""

    def __init__(self) -> None:
        self.executables = DictMap()
        self._processes = cast(BpfMap, DictMap())
        self._executables = cast(BpfMap, self.executables)


@dataclass
class FakeReader(ProcessReader):
    """Processes as values.

    unreadable: alive, and nothing of them can be read. missed: nothing could be when it was tried.
    scarce: the agent has no descriptors left.
    """

    living: dict[int, Facts] = field(default_factory=dict)
    unreadable: set[int] = field(default_factory=set)
    missed: set[int] = field(default_factory=set)
    scarce: bool = False

    def __post_init__(self) -> None:
        """No /proc is looked at."""

    def read(self, pid: int, interest: Interest) -> Facts:
        if self.scarce:
            raise Scarce("made up")
        if pid not in self.living:
            raise ProcessGone
        if pid in self.unreadable:
            self.missed.add(pid)
            raise FactsUnreadable("made up")
        return self.living[pid]

    def unchanged(self, facts: Facts) -> bool:
        return self.read(facts.pid, Interest()) == facts

    def walk(self, interest: Interest) -> tuple[dict[int, Facts], frozenset[int]]:
        if self.scarce:
            raise Scarce("made up")
        seen = {pid: f for pid, f in self.living.items() if pid not in self.unreadable}
        self.missed |= self.living.keys() - seen.keys()
        return seen, frozenset(self.living)


class FakeKernel:
    """What is pinned: it outlives the agent. Tracepoints tell of processes once attached."""

    def __init__(self) -> None:
        self.loaded = self.attached = False
        self.policy: Snapshot | None = None
        self.maps = FakeProcessMaps()
        self.reports: deque[ProcessReport] = deque()
        self.lost = 0
        self._stamp = 0

    def exec(self, of: Facts) -> None:
        """A new image: tagged at once if its file is known, else pending and asked about."""
        if not self.attached:
            return
        key = executable_key(of)
        known = self.maps.executables.get(key)
        old = self.maps.get(of.pid)
        identity = int.from_bytes(known[:4], "little") if known else int(Identity.PENDING)
        flags = int(ProcessFlag.ATTESTED) if known else 0
        self._put(of, identity, flags, old.generation + 1 if old else 0)
        if not known:
            self._report(of.pid, key)

    def fork(self, parent: int, child: int) -> None:
        entry = self.maps.get(parent)
        if not self.attached or entry is None:
            return
        self._write(child, entry._replace(stamp=self._next_stamp()))
        if entry.identity == Identity.PENDING:
            self._report(child, b"")

    def speak(self, of: Facts) -> None:
        """A socket call: one that was never met, or has changed user, is asked about."""
        entry = self.maps.get(of.pid)
        if not self.attached or (entry is not None and entry.uid == of.uid):
            return
        self._put(of, int(Identity.PENDING), 0, entry.generation + 1 if entry else 0)
        self._report(of.pid, b"")

    def lose(self) -> None:
        """The ring was full."""
        if self.reports:
            self.reports.popleft()
            self.lost += 1

    def exit(self, pid: int) -> None:
        entry = self.maps.get(pid)
        if self.attached and entry is not None:
            self.maps.delete(pid, entry)

    def _put(self, of: Facts, identity: int, flags: int, generation: int) -> None:
        self._write(
            of.pid,
            Process(identity, of.uid, of.cgroup_id, 0, of.inode, of.device, flags, generation,
                    self._next_stamp()),
        )  # fmt: skip

    def _write(self, pid: int, entry: Process) -> None:
        old = self.maps.get(pid)
        if old is not None:
            self.maps.delete(pid, old)
        self.maps.replace(pid, None, entry)

    def _report(self, pid: int, key: bytes) -> None:
        entry = self.maps.get(pid)
        assert entry is not None
        self.reports.append(ProcessReport(pid, entry.generation, key))

    def _next_stamp(self) -> int:
        self._stamp += 1
        return self._stamp
