# SPDX-License-Identifier: Apache-2.0
"""Kernel maps as objects: keys and values are bytes, layouts are `agent.core.abi`'s affair.

Batches are used where the kind of map has them. Errors are BpfError; a full map is MapFull, which
callers treat as an answer and not as an accident.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from agent.edge import libbpf
from agent.edge.libbpf import BpfError

BATCH = 4096


class MapKind(IntEnum):
    """enum bpf_map_type, include/uapi/linux/bpf.h."""

    HASH = 1
    ARRAY = 2
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    SK_STORAGE = 24
    RINGBUF = 27


NO_PREALLOC = 1
MMAPABLE = 1 << 10
_PERCPU = (MapKind.PERCPU_HASH, MapKind.PERCPU_ARRAY)
_BPF_EXIST = 2
"""include/uapi/linux/bpf.h."""
_BATCHED = (MapKind.HASH, MapKind.LRU_HASH, MapKind.ARRAY, MapKind.LPM_TRIE, *_PERCPU)


class MapFull(BpfError):
    """No room for another entry."""


class MapInfo(ctypes.Structure):
    """The head of struct bpf_map_info."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


class BpfMap:
    """An open map. Closing it does not remove what is pinned."""

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name
        info = MapInfo()
        size = ctypes.c_uint32(ctypes.sizeof(info))
        libbpf.call(
            "bpf_obj_get_info_by_fd",
            fd,
            ctypes.byref(info),
            ctypes.byref(size),
            what=f"reading about the map {name}",
        )
        self.kind, self.id, self.flags = int(info.type), int(info.id), int(info.map_flags)
        self.key_size, self.value_size = int(info.key_size), int(info.value_size)
        self.max_entries = int(info.max_entries)

    @classmethod
    def open_pinned(cls, path: Path) -> BpfMap:
        what = f"opening the pinned map {path}"
        return cls(libbpf.call("bpf_obj_get", str(path).encode(), what=what), path.name)

    @classmethod
    def create(
        cls,
        kind: MapKind,
        name: str,
        key_size: int,
        value_size: int,
        max_entries: int,
        flags: int = 0,
        inner: BpfMap | None = None,
    ) -> BpfMap:
        sizes = (key_size, value_size, max_entries)
        inner_fd = inner.fd if inner is not None else None
        return cls(libbpf.map_create(kind, name, sizes, flags, inner_fd), name)

    @classmethod
    def by_id(cls, number: int, name: str) -> BpfMap:
        """A map by its kernel id, as an array of maps gives its inner ones."""
        what = f"opening the map {name} by its id {number}"
        return cls(libbpf.call("bpf_map_get_fd_by_id", ctypes.c_uint32(number), what=what), name)

    @property
    def _stored_size(self) -> int:
        """Bytes of all values of one key as user space sees them."""
        if self.kind in _PERCPU:
            return (self.value_size + 7) // 8 * 8 * libbpf.possible_cpus()
        return self.value_size

    def get(self, key: bytes) -> bytes | None:
        """The value; for a per-CPU map all CPUs' values, each padded to 8 bytes."""
        value = ctypes.create_string_buffer(self._stored_size)
        try:
            libbpf.call("bpf_map_lookup_elem", self.fd, key, value, what=self._what("reading"))
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return value.raw

    def get_percpu(self, key: bytes) -> list[bytes]:
        stored = self.get(key)
        return self._split(stored) if stored is not None else []

    def put(self, key: bytes, value: bytes) -> None:
        try:
            self._update(key, value, 0)
        except BpfError as error:
            raise self._maybe_full(error) from error

    def change(self, key: bytes, value: bytes) -> bool:
        """Write it if there is an entry, in one step. Whether there was."""
        try:
            self._update(key, value, _BPF_EXIST)
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def _update(self, key: bytes, value: bytes, flags: int) -> None:
        libbpf.call(
            "bpf_map_update_elem",
            self.fd,
            key,
            value,
            ctypes.c_uint64(flags),
            what=self._what("writing"),
        )

    def delete(self, key: bytes) -> bool:
        """Whether it was there."""
        try:
            libbpf.call("bpf_map_delete_elem", self.fd, key, what=self._what("deleting from"))
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def put_batch(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """All of them. After an error some are written: meant for maps that are not yet in use."""
        if not keys:
            return
        if self.kind not in _BATCHED:
            for key, value in zip(keys, values, strict=True):
                self.put(key, value)
            return
        count = ctypes.c_uint32(len(keys))
        opts = libbpf.MapBatchOpts(sz=ctypes.sizeof(libbpf.MapBatchOpts))
        try:
            libbpf.call(
                "bpf_map_update_batch",
                self.fd,
                b"".join(keys),
                b"".join(values),
                ctypes.byref(count),
                ctypes.byref(opts),
                what=self._what("writing a batch to"),
            )
        except BpfError as error:
            raise self._maybe_full(error) from error

    def delete_batch(self, keys: Sequence[bytes]) -> int:
        """How many were there."""
        return sum(self.delete(key) for key in keys)

    def clear(self) -> int:
        return self.delete_batch(list(self.keys()))

    def keys(self) -> Iterator[bytes]:
        """Every key; one that is deleted meanwhile may make the walk begin again."""
        key: bytes | None = None
        following = ctypes.create_string_buffer(self.key_size)
        seen: set[bytes] = set()
        while True:
            try:
                libbpf.call(
                    "bpf_map_get_next_key", self.fd, key, following, what=self._what("walking")
                )
            except BpfError as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            key = following.raw
            if key not in seen:
                seen.add(key)
                yield key

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        if self.kind in _BATCHED:
            yield from self._items_batched()
            return
        for key in self.keys():
            value = self.get(key)
            if value is not None:
                yield key, value

    def items_percpu(self) -> Iterator[tuple[bytes, list[bytes]]]:
        for key, stored in self.items():
            yield key, self._split(stored)

    def count(self) -> int:
        """How many entries; of a kind without batches, by walking the keys."""
        if self.kind in _BATCHED:
            return sum(count for count, _, _ in self._batches())
        return sum(1 for _ in self.keys())

    def _items_batched(self) -> Iterator[tuple[bytes, bytes]]:
        for count, keys, values in self._batches():
            raw_keys, raw_values = keys.raw, values.raw
            for index in range(count):
                yield (
                    raw_keys[index * self.key_size : (index + 1) * self.key_size],
                    raw_values[index * self._stored_size : (index + 1) * self._stored_size],
                )

    def _batches(self) -> Iterator[tuple[int, ctypes.Array[Any], ctypes.Array[Any]]]:
        """(entries, their keys, their values) of one system call each."""
        size = min(self.max_entries, BATCH)
        token = ctypes.create_string_buffer(max(self.key_size, 8))
        started = False
        while True:
            keys = ctypes.create_string_buffer(size * self.key_size)
            values = ctypes.create_string_buffer(size * self._stored_size)
            count = ctypes.c_uint32(size)
            opts = libbpf.MapBatchOpts(sz=ctypes.sizeof(libbpf.MapBatchOpts))
            result = int(
                libbpf.library().bpf_map_lookup_batch(
                    self.fd,
                    token if started else None,
                    token,
                    keys,
                    values,
                    ctypes.byref(count),
                    ctypes.byref(opts),
                )
            )
            if result == -errno.ENOSPC and size < self.max_entries:
                size = min(size * 4, self.max_entries)  # one bucket holds more than the batch
                continue
            if result < 0 and result != -errno.ENOENT:
                raise BpfError(-result, self._what("reading a batch of"))
            started = True
            yield count.value, keys, values
            if result == -errno.ENOENT:
                return

    def _split(self, stored: bytes) -> list[bytes]:
        step = (self.value_size + 7) // 8 * 8
        return [stored[at : at + self.value_size] for at in range(0, len(stored), step)]

    def _what(self, doing: str) -> str:
        return f"{doing} the map {self.name}"

    def _maybe_full(self, error: BpfError) -> BpfError:
        if error.errno in (errno.E2BIG, errno.ENOSPC):
            bound = f"it holds {self.max_entries} entries"
            return MapFull(error.errno, self._what("writing"), bound)
        return error

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> BpfMap:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def mmap_array(array: BpfMap) -> mmap.mmap:
    """The values of a BPF_F_MMAPABLE array as memory that the kernel side reads.

    An aligned store of at most 8 bytes through it (a `ctypes` integer over the buffer) is one move.
    """
    size = (array.value_size + 7) // 8 * 8 * array.max_entries
    pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
    return mmap.mmap(array.fd, pages * mmap.PAGESIZE, mmap.MAP_SHARED)
