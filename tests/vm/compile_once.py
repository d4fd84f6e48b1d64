# SPDX-License-Identifier: Apache-2.0
"""The datapath is compiled once for each boot of a virtual machine, not once for each agent.

Under emulation clang takes most of the time of a test, again and again for the same sources, and
says nothing new about the kernel. So the first agent of a boot compiles, and the others take what
came out: the same instructions, and fresh maps of the same shapes. All that the kernel has a say in
(creating maps, the verifier, attaching) is done for each agent as ever.

Only in the guest: work.py puts this file into its Python environment, and a line that calls `once`
into its copy of agent/edge/compiler.py.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.edge import libbpf
from agent.edge.compiler import Compiled, Function

FOLDER = Path("/run/cordon-compiled")
"""Gone with the machine, as what is in it was made for its kernel."""
_ARRAY_OF_MAPS = 12
_BTF_BYTES = 1 << 20

Compile = Callable[[Path, str, list[str]], Compiled]


class _MapInfo(ctypes.Structure):
    """struct bpf_map_info, include/uapi/linux/bpf.h."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
        ("between", ctypes.c_uint32 * 6),
        ("btf_id", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("rest", ctypes.c_uint32 * 3),
    )


class _BtfInfo(ctypes.Structure):
    """struct bpf_btf_info."""

    _fields_ = (
        ("btf", ctypes.c_void_p),
        ("btf_size", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("name", ctypes.c_void_p),
        ("name_len", ctypes.c_uint32),
        ("kernel_btf", ctypes.c_uint32),
    )


@dataclass(frozen=True, slots=True)
class MapShape:
    """sizes: key bytes, value bytes, entries. types: what BTF (b"" if none) calls key and value."""

    kind: int
    name: str
    sizes: tuple[int, int, int]
    flags: int
    btf: bytes
    types: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a compilation is made again from."""

    functions: Mapping[str, Function]
    maps: Mapping[str, MapShape]


def once(compile_parts: Compile) -> Compile:
    """compile_parts, for the first who asks with these sources and constants."""

    def compile_once(root: Path, text: str, defines: list[str]) -> Compiled:
        digest = hashlib.sha256("\0".join([text, *defines]).encode()).hexdigest()
        place = FOLDER / digest
        FOLDER.mkdir(mode=0o700, exist_ok=True)
        with place.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if place.exists():
                return make(pickle.loads(place.read_bytes()))
            compiled = compile_parts(root, text, defines)
            fresh = place.with_suffix(".new")
            fresh.write_bytes(pickle.dumps(describe(compiled)))
            fresh.rename(place)
            return compiled

    return compile_once


def describe(compiled: Compiled) -> Kept:
    return Kept(compiled.functions, {name: _shape(fd) for name, fd in compiled.maps.items()})


def make(kept: Kept) -> Compiled:
    """The same instructions, which still name the maps' old descriptors, and fresh maps."""
    maps: dict[str, int] = {}
    patterns_first = sorted(kept.maps, key=lambda name: kept.maps[name].kind == _ARRAY_OF_MAPS)
    for name in patterns_first:
        shape = kept.maps[name]
        inner = maps[f"{name}_inner"] if shape.kind == _ARRAY_OF_MAPS else 0
        maps[name] = _create(shape, inner)
    return Compiled(kept.functions, {name: maps[name] for name in kept.maps})


def _shape(fd: int) -> MapShape:
    info = _MapInfo()
    _info(fd, info, "reading about a map")
    return MapShape(
        kind=info.type,
        name=info.name.decode(),
        sizes=(info.key_size, info.value_size, info.max_entries),
        flags=info.map_flags,
        btf=_btf(info.btf_id) if info.btf_id else b"",
        types=(info.btf_key_type_id, info.btf_value_type_id),
    )


def _btf(number: int) -> bytes:
    fd = libbpf.call("bpf_btf_get_fd_by_id", number, what="opening the types of a map")
    buffer = ctypes.create_string_buffer(_BTF_BYTES)
    info = _BtfInfo(btf=ctypes.addressof(buffer), btf_size=_BTF_BYTES)
    try:
        _info(fd, info, "reading the types of a map")
    finally:
        os.close(fd)
    assert info.btf_size <= _BTF_BYTES, f"{info.btf_size} bytes of types, {_BTF_BYTES} are read"
    return buffer.raw[: info.btf_size]


def _create(shape: MapShape, inner: int) -> int:
    options = libbpf.MapCreateOpts(
        sz=ctypes.sizeof(libbpf.MapCreateOpts), map_flags=shape.flags, inner_map_fd=inner
    )
    types = -1
    if shape.btf:
        size = ctypes.c_uint32(len(shape.btf))
        types = libbpf.call("bpf_btf_load", shape.btf, size, None, what="loading types")
        options.btf_fd = types
        options.btf_key_type_id, options.btf_value_type_id = shape.types
    try:
        arguments: list[Any] = [shape.kind, shape.name.encode(), *map(ctypes.c_uint32, shape.sizes)]
        what = f"creating the map {shape.name}"
        return libbpf.call("bpf_map_create", *arguments, ctypes.byref(options), what=what)
    finally:
        if types >= 0:
            os.close(types)


def _info(fd: int, info: ctypes.Structure, what: str) -> None:
    size = ctypes.c_uint32(ctypes.sizeof(info))
    libbpf.call("bpf_obj_get_info_by_fd", fd, ctypes.byref(info), ctypes.byref(size), what=what)
