# SPDX-License-Identifier: Apache-2.0
"""`struct control` as memory shared with the kernel side: each field is one aligned store."""

from __future__ import annotations

from pathlib import Path

from agent.core.abi import CONTROL
from agent.edge.maps import BpfMap, mmap_array


class ControlPage:
    """The pinned map `control`. Reading and writing cost no system call."""

    def __init__(self, folder: Path) -> None:
        with BpfMap.open_pinned(folder / "control") as control:
            self._memory = mmap_array(control)
        self._bytes = memoryview(self._memory)
        self._words = self._bytes.cast("Q")
        self._halves = self._bytes.cast("I")

    def read(self, name: str) -> int:
        offset, size = CONTROL.offsets[name], CONTROL.sizes[name]
        return self._words[offset // 8] if size == 8 else self._halves[offset // 4]

    def write(self, name: str, value: int) -> None:
        """A store through a native view is one move of the field's own width."""
        offset, size = CONTROL.offsets[name], CONTROL.sizes[name]
        if size == 8:
            self._words[offset // 8] = value
        else:
            self._halves[offset // 4] = value

    @property
    def generation(self) -> int:
        return self.read("generation")

    def close(self) -> None:
        for view in (self._words, self._halves, self._bytes):
            view.release()
        self._memory.close()
