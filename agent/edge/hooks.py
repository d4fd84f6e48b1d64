# SPDX-License-Identifier: Apache-2.0
"""Where the datapath's programs attach, and the attaching itself: through libbpf, without bcc.

The table is the whole truth about hooks: the loader loads what is in it, `attach` makes one pinned
link for each row, the status counts them. Order matters: what tags comes before what judges, so
that no packet is judged before its socket could be tagged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from agent.edge import links
from agent.edge.libbpf import BpfError
from agent.edge.links import AttachType


class ProgramType(IntEnum):
    """enum bpf_prog_type, include/uapi/linux/bpf.h."""

    CGROUP_SKB = 8
    CGROUP_SOCK = 9
    SOCK_OPS = 13
    RAW_TRACEPOINT = 17
    CGROUP_SOCK_ADDR = 18
    TRACING = 26


@dataclass(frozen=True, slots=True)
class Hook:
    """One program: the C function's name, its type, and where it goes.

    attach_type: None for a raw tracepoint, whose name is then `tracepoint`.
    lost: what is lost on a kernel that cannot load it.
    """

    function: str
    program_type: ProgramType
    attach_type: AttachType | None
    lost: str
    tracepoint: str = ""

    @property
    def judges(self) -> bool:
        """Whether sockets or packets pass it; the others follow processes."""
        return self.attach_type is not None


def _tracepoint(function: str, name: str, lost: str) -> Hook:
    return Hook(function, ProgramType.RAW_TRACEPOINT, None, lost, name)


def _address(function: str, attach_type: AttachType, lost: str) -> Hook:
    return Hook(function, ProgramType.CGROUP_SOCK_ADDR, attach_type, lost)


_HANDED_OVER = "sockets that were handed over would keep their creator's identity"
_CONNECT = "connections would not be refused at connect"
_DATAGRAM = "datagrams would have the identity of their socket's creator"

HOOKS = (
    # Attached in this order: a child that has an entry has had its execs seen.
    _tracepoint("cordon_exec", "sched_process_exec", "new programs would keep the old identity"),
    _tracepoint("cordon_fork", "sched_process_fork", "children would have no identity"),
    _tracepoint("cordon_exit", "sched_process_exit", "a reused pid would inherit an identity"),
    Hook(
        "cordon_sock_create",
        ProgramType.CGROUP_SOCK,
        AttachType.CGROUP_INET_SOCK_CREATE,
        "sockets would have no identity",
    ),
    _address("cordon_bind4", AttachType.CGROUP_INET4_BIND, _HANDED_OVER),
    _address("cordon_bind6", AttachType.CGROUP_INET6_BIND, _HANDED_OVER),
    _address("cordon_connect4", AttachType.CGROUP_INET4_CONNECT, _CONNECT),
    _address("cordon_connect6", AttachType.CGROUP_INET6_CONNECT, _CONNECT),
    _address("cordon_sendmsg4", AttachType.CGROUP_UDP4_SENDMSG, _DATAGRAM),
    _address("cordon_sendmsg6", AttachType.CGROUP_UDP6_SENDMSG, _DATAGRAM),
    Hook(
        "cordon_sock_ops",
        ProgramType.SOCK_OPS,
        AttachType.CGROUP_SOCK_OPS,
        "no connection would carry an identity",
    ),
    Hook(
        "cordon_ingress",
        ProgramType.CGROUP_SKB,
        AttachType.CGROUP_INET_INGRESS,
        "nothing that comes in would be judged",
    ),
    Hook(
        "cordon_egress",
        ProgramType.CGROUP_SKB,
        AttachType.CGROUP_INET_EGRESS,
        "nothing that goes out would be judged",
    ),
)


LISTENERS = Hook(
    "cordon_listeners",
    ProgramType.TRACING,
    AttachType.TRACE_ITER,
    "services older than the agent would answer without a tag",
)
"""Attached nowhere: `adopter` runs it over each network namespace. A kernel may be without."""
ITERATED = "bpf_iter_tcp"


@dataclass(frozen=True, slots=True)
class Pins:
    """Folders of one instance in bpffs."""

    root: Path

    @property
    def bpffs(self) -> Path:
        """The mount: `Config.pins` says how deep the root lies in it."""
        return self.root.parent.parent

    @property
    def maps(self) -> Path:
        return self.root / "maps"

    @property
    def programs(self) -> Path:
        return self.root / "progs"

    @property
    def links(self) -> Path:
        return self.root / "links"

    def make(self) -> None:
        for folder in (self.root, self.maps, self.programs, self.links):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def attach(pins: Pins, cgroup: Path, chosen: Sequence[Hook] = HOOKS) -> None:
    """Attach these pinned programs: all of them or, after an error, what was attached before.

    Raises BpfError that names the hook.
    """
    with _open_programs(pins) as programs, _open_folder(cgroup) as cgroup_fd:
        links.LinkSet(pins.links, cgroup_fd).attach(
            [
                links.Attachment(
                    name=hook.function,
                    program_fd=programs[hook.function],
                    attach_type=hook.attach_type,
                    tracepoint=hook.tracepoint,
                )
                for hook in chosen
            ]
        )


def attached(pins: Pins) -> int:
    """How many of the hooks have a pinned link."""
    return sum((pins.links / hook.function).exists() for hook in HOOKS)


def in_step(pins: Pins) -> bool:
    """Whether each hook has a pinned link and it runs the pinned program, not that of before.

    An agent that was killed while it swapped programs leaves some of either.
    """
    return all(_runs_pinned(pins, hook.function) for hook in HOOKS)


def _runs_pinned(pins: Pins, name: str) -> bool:
    with ExitStack() as opened:
        found = []
        for path in (pins.links / name, pins.programs / name):
            try:
                fd = links.obj_get(path)
            except BpfError:
                return False
            opened.callback(os.close, fd)
            found.append(fd)
        link, program = found
        return links.link_program_id(link) == links.program_id(program)


@contextmanager
def _open_programs(pins: Pins) -> Iterator[dict[str, int]]:
    fds: dict[str, int] = {}
    try:
        for hook in HOOKS:
            fds[hook.function] = links.obj_get(pins.programs / hook.function)
        yield fds
    finally:
        for fd in fds.values():
            os.close(fd)


@contextmanager
def _open_folder(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)
