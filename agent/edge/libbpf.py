# SPDX-License-Identifier: Apache-2.0
"""libbpf.so.1 by ctypes: only the calls that Cordon makes, with every error mapped to BpfError.

The daemon must not map a compiler into its process, so bcc is out, and libbpf's C interface is
small and stable. Structures follow libbpf 1.1's `bpf.h`; their leading `sz` lets an older or newer
library cope. Functions here take and return plain integers and bytes; `maps` and `links` give them
shape.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Sequence
from typing import Any

_LIBRARY = "libbpf.so.1"
_LOG_BYTES = 4 << 20
_LOG_TAIL = 2000
"""How much of a verifier's log goes into an error: its end says what was refused."""


class BpfError(OSError):
    """A bpf call failed. The sentence says which, on what, and why."""

    def __init__(self, code: int, what: str, detail: str = "") -> None:
        reason = os.strerror(code) if code else "unknown error"
        tail = f"; {detail.strip()}" if detail.strip() else ""
        super().__init__(code, f"{what}: {reason} ({errno.errorcode.get(code, code)}){tail}")

    def __str__(self) -> str:
        return str(self.args[1])


class ProgLoadOpts(ctypes.Structure):
    """struct bpf_prog_load_opts."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_int),
        ("prog_btf_fd", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_ifindex", ctypes.c_uint32),
        ("kern_version", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
        ("attach_prog_fd", ctypes.c_uint32),
        ("attach_btf_obj_fd", ctypes.c_uint32),
        ("fd_array", ctypes.c_void_p),
        ("func_info", ctypes.c_void_p),
        ("func_info_cnt", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("line_info", ctypes.c_void_p),
        ("line_info_cnt", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_void_p),
    )


class MapCreateOpts(ctypes.Structure):
    """struct bpf_map_create_opts."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("map_extra", ctypes.c_uint64),
        ("numa_node", ctypes.c_uint32),
        ("map_ifindex", ctypes.c_uint32),
    )


class MapBatchOpts(ctypes.Structure):
    """struct bpf_map_batch_opts."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("elem_flags", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class TestRunOpts(ctypes.Structure):
    """struct bpf_test_run_opts."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


@functools.cache
def library() -> ctypes.CDLL:
    """libbpf, with its own chatter on stderr switched off: errors are ours to tell."""
    try:
        lib = ctypes.CDLL(_LIBRARY, use_errno=True)
    except OSError as error:
        raise BpfError(
            errno.ENOENT, f"loading {_LIBRARY}", "install Debian's package libbpf1"
        ) from error
    lib.libbpf_set_print(None)
    for name in ("ring_buffer__new", "btf__load_vmlinux_btf", "btf__type_by_id"):
        getattr(lib, name).restype = ctypes.c_void_p
    lib.btf__name_by_offset.restype = ctypes.c_char_p
    return lib


def call(name: str, *arguments: Any, what: str) -> int:
    """Call a libbpf function that answers with a negative errno. Raises BpfError."""
    result = int(getattr(library(), name)(*arguments))
    if result < 0:
        raise BpfError(-result if result != -1 else ctypes.get_errno(), what)
    return result


@functools.cache
def possible_cpus() -> int:
    """How many values a per-CPU map has for each key."""
    return call("libbpf_num_possible_cpus", what="counting the possible CPUs")


def prog_load(
    program_type: int,
    instructions: bytes,
    name: str,
    license_: str,
    attach_type: int,
    attach_btf_id: int = 0,
) -> int:
    """Load a program and return its file descriptor. Raises BpfError with the verifier's words."""
    opts = ProgLoadOpts(
        sz=ctypes.sizeof(ProgLoadOpts),
        expected_attach_type=attach_type,
        attach_btf_id=attach_btf_id,
    )
    arguments = (
        ctypes.c_int(program_type),
        name[:15].encode(),
        license_.encode(),
        instructions,
        ctypes.c_size_t(len(instructions) // 8),
        ctypes.byref(opts),
    )
    try:
        return call("bpf_prog_load", *arguments, what=f"loading the program {name}")
    except BpfError as error:
        log = ctypes.create_string_buffer(_LOG_BYTES)
        opts.log_level, opts.log_size, opts.log_buf = 1, _LOG_BYTES, ctypes.addressof(log)
        library().bpf_prog_load(*arguments)
        tail = log.value.decode(errors="replace")[-_LOG_TAIL:]
        raise BpfError(error.errno or 0, f"loading the program {name}", tail) from error


def map_create(
    kind: int,
    name: str,
    sizes: Sequence[int],
    flags: int = 0,
    inner_fd: int | None = None,
) -> int:
    """Create a map; `sizes` are key bytes, value bytes, entries."""
    opts = MapCreateOpts(sz=ctypes.sizeof(MapCreateOpts), map_flags=flags)
    if inner_fd is not None:
        opts.inner_map_fd = inner_fd
    return call(
        "bpf_map_create",
        kind,
        name[:15].encode(),
        *(ctypes.c_uint32(size) for size in sizes),
        ctypes.byref(opts),
        what=f"creating the map {name} of {sizes[2]} entries",
    )


def prog_test_run(program_fd: int, data: bytes, repeat: int = 1) -> tuple[int, int]:
    """Run a program on a packet. Returns (its return value, nanoseconds a run)."""
    opts = TestRunOpts(sz=ctypes.sizeof(TestRunOpts), repeat=repeat)
    buffer = ctypes.create_string_buffer(data, len(data))
    opts.data_in, opts.data_size_in = ctypes.addressof(buffer), len(data)
    call("bpf_prog_test_run_opts", program_fd, ctypes.byref(opts), what="running a program")
    return int(opts.retval), int(opts.duration)
