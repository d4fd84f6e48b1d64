# SPDX-License-Identifier: Apache-2.0
"""BPF links and pins: attach, replace, inspect; and a set of links that changes as one.

A link that is pinned outlives us. `BPF_LINK_UPDATE` swaps the program of a cgroup link with no gap;
a raw tracepoint's link has no update, so there the new one is opened before the old one goes, and
for a moment both run, which their idempotent writes allow.

One long file: the calls are a line or two each, and the set that changes as one is made of them.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from agent.edge import failpoint, libbpf
from agent.edge.libbpf import BpfError

_QUERY_MAX = 64
_QUERY_EFFECTIVE = 1
"""BPF_F_QUERY_EFFECTIVE, include/uapi/linux/bpf.h."""


class AttachType(IntEnum):
    """enum bpf_attach_type, include/uapi/linux/bpf.h."""

    CGROUP_INET_INGRESS = 0
    CGROUP_INET_EGRESS = 1
    CGROUP_INET_SOCK_CREATE = 2
    CGROUP_SOCK_OPS = 3
    CGROUP_INET4_BIND = 8
    CGROUP_INET6_BIND = 9
    CGROUP_INET4_CONNECT = 10
    CGROUP_INET6_CONNECT = 11
    CGROUP_UDP4_SENDMSG = 14
    CGROUP_UDP6_SENDMSG = 15
    TRACE_ITER = 28


class LinkInfo(ctypes.Structure):
    """The head of struct bpf_link_info, with room for the rest."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 52),
    )


