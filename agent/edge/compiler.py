# SPDX-License-Identifier: Apache-2.0
"""bcc, in children of the loader: sources in, instructions and maps out.

LLVM takes most of a second for the ingress program alone, and a host that boots should be enforcing
at once, so the two parts of the sources are compiled at the same time. bcc numbers maps by the file
descriptors it made for them; a child sends these descriptors over a Unix socket, and the names that
go with them, so that the parent can put in the ones it wants.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARTS = (1, 2)
_MAX_FDS = 250
_CHUNK = 1 << 16


class LoadFailed(Exception):
    """The datapath could not be compiled or loaded; the sentence says what and what to do."""


@dataclass(frozen=True, slots=True)
class Function:
    """One program. maps: the descriptor number that its instructions name -> the map's name."""

    instructions: bytes
    maps: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Compiled:
    """maps: a fresh map for each declaration, by name, open here."""

    functions: Mapping[str, Function]
    maps: Mapping[str, int]

    def close(self) -> None:
        for fd in self.maps.values():
            os.close(fd)


def compile_parts(root: Path, text: str, defines: list[str]) -> Compiled:
    """Compile every part in a child of its own. Raises LoadFailed; the compiler's own words are on
    stderr then."""
    children = [_start(root, text, [*defines, f"-DCORDON_PART={part}"]) for part in PARTS]
    answers = [_finish(pid, channel) for pid, channel in children]
    failed = [error for error, _, _ in answers if error]
    if failed:
        for _, _, fds in answers:
            for fd in fds:
                os.close(fd)
        raise LoadFailed(
            f"bcc could not compile {root / 'cordon.bpf.c'}: {failed[0]}; its messages are above"
        )
    functions: dict[str, Function] = {}
    maps: dict[str, int] = {}
    for _, (code, numbers), fds in answers:
        names = {number: name for name, number in numbers}
        functions.update({name: Function(body, names) for name, body in code.items()})
        for (name, _number), fd in zip(numbers, fds, strict=True):
            if name in maps:
                os.close(fd)
            else:
                maps[name] = fd
    return Compiled(functions, maps)


def _start(root: Path, text: str, defines: list[str]) -> tuple[int, socket.socket]:
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    status = 1
    try:
        ours.close()
        _child(theirs, root, text, defines)
        status = 0
    finally:
        os._exit(status)


def _child(channel: socket.socket, root: Path, text: str, defines: list[str]) -> None:
    os.dup2(2, 1)  # bcc talks on stdout too, which belongs to the loader's answer
    try:
        code, maps = _compile(root, text, defines)
        body, fds = pickle.dumps(("", (code, maps))), [fd for _, fd in maps]
    except Exception as error:  # bcc raises bare Exception
        body, fds = pickle.dumps((str(error) or repr(error), None)), []
    head = len(body).to_bytes(8, "little")
    socket.send_fds(channel, [head], fds)
    channel.sendall(body)


def _compile(
    root: Path, text: str, defines: list[str]
) -> tuple[dict[str, bytes], list[tuple[str, int]]]:
    os.environ["BCC_KERNEL_SOURCE"] = str(root / "include")
    from bcc import BPF, lib

    module = BPF(text=text.encode(), cflags=["-Wno-unused-function", *defines])
    lib.bpf_num_functions.argtypes = [ctypes.c_void_p]
    lib.bpf_function_name.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    lib.bpf_function_name.restype = ctypes.c_char_p
    lib.bpf_num_tables.argtypes = [ctypes.c_void_p]
    lib.bpf_table_name.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    lib.bpf_table_name.restype = ctypes.c_char_p
    functions = _names(lib.bpf_function_name, module, lib.bpf_num_functions(module.module))
    tables = _names(lib.bpf_table_name, module, lib.bpf_num_tables(module.module))
    code = {name: module.dump_func(name.encode()) for name in functions}
    maps = [(name, int(lib.bpf_table_fd(module.module, name.encode()))) for name in tables]
    return code, maps


def _names(name_of: Any, module: Any, count: int) -> list[str]:
    return [name_of(module.module, index).decode() for index in range(count)]


def _finish(pid: int, channel: socket.socket) -> tuple[str, Any, list[int]]:
    """(error or "", (code, maps), descriptors). The child is one of ours, so unpickling is safe."""
    with channel:
        head, fds, _flags, _address = socket.recv_fds(channel, 8, _MAX_FDS)
        size = int.from_bytes(head, "little")
        body = b""
        while len(body) < size:
            piece = channel.recv(min(_CHUNK, size - len(body)))
            if not piece:
                break
            body += piece
    _, status = os.waitpid(pid, 0)
    if status or not body or len(body) < size:
        return f"the compiler's process ended with status {status}", None, fds
    error, answer = pickle.loads(body)
    return error, answer, fds
