# SPDX-License-Identifier: Apache-2.0
"""Finds the sockets of the instance's processes and tags those that core says, by pidfd_getfd.

Sockets are found through descriptors and not by sock_diag: a descriptor is what sk_storage is
written by, it needs no visit to each network namespace, and it names its holders. A socket that
vanishes between walk and tag is left out; one that another socket has replaced is told by its
cookie.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from agent.core.abi import SOCKET_STATE
from agent.core.adoption import Holder, SocketFacts, SocketTag
from agent.edge import foreign_sockets, hooks, links, namespaces
from agent.edge.hooks import Pins
from agent.edge.libbpf import BpfError
from agent.edge.maps import BpfMap
from agent.edge.scarcity import is_scarcity, vanishing

MAX_SOCKETS = 1_000_000
"""Of one walk; the rest stays as the kernel side treats what it does not know."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """How many sockets were tagged, and what could not be done for listeners, or nothing."""

    count: int
    trouble: str = ""


def walk(pids: Iterable[int], maps: Path) -> list[SocketFacts]:
    """Every inet socket of these processes, once, with all who hold it.

    Raises OSError if we lack descriptors to look: then of none is anything known.
    """
    found: dict[str, SocketFacts] = {}
    others: set[str] = set()
    with BpfMap.open_pinned(maps / "sockets") as states:
        for pid in pids:
            with vanishing(), contextlib.suppress(ValueError, IndexError):
                _walk_one(pid, states, found, others)
            if len(found) >= MAX_SOCKETS:
                break
    return list(found.values())


def _walk_one(pid: int, states: BpfMap, found: dict[str, SocketFacts], others: set[str]) -> None:
    started = _started(pid)
    with foreign_sockets.pidfd(pid) as pidfd:
        for number, target in foreign_sockets.descriptors(pid):
            holder = Holder(pid, number, started)
            known = found.get(target)
            if known is not None:
                found[target] = replace(known, holders=(*known.holders, holder))
            elif target not in others:
                with vanishing(), foreign_sockets.copy(pidfd, number) as copy:
                    if foreign_sockets.is_inet(copy):
                        found[target] = _facts(copy, holder, states)
                    else:
                        others.add(target)


def _started(pid: int) -> int:
    text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    return int(text.rpartition(")")[2].split()[19])


def _facts(copy: socket.socket, holder: Holder, states: BpfMap) -> SocketFacts:
    protocol = foreign_sockets.protocol(copy)
    remote = foreign_sockets.remote_end(copy)
    return SocketFacts(
        cookie=foreign_sockets.cookie(copy),
        netns=foreign_sockets.netns_cookie(copy),
        protocol=protocol,
        tcp_state=foreign_sockets.tcp_state(copy, protocol),
        local_port=foreign_sockets.local_end(copy)[1],
        remote_port=remote[1],
        connected=bool(remote[0]),
        holders=(holder,),
        state=foreign_sockets.kernel_state(copy, states),
    )


def tag(tags: Iterable[SocketTag], listening: Mapping[int, int], pins: Pins) -> Tagged:
    """Write the states; then let the listeners of these namespaces (a process in each) answer
    with a tag. Raises OSError if we lack descriptors for that."""
    count = 0
    with BpfMap.open_pinned(pins.maps / "sockets") as states:
        for one in tags:
            with vanishing():
                count += _tag(one, states)
    trouble = ""
    for pid in listening.values():
        try:
            _arm_listeners(pid, pins.programs / hooks.LISTENERS.function)
        except OSError as error:
            if is_scarcity(error):
                raise
            trouble = str(error)
    return Tagged(count, trouble)


def _tag(one: SocketTag, states: BpfMap) -> bool:
    with (
        foreign_sockets.pidfd(one.holder.pid) as pidfd,
        foreign_sockets.copy(pidfd, one.holder.fd) as copy,
    ):
        if foreign_sockets.cookie(copy) != one.cookie:
            return False
        states.put(foreign_sockets.key_of(copy), SOCKET_STATE.pack(one.state))
    return True


def _arm_listeners(pid: int, program: Path) -> None:
    """A process that has ended takes its listeners along, so that is no trouble."""
    program_fd = links.obj_get(program)
    try:
        namespaces.inside(pid, lambda: links.run_iterator(program_fd))
    except FileNotFoundError:
        pass
    except BpfError as error:
        if error.errno != errno.EAGAIN:
            raise
        raise BpfError(errno.EOPNOTSUPP, "marking listeners", "Linux 6.12 can") from error
    finally:
        os.close(program_fd)
