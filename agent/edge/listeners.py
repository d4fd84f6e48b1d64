# SPDX-License-Identifier: Apache-2.0
"""What listens on this host, and whose it is.

Which sockets wait is read from /proc for each network namespace; whose they are, the kernel side
knows by the socket itself (a service that systemd listens for is the service's once it has
accepted). To ask it takes a descriptor, and to find those takes a walk through all processes: what
was found is kept, so that there is a walk only when something new listens.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

from agent.core.abi import Process
from agent.core.model import Identity
from agent.edge import foreign_sockets, proc_net
from agent.edge.libbpf import BpfError
from agent.edge.maps import BpfMap
from agent.edge.proc_net import Waiting
from agent.edge.scarcity import is_scarcity, vanishing

NOBODYS_LOOKS = 6
"""For how many looks a socket that no process of ours holds is not searched for again: it is the
kernel's own, or of a process outside the instance that may hand it on."""


class Listening(NamedTuple):
    """As cordon.v1.Listener."""

    protocol: int
    address: bytes
    port: int
    identity: int


class Listeners:
    """One per agent; `look` in a thread, in one at a time."""

    def __init__(self, maps: Path) -> None:
        """maps: folder of the instance's pinned maps."""
        self._maps = maps
        self._held: dict[int, tuple[int, int]] = {}
        """Inode -> process and descriptor."""
        self._nobodys: dict[int, int] = {}
        """Inode -> looks until it is searched for again."""
        self._last: list[Listening] = []

    def look(self, processes: Mapping[int, Process]) -> list[Listening]:
        """In order, each once. processes: of the instance, by pid.

        Raises OSError if we lack what it takes to look.
        """
        found = _waiting(processes)
        try:
            with BpfMap.open_pinned(self._maps / "sockets") as states:
                owners = self._owners(found, processes, states)
        except BpfError as error:
            if is_scarcity(error):
                raise
            return self._last  # somebody took the pins away: that matters more, and is told
        known = ((found[inode], owner) for inode, owner in owners.items())
        self._last = sorted(
            {
                Listening(one.protocol, one.address, one.port, owner)
                for one, owner in known
                if owner not in (Identity.NONE, Identity.PENDING)
            }
        )
        return self._last

    def _owners(
        self, found: Mapping[int, Waiting], processes: Mapping[int, Process], states: BpfMap
    ) -> dict[int, int]:
        """Inode -> identity, without those that nobody of ours holds."""
        self._forget(found)
        self._search(found.keys() - self._held.keys() - self._nobodys.keys(), processes)
        owners = self._ask(processes, states)
        lost = self._held.keys() - owners.keys()
        if lost:  # who was asked has ended, or closed it; others may hold it too
            self._search(lost, processes)
            owners = self._ask(processes, states)
            self._give_up(self._held.keys() - owners.keys())
        return owners

    def _forget(self, found: Mapping[int, Waiting]) -> None:
        self._held = {inode: holder for inode, holder in self._held.items() if inode in found}
        self._nobodys = {
            inode: left - 1 for inode, left in self._nobodys.items() if inode in found and left > 1
        }

    def _search(self, unknown: AbstractSet[int], processes: Mapping[int, Process]) -> None:
        if unknown:
            found = _holders(unknown, processes)
            self._held |= found
            self._give_up(unknown - found.keys())

    def _give_up(self, inodes: AbstractSet[int]) -> None:
        for inode in inodes:
            self._held.pop(inode, None)
            self._nobodys[inode] = NOBODYS_LOOKS

    def _ask(self, processes: Mapping[int, Process], states: BpfMap) -> dict[int, int]:
        owners: dict[int, int] = {}
        for inode, (pid, number) in self._held.items():
            if pid in processes:
                with vanishing():
                    owner = _local(pid, number, inode, states)
                    if owner is not None:
                        owners[inode] = owner or processes[pid].identity
        return owners


def _waiting(processes: Iterable[int]) -> dict[int, Waiting]:
    """By inode, of all network namespaces that these processes are in."""
    clients = proc_net.clients_ports()
    found: dict[int, Waiting] = {}
    read: set[int] = set()
    for pid in processes:
        with vanishing():
            namespace = os.stat(f"/proc/{pid}/ns/net").st_ino
            if namespace not in read:
                found |= {one.inode: one for one in proc_net.waiting(pid, clients)}
                read.add(namespace)
    return found


def _holders(unknown: Iterable[int], processes: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Of each socket a process that holds it, and by which descriptor."""
    wanted = {f"socket:[{inode}]": inode for inode in unknown}
    holders: dict[int, tuple[int, int]] = {}
    for pid in processes:
        for number, target in foreign_sockets.descriptors(pid):
            inode = wanted.pop(target, None)
            if inode is not None:
                holders[inode] = pid, number
        if not wanted:
            break
    return holders


def _local(pid: int, number: int, inode: int, states: BpfMap) -> int | None:
    """The identity that the kernel side has of the socket, 0 if none; None: it is another one."""
    with foreign_sockets.pidfd(pid) as pidfd, foreign_sockets.copy(pidfd, number) as copy:
        if os.fstat(copy.fileno()).st_ino != inode:
            return None
        state = foreign_sockets.kernel_state(copy, states)
        return state.local if state is not None else int(Identity.NONE)
