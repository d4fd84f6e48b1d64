# SPDX-License-Identifier: Apache-2.0
"""Offsets of kernel structures, from the running kernel's BTF.

The raw tracepoints read a dozen fields of task_struct and its like. Their offsets differ from
kernel to kernel, and no header says them, but /sys/kernel/btf/vmlinux does. They become `-D`
constants of the compile. A field that is missing is an error that names it and what it costs.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

from agent.edge import libbpf

VMLINUX = Path("/sys/kernel/btf/vmlinux")
_KIND_STRUCT, _KIND_UNION, _KIND_FUNC = 4, 5, 12
_QUALIFIERS = (8, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type tag
_DEPTH = 8


class BtfError(Exception):
    """The kernel's type information lacks something that the datapath needs."""


class _Type(ctypes.Structure):
    """struct btf_type."""

    _fields_ = (
        ("name_off", ctypes.c_uint32),
        ("info", ctypes.c_uint32),
        ("size_or_type", ctypes.c_uint32),
    )


class _Member(ctypes.Structure):
    """struct btf_member."""

    _fields_ = (
        ("name_off", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("offset", ctypes.c_uint32),
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """A constant, and the places where kernels keep that field; the first that exists is it.

    A place is "struct.field", and ".field" again for a field of an embedded structure; "+N" adds
    bytes, for the second half of a timespec64.
    """

    name: str
    places: tuple[str, ...]
    lost: str


_CTIME = "a replaced executable would keep its cached identity"
_TASK = "processes could not be told apart"
_FILE = "executables could not be told apart"
_LISTENERS = "services older than the agent would answer without a tag"
WANTED = (
    Wanted("OFFSET_TASK_TGID", ("task_struct.tgid",), _TASK),
    Wanted("OFFSET_TASK_PID", ("task_struct.pid",), _TASK),
    Wanted("OFFSET_TASK_SIGNAL", ("task_struct.signal",), "the end of a process would be missed"),
    Wanted("OFFSET_SIGNAL_LIVE", ("signal_struct.live",), "the end of a process would be missed"),
    Wanted("OFFSET_BINPRM_FILE", ("linux_binprm.file",), _FILE),
    Wanted("OFFSET_FILE_INODE", ("file.f_inode",), _FILE),
    Wanted("OFFSET_INODE_INO", ("inode.i_ino",), _FILE),
    Wanted("OFFSET_INODE_SB", ("inode.i_sb",), _FILE),
    Wanted("OFFSET_SUPER_DEV", ("super_block.s_dev",), _FILE),
    Wanted("OFFSET_SOCK_STATE", ("sock_common.skc_state",), _LISTENERS),
    Wanted(
        "OFFSET_INODE_CTIME_SEC", ("inode.i_ctime_sec", "inode.__i_ctime", "inode.i_ctime"), _CTIME
    ),
    Wanted(
        "OFFSET_INODE_CTIME_NSEC",
        ("inode.i_ctime_nsec", "inode.__i_ctime+8", "inode.i_ctime+8"),
        _CTIME,
    ),
)


def kernel_offsets() -> dict[str, int]:
    """Constant -> bytes, for everything in WANTED. Raises BtfError that says what is missing."""
    offsets, missing = examine()
    if missing:
        raise BtfError("; ".join(missing))
    return offsets


def examine() -> tuple[dict[str, int], list[str]]:
    """What is there, and a sentence for each that is not. Raises BtfError without any BTF."""
    lib = libbpf.library()
    pointer = lib.btf__load_vmlinux_btf()
    if not pointer:
        raise BtfError(
            f"cannot read the kernel's type information at {VMLINUX}: the kernel must be built "
            "with CONFIG_DEBUG_INFO_BTF=y, without it Cordon cannot tell processes apart"
        )
    btf = ctypes.c_void_p(pointer)
    offsets: dict[str, int] = {}
    missing: list[str] = []
    try:
        for wanted in WANTED:
            try:
                offsets[wanted.name] = _find(btf, wanted)
            except BtfError as error:
                missing.append(str(error))
    finally:
        lib.btf__free(btf)
    return offsets, missing


def function_id(name: str) -> int:
    """The type number of a kernel function, 0 if the kernel has none of that name."""
    lib = libbpf.library()
    pointer = lib.btf__load_vmlinux_btf()
    if not pointer:
        return 0
    btf = ctypes.c_void_p(pointer)
    try:
        found = lib.btf__find_by_name_kind(btf, name.encode(), ctypes.c_uint32(_KIND_FUNC))
        return max(0, int(found))
    finally:
        lib.btf__free(btf)


def _find(btf: ctypes.c_void_p, wanted: Wanted) -> int:
    for place in wanted.places:
        path, _, plus = place.partition("+")
        offset = _offset(btf, path.split("."))
        if offset is not None:
            return offset + int(plus or 0)
    raise BtfError(
        f"this kernel has none of {', '.join(wanted.places)}, without which {wanted.lost}"
    )


def _offset(btf: ctypes.c_void_p, path: list[str]) -> int | None:
    type_id = int(
        libbpf.library().btf__find_by_name_kind(
            btf, path[0].encode(), ctypes.c_uint32(_KIND_STRUCT)
        )
    )
    total = 0
    for field in path[1:]:
        found = _member(btf, type_id, field, _DEPTH) if type_id > 0 else None
        if found is None:
            return None
        bits, type_id = found
        total += bits
    return total // 8


def _member(btf: ctypes.c_void_p, type_id: int, name: str, depth: int) -> tuple[int, int] | None:
    """(bit offset, type) of a field, also inside anonymous structures and unions."""
    lib = libbpf.library()
    address = _resolve(btf, type_id)
    if address is None or depth == 0:
        return None
    kind_flag, members = _members(address)
    for member in members:
        bits = member.offset & 0xFFFFFF if kind_flag else member.offset
        found = lib.btf__name_by_offset(btf, ctypes.c_uint32(member.name_off)) or b""
        if found == name.encode():
            return bits, int(member.type)
        if not found:
            inner = _member(btf, int(member.type), name, depth - 1)
            if inner is not None:
                return bits + inner[0], inner[1]
    return None


def _resolve(btf: ctypes.c_void_p, type_id: int) -> int | None:
    """The address of the structure or union that a type is, behind typedefs and qualifiers."""
    for _ in range(_DEPTH):
        address = libbpf.library().btf__type_by_id(btf, ctypes.c_uint32(type_id))
        if not address:
            return None
        head = _Type.from_address(address)
        kind = head.info >> 24 & 0x1F
        if kind in (_KIND_STRUCT, _KIND_UNION):
            return int(address)
        if kind not in _QUALIFIERS:
            return None
        type_id = head.size_or_type
    return None


def _members(address: int) -> tuple[bool, list[_Member]]:
    head = _Type.from_address(address)
    first, size = address + ctypes.sizeof(_Type), ctypes.sizeof(_Member)
    count = head.info & 0xFFFF
    return bool(head.info >> 31), [_Member.from_address(first + i * size) for i in range(count)]