class ProgInfo(ctypes.Structure):
    """struct bpf_prog_info up to what is read here, with room for newer kernels' fields."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_prog_len", ctypes.c_uint32),
        ("xlated_prog_len", ctypes.c_uint32),
        ("jited_prog_insns", ctypes.c_uint64),
        ("xlated_prog_insns", ctypes.c_uint64),
        ("load_time", ctypes.c_uint64),
        ("created_by_uid", ctypes.c_uint32),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * 16),
        ("between", ctypes.c_uint8 * 104),
        ("run_time_ns", ctypes.c_uint64),
        ("run_cnt", ctypes.c_uint64),
        ("recursion_misses", ctypes.c_uint64),
        ("rest", ctypes.c_uint8 * 16),
    )


def _info(fd: int, info: ctypes.Structure, what: str) -> None:
    size = ctypes.c_uint32(ctypes.sizeof(info))
    libbpf.call("bpf_obj_get_info_by_fd", fd, ctypes.byref(info), ctypes.byref(size), what=what)


def program_id(fd: int) -> int:
    info = ProgInfo()
    _info(fd, info, "reading about a program")
    return int(info.id)


@dataclass(frozen=True, slots=True)
class RunTime:
    """What the kernel counted of a program while `kernel.bpf_stats_enabled` was on."""

    nanoseconds: int
    runs: int


def program_run_time(fd: int) -> RunTime:
    info = ProgInfo()
    _info(fd, info, "reading about a program")
    return RunTime(int(info.run_time_ns), int(info.run_cnt))


def link_program_id(fd: int) -> int:
    """The program that a link runs."""
    info = LinkInfo()
    _info(fd, info, "reading about a link")
    return int(info.prog_id)


def obj_pin(fd: int, path: Path) -> None:
    """Pin with mode 0600."""
    libbpf.call("bpf_obj_pin", fd, str(path).encode(), what=f"pinning {path}")
    path.chmod(0o600)


def obj_get(path: Path) -> int:
    return libbpf.call("bpf_obj_get", str(path).encode(), what=f"opening the pin {path}")


def link_create_cgroup(program_fd: int, cgroup_fd: int, attach_type: AttachType) -> int:
    """Attach beside whatever else is attached there."""
    return libbpf.call(
        "bpf_link_create",
        program_fd,
        cgroup_fd,
        ctypes.c_int(attach_type),
        None,
        what=f"attaching to {attach_type.name}",
    )


def run_iterator(program_fd: int) -> None:
    """Let an iterator's program see every object of this thread's network namespace, once.

    Raises BpfError; EAGAIN where the program itself gave up by returning 1.
    """
    what = "running an iterator"
    link = libbpf.call(
        "bpf_link_create", program_fd, 0, ctypes.c_int(AttachType.TRACE_ITER), None, what=what
    )
    try:
        run = libbpf.call("bpf_iter_create", link, what=what)
        try:
            while os.read(run, 4096):
                pass
        except OSError as error:
            raise BpfError(error.errno or 0, what) from error
        finally:
            os.close(run)
    finally:
        os.close(link)


def link_update(link_fd: int, program_fd: int) -> None:
    libbpf.call("bpf_link_update", link_fd, program_fd, None, what="swapping a link's program")


def raw_tracepoint_open(program_fd: int, name: str) -> int:
    return libbpf.call(
        "bpf_raw_tracepoint_open", name.encode(), program_fd, what=f"attaching to {name}"
    )


def prog_fd_by_id(number: int) -> int:
    return libbpf.call(
        "bpf_prog_get_fd_by_id", ctypes.c_uint32(number), what=f"opening the program {number}"
    )


def program_name(number: int) -> str:
    """At most 15 bytes of it; empty where the program has gone meanwhile, or has no name."""
    try:
        fd = prog_fd_by_id(number)
    except BpfError:
        return ""
    info = ProgInfo()
    try:
        _info(fd, info, "reading about a program")
    finally:
        os.close(fd)
    return bytes(info.name).decode(errors="replace")


def prog_query_cgroup(
    cgroup_fd: int, attach_type: AttachType, *, effective: bool = False
) -> list[int]:
    """Ids of the programs attached to this very cgroup, or of all that run for it."""
    ids = (ctypes.c_uint32 * _QUERY_MAX)()
    count = ctypes.c_uint32(_QUERY_MAX)
    libbpf.call(
        "bpf_prog_query",
        cgroup_fd,
        ctypes.c_int(attach_type),
        ctypes.c_uint32(_QUERY_EFFECTIVE if effective else 0),
        None,
        ids,
        ctypes.byref(count),
        what=f"asking what is attached to {attach_type.name}",
    )
    return list(ids[: count.value])


@dataclass(frozen=True, slots=True)
class Attachment:
    """One link that shall be: a cgroup's (`attach_type`) or a raw tracepoint's (`tracepoint`)."""

    name: str
    program_fd: int
    attach_type: AttachType | None
    tracepoint: str = ""


@dataclass(frozen=True, slots=True)
class _Step:
    """One link that was made or changed: how to take it back, and what to let go when all stand."""

    back: Callable[[], None]
    done: Callable[[], None]


class LinkSet:
    """The pinned links of one instance, below one folder, to one cgroup."""

    def __init__(self, folder: Path, cgroup_fd: int) -> None:
        self._folder = folder
        self._cgroup_fd = cgroup_fd

    def attach(self, wanted: Sequence[Attachment]) -> None:
        """Make every link that is wanted, or swap its program, as one.

        After an error (BpfError, naming the link) what was attached before is attached again, with
        the programs of before. No descriptor stays open: a link must not outlive its pin.
        """
        steps: list[_Step] = []
        try:
            for attachment in wanted:
                steps.append(self._attach_one(attachment))
        except BpfError as error:
            for step in reversed(steps):
                step.back()
            name = wanted[len(steps)].name
            raise BpfError(error.errno or 0, f"attaching {name}", f"{error}; undone") from error
        finally:
            for step in steps:
                step.done()

    def detach(self, names: Sequence[str]) -> None:
        """Remove pins, and with them the links. Missing ones are no error."""
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    def _attach_one(self, wanted: Attachment) -> _Step:
        failpoint.reached("attach.before-link")
        path = self._folder / wanted.name
        if wanted.attach_type is None:
            return self._attach_tracepoint(wanted, path)
        if path.exists():
            try:
                return _swap(path, wanted.program_fd)
            except BpfError as error:
                if error.errno != errno.ENOLINK:
                    raise
                path.unlink()  # somebody detached it: there is nothing to swap
        fd = link_create_cgroup(wanted.program_fd, self._cgroup_fd, wanted.attach_type)
        _pin_new(fd, path)
        return _Step(lambda: path.unlink(missing_ok=True), lambda: None)

    def _attach_tracepoint(self, wanted: Attachment, path: Path) -> _Step:
        """6.1 refuses a program that is attached already (EEXIST), and lets go of it only some time
        after a pin is gone: so a link is left alone that runs it, or taken over from who was killed
        before it was in its place."""
        fresh = path.with_name(path.name + "_new")
        if _runs(path, wanted.program_fd):
            fresh.unlink(missing_ok=True)
            return _Step(lambda: None, lambda: None)
        if not _runs(fresh, wanted.program_fd):
            fresh.unlink(missing_ok=True)
            _pin_new(raw_tracepoint_open(wanted.program_fd, wanted.tracepoint), fresh)
        if not path.exists():
            fresh.rename(path)
            return _Step(lambda: path.unlink(missing_ok=True), lambda: None)
        try:
            failpoint.reached("attach.before-swap")
            old = obj_get(path)
        except BpfError:
            fresh.unlink()
            raise
        fresh.rename(path)
        failpoint.reached("attach.after-swap")

        def back() -> None:
            path.unlink()
            obj_pin(old, path)

        return _Step(back, lambda: os.close(old))


def _runs(path: Path, program_fd: int) -> bool:
    """Whether the link that is pinned there, if any, runs this very program."""
    if not path.exists():
        return False
    link = obj_get(path)
    try:
        return link_program_id(link) == program_id(program_fd)
    finally:
        os.close(link)


def _pin_new(fd: int, path: Path) -> None:
    try:
        failpoint.reached("attach.before-pin")
        obj_pin(fd, path)
    finally:
        os.close(fd)


def _swap(path: Path, program_fd: int) -> _Step:
    link = obj_get(path)
    try:
        before = prog_fd_by_id(link_program_id(link))
    except BpfError:
        os.close(link)
        raise

    def done() -> None:
        os.close(link)
        os.close(before)

    try:
        failpoint.reached("attach.before-swap")
        link_update(link, program_fd)
    except BpfError:
        done()
        raise
    failpoint.reached("attach.after-swap")
    return _Step(lambda: link_update(link, before), done)
