# SPDX-License-Identifier: Apache-2.0
"""Compile the datapath with bcc, load it, pin programs and maps. Runs in a process of its own.

bcc maps the whole of LLVM into the process, so only the short-lived `cordon-agent load` imports
this module. It is idempotent: a fingerprint of sources, constants and kernel is kept in the pinned
map `build`; where it is the same and every pin is there, nothing is done.

bcc compiles and creates maps; this module then decides which maps to use. A map that is pinned
already keeps its content, so new sources swap in under a running policy: the instructions' map
file descriptors are exchanged before the programs are loaded through libbpf. A layout that changed
cannot be kept and is refused while the old one is attached, for swapping it would open a gap.
"""

from __future__ import annotations

import ctypes
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.edge import bpffs, btf, libbpf, links, sources
from agent.edge.hooks import HOOKS, Hook, Pins, attached
from agent.edge.libbpf import BpfError
from agent.edge.maps import BpfMap

LICENSE = "Dual BSD/GPL"
_LD_IMM64 = 0x18
_PSEUDO_MAP_FD = 1
_INSTRUCTION = 8


class LoadFailed(Exception):
    """The datapath could not be compiled or loaded; the sentence says what and what to do."""


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What to load for: where to pin."""

    pins: Path
    bpffs: Path


@dataclass(frozen=True, slots=True)
class LoadResult:
    """loaded: False where the running programs are those we would load.

    attach_pending: programs are pinned that are not attached yet; `hooks.attach` does it.
    """

    loaded: bool
    seconds: float
    build: str
    hooks_expected: int
    attach_pending: bool


def load(request: LoadRequest) -> LoadResult:
    """Bring the pins in step with the sources. Raises LoadFailed; what was attached stays so."""
    started = time.monotonic()
    bpffs.ensure_mounted(request.bpffs)
    pins = Pins(request.pins)
    root = sources.source_root()
    text, defines = sources.assemble(root), _defines()
    layout = sources.layout_fingerprint(root)
    build = sources.fingerprint(text, *defines, platform.release())
    pinned_layout, pinned_build = _pinned_build(pins)
    complete = all((pins.programs / hook.function).exists() for hook in HOOKS)
    if complete and pinned_build == build:
        pending = attached(pins) < len(HOOKS)
        return _result(started, build, loaded=False, pending=pending)
    if pinned_layout not in (0, layout):
        _discard_old_layout(pins)
    pins.make()
    _compile_and_pin(pins, root, text, defines)
    with BpfMap.open_pinned(pins.maps / "build") as build_map:
        for index, value in enumerate((layout, build)):
            build_map.put(index.to_bytes(4, "little"), value.to_bytes(8, "little"))
    return _result(started, build, loaded=True, pending=True)


def _result(started: float, build: int, *, loaded: bool, pending: bool) -> LoadResult:
    return LoadResult(
        loaded=loaded,
        seconds=time.monotonic() - started,
        build=f"{build:016x}",
        hooks_expected=len(HOOKS),
        attach_pending=pending,
    )


def _defines() -> list[str]:
    try:
        offsets = btf.kernel_offsets()
    except (BpfError, btf.BtfError) as error:
        raise LoadFailed(str(error)) from error
    return [f"-D{name}={value}" for name, value in sorted(offsets.items())]


def _pinned_build(pins: Pins) -> tuple[int, int]:
    path = pins.maps / "build"
    if not path.exists():
        return 0, 0
    with BpfMap.open_pinned(path) as build_map:
        values = [build_map.get(index.to_bytes(4, "little")) or bytes(8) for index in (0, 1)]
    return int.from_bytes(values[0], "little"), int.from_bytes(values[1], "little")


def _discard_old_layout(pins: Pins) -> None:
    if attached(pins):
        raise LoadFailed(
            f"the maps under {pins.maps} are of another version's layout and programs that use "
            "them are attached: to swap them, run `cordon-agent uninstall` and start again; "
            "until then the old programs go on enforcing the last policy"
        )
    for folder in (pins.programs, pins.maps):
        for pin in folder.iterdir() if folder.exists() else ():
            pin.unlink()


def _compile_and_pin(pins: Pins, root: Path, text: str, defines: list[str]) -> None:
    module = _compile(root, text, defines)
    exchange, fresh = _choose_maps(pins, module)
    programs: dict[str, int] = {}
    try:
        for hook in HOOKS:
            programs[hook.function] = _load_program(module, hook, exchange)
        for name, fd in fresh.items():
            links.obj_pin(fd, pins.maps / name)
        for name, fd in programs.items():
            _replace_pin(fd, pins.programs / name)
    finally:
        for fd in programs.values():
            os.close(fd)


def _compile(root: Path, text: str, defines: list[str]) -> Any:  # bcc has no types
    os.environ["BCC_KERNEL_SOURCE"] = str(root / "include")
    from bcc import BPF

    try:
        return BPF(text=text.encode(), cflags=["-Wno-unused-function", *defines])
    except Exception as error:  # bcc raises bare Exception
        raise LoadFailed(
            f"bcc could not compile {root / sources.MAIN}: {error}; its messages are above"
        ) from error


def _bcc_library() -> Any:
    from bcc import lib

    lib.bpf_num_tables.argtypes = [ctypes.c_void_p]
    lib.bpf_table_name.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    lib.bpf_table_name.restype = ctypes.c_char_p
    return lib


def _map_names(module: Any) -> list[str]:
    lib = _bcc_library()
    count = lib.bpf_num_tables(module.module)
    return [lib.bpf_table_name(module.module, index).decode() for index in range(count)]


def _map_fd(module: Any, name: str) -> int:
    return int(_bcc_library().bpf_table_fd(module.module, name.encode()))


def _choose_maps(pins: Pins, module: Any) -> tuple[Mapping[int, int], dict[str, int]]:
    """bcc's file descriptor -> the pinned map's, and the maps that are to be pinned."""
    exchange: dict[int, int] = {}
    fresh: dict[str, int] = {}
    for name in _map_names(module):
        fd = _map_fd(module, name)
        if (pins.maps / name).exists():
            exchange[fd] = links.obj_get(pins.maps / name)
        else:
            fresh[name] = fd
    return exchange, fresh


def _load_program(module: Any, hook: Hook, exchange: Mapping[int, int]) -> int:
    instructions = exchange_maps(module.dump_func(hook.function.encode()), exchange)
    try:
        return libbpf.prog_load(
            int(hook.program_type),
            instructions,
            hook.function.removeprefix("cordon_"),
            LICENSE,
            int(hook.attach_type) if hook.attach_type is not None else 0,
        )
    except BpfError as error:
        raise LoadFailed(
            f"this kernel ({platform.release()}) refuses the program {hook.function}, without "
            f"which {hook.lost}: {error}"
        ) from error


def exchange_maps(instructions: bytes, exchange: Mapping[int, int]) -> bytes:
    """The same instructions with other map file descriptors (struct bpf_insn, linux/bpf.h)."""
    out = bytearray(instructions)
    offset = 0
    while offset < len(out):
        wide = out[offset] == _LD_IMM64
        if wide and out[offset + 1] >> 4 == _PSEUDO_MAP_FD:
            fd = int.from_bytes(out[offset + 4 : offset + 8], "little")
            out[offset + 4 : offset + 8] = exchange.get(fd, fd).to_bytes(4, "little")
        offset += 2 * _INSTRUCTION if wide else _INSTRUCTION
    return bytes(out)


def _replace_pin(fd: int, path: Path) -> None:
    fresh = path.with_name(path.name + "_new")
    fresh.unlink(missing_ok=True)
    links.obj_pin(fd, fresh)
    fresh.rename(path)
