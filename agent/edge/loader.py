# SPDX-License-Identifier: Apache-2.0
"""Compile the datapath with bcc, load it, pin programs and maps. Runs in a process of its own.

bcc maps the whole of LLVM into its process, so only the short-lived `cordon-agent load` does this.
It is idempotent: a fingerprint of sources, constants and kernel is kept in the pinned map `build`;
where it is the same and every pin is there, nothing is done.

bcc compiles and creates maps; this module then decides which maps to use. A map that is pinned
already keeps its content, so new sources swap in under a running policy: the instructions' map
file descriptors are exchanged before the programs are loaded through libbpf. A layout that changed
cannot be kept and is refused while the old one is attached, for swapping it would open a gap.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.edge import bpffs, btf, compiler, failpoint, features, libbpf, links, sources
from agent.edge.compiler import Compiled, LoadFailed
from agent.edge.hooks import HOOKS, ITERATED, LISTENERS, Hook, Pins, attached, in_step
from agent.edge.libbpf import BpfError
from agent.edge.maps import BpfMap

LICENSE = "Dual BSD/GPL"
_NOTES, _LAYOUT, _BUILD = "build", 0, 1
"""The map that says what is pinned, and the places of its two words."""
_LD_IMM64 = 0x18
_PSEUDO_MAP_FD = 1
_INSTRUCTION = 8


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
        return _result(started, build, loaded=False, pending=not in_step(pins))
    if pinned_layout not in (0, layout):
        _discard_old_layout(pins)
    _require_features()
    pins.make()
    _compile_and_pin(pins, root, text, defines, layout)
    failpoint.reached("load.before-build")
    _note(pins, _BUILD, build)
    return _result(started, build, loaded=True, pending=True)


def try_load() -> float:
    """Compile and load all, pin and attach nothing; returns the seconds. Raises LoadFailed."""
    started = time.monotonic()
    root = sources.source_root()
    compiled = compiler.compile_parts(root, sources.assemble(root), _defines())
    try:
        for hook in HOOKS:
            os.close(_load_program(compiled, hook, compiled.maps))
    finally:
        compiled.close()
    return time.monotonic() - started


def _result(started: float, build: int, *, loaded: bool, pending: bool) -> LoadResult:
    return LoadResult(
        loaded=loaded,
        seconds=time.monotonic() - started,
        build=f"{build:016x}",
        hooks_expected=len(HOOKS),
        attach_pending=pending,
    )


def _require_features() -> None:
    """All that is missing at once, by name, before anything is compiled."""
    lacking = features.lacking()
    if lacking:
        raise LoadFailed(
            f"this kernel ({platform.release()}) lacks {'; '.join(map(str, lacking))}. Nothing was "
            "attached; Cordon needs Linux 6.1 or newer, and `cordonctl doctor` tells the rest"
        )


def _defines() -> list[str]:
    try:
        offsets = btf.kernel_offsets()
    except (BpfError, btf.BtfError) as error:
        raise LoadFailed(str(error)) from error
    return [f"-D{name}={value}" for name, value in sorted(offsets.items())]


def _pinned_build(pins: Pins) -> tuple[int, int]:
    path = pins.maps / _NOTES
    if not path.exists():
        return 0, 0
    with BpfMap.open_pinned(path) as build_map:
        values = [build_map.get(_index(index)) or bytes(8) for index in (_LAYOUT, _BUILD)]
    return int.from_bytes(values[0], "little"), int.from_bytes(values[1], "little")


def _note(pins: Pins, index: int, value: int) -> None:
    with BpfMap.open_pinned(pins.maps / _NOTES) as build_map:
        build_map.put(_index(index), value.to_bytes(8, "little"))


def _index(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _discard_old_layout(pins: Pins) -> None:
    if attached(pins):
        raise LoadFailed(
            f"the maps under {pins.maps} are of another version's layout and programs that use "
            "them are attached: to swap them, run `cordon-agent uninstall` and start again; "
            "until then the old programs go on enforcing the last policy"
        )
    notes = pins.maps / _NOTES
    for folder in (pins.programs, pins.maps):
        for pin in list(folder.iterdir()) if folder.exists() else ():
            if pin != notes:
                failpoint.reached("load.before-discard")
                pin.unlink()
    notes.unlink()  # last: as long as a map of the old layout is there, it says so


def _compile_and_pin(pins: Pins, root: Path, text: str, defines: list[str], layout: int) -> None:
    """The first map that is pinned, and filled before the next, names the layout of them all."""
    compiled = compiler.compile_parts(root, text, defines)
    programs: dict[str, int] = {}
    try:
        maps, fresh = _choose_maps(pins, compiled)
        for hook in HOOKS:
            programs[hook.function] = _load_program(compiled, hook, maps)
        with suppress(LoadFailed):  # told when it is wanted and not there
            iterated = btf.function_id(ITERATED)
            programs[LISTENERS.function] = _load_program(compiled, LISTENERS, maps, iterated)
        for name in sorted(fresh, key=lambda name: name != _NOTES):
            failpoint.reached("load.before-pin-map")
            links.obj_pin(maps[name], pins.maps / name)
            if name == _NOTES:
                _note(pins, _LAYOUT, layout)
        for name, fd in programs.items():
            failpoint.reached("load.before-pin-program")
            _replace_pin(fd, pins.programs / name)
    finally:
        for fd in programs.values():
            os.close(fd)
        compiled.close()


def _choose_maps(pins: Pins, compiled: Compiled) -> tuple[Mapping[str, int], list[str]]:
    """Map name -> the descriptor to use, and the names of those that are to be pinned."""
    maps = dict(compiled.maps)
    fresh = []
    for name in compiled.maps:
        if (pins.maps / name).exists():
            maps[name] = links.obj_get(pins.maps / name)
        else:
            fresh.append(name)
    return maps, fresh


def _load_program(compiled: Compiled, hook: Hook, maps: Mapping[str, int], btf_id: int = 0) -> int:
    function = compiled.functions[hook.function]
    exchange = {fd: maps[name] for fd, name in function.maps.items()}
    try:
        return libbpf.prog_load(
            int(hook.program_type),
            exchange_maps(function.instructions, exchange),
            hook.function.removeprefix("cordon_"),
            LICENSE,
            int(hook.attach_type) if hook.attach_type is not None else 0,
            btf_id,
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
