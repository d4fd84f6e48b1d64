# SPDX-License-Identifier: Apache-2.0
"""A kernel ring buffer's records, one call each, through libbpf's reader."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable

from agent.edge import libbpf
from agent.edge.libbpf import BpfError

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class RingBuffer:
    """Reads one ring. `fileno()` becomes readable when the kernel has put a record into it."""

    def __init__(self, map_fd: int, on_record: Callable[[bytes], None]) -> None:
        self._on_record = on_record
        self._failures: list[Exception] = []
        self._callback = _CALLBACK(self._receive)  # kept: C holds only the pointer
        pointer = libbpf.library().ring_buffer__new(map_fd, self._callback, None, None)
        if not pointer:
            raise BpfError(ctypes.get_errno() or errno.EINVAL, "opening a ring buffer")
        self._ring: ctypes.c_void_p | None = ctypes.c_void_p(pointer)

    def _receive(self, _context: int, data: int, size: int) -> int:
        try:
            self._on_record(ctypes.string_at(data, size))
        except Exception as error:  # must not unwind through C
            self._failures.append(error)
        return 0

    def fileno(self) -> int:
        return libbpf.call("ring_buffer__epoll_fd", self._ring, what="asking for a ring's fd")

    def consume(self) -> int:
        """Hand over all that is there; returns how many. What a callback raised is raised here."""
        count = libbpf.call("ring_buffer__consume", self._ring, what="reading a ring buffer")
        if self._failures:
            failures, self._failures = self._failures, []
            raise failures[0]
        return count

    def close(self) -> None:
        if self._ring is not None:
            libbpf.library().ring_buffer__free(self._ring)
            self._ring = None
