# SPDX-License-Identifier: Apache-2.0
"""The kernel's `processes` and `executables`: read, compare and write, delete.

A hash map has no compare-and-swap, so `replace` compares first and its caller looks at the process
once more afterwards (`procfs.unchanged`). What may slip between costs one attestation more.
"""

from __future__ import annotations

from pathlib import Path

from agent.core.abi import EXECUTABLE, EXECUTABLE_KEY, PROCESS, Executable, Process
from agent.edge import cgroups
from agent.edge.maps import BpfMap

_KEY_SIZE = 4


def _key(pid: int) -> bytes:
    return pid.to_bytes(_KEY_SIZE, "little")


class ProcessMaps:
    """Both maps, open."""

    def __init__(self, folder: Path) -> None:
        self._processes = BpfMap.open_pinned(folder / "processes")
        self._executables = BpfMap.open_pinned(folder / "executables")

    def get(self, pid: int) -> Process | None:
        value = self._processes.get(_key(pid))
        return PROCESS.unpack(value) if value is not None else None

    def all(self) -> dict[int, Process]:
        return {
            int.from_bytes(key, "little"): PROCESS.unpack(value)
            for key, value in self._processes.items()
        }

    def count(self) -> int:
        return self._processes.count()

    def replace(self, pid: int, before: Process | None, after: Process) -> Process | None:
        """Write `after` unless the entry is no longer `before`; then return what it is now.

        Raises MapFull.
        """
        current = self.get(pid)
        if current is not None and (before is None or not same_image(before, current)):
            return current
        if before is None:
            self._processes.put(_key(pid), PROCESS.pack(after))
        elif (
            current is not None
        ):  # else it has ended, or does so now: nobody would delete a new one
            self._processes.change(_key(pid), PROCESS.pack(after))
        return None

    def delete(self, pid: int, entry: Process) -> None:
        """Unless it is already of another process."""
        current = self.get(pid)
        if current is not None and same_image(current, entry):
            self._processes.delete(_key(pid))

    def remember_executable(self, key: bytes, identity: int) -> None:
        self._executables.put(key, EXECUTABLE.pack(Executable(identity)))

    def forget_executables(self) -> int:
        return self._executables.clear()

    def forget_cgroups(self, root: Path) -> int:
        """Forget what ran in cgroups that are gone: no process will ever be in one of their number
        again. Returns how many executables that were."""
        keys = [key for key, _ in self._executables.items()]
        if not keys:
            return 0
        alive = set(cgroups.ids(root))  # after the keys: what is not there now has gone
        gone = [key for key in keys if EXECUTABLE_KEY.unpack(key).cgroup not in alive]
        return self._executables.delete_batch(gone)

    def close(self) -> None:
        self._processes.close()
        self._executables.close()


def same_image(one: Process, other: Process) -> bool:
    """Whether both entries are of the same image of the same process."""
    return (one.generation, one.stamp) == (other.generation, other.stamp)
