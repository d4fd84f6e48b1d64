# SPDX-License-Identifier: Apache-2.0
"""Whose a socket is that the kernel side did not see made, or whose owner has changed. Pure.

A socket is its process's that took it last. The kernel side follows that through socket, bind,
connect and sendmsg; what it cannot see is found by walks:

- sockets older than the agent: everything they do is as if their process had made them, and
  connections are marked `adopted`, so that they pass until the grace is over;
- sockets of a process that has ended, and left them to a child (a daemon that forks away);
- listeners made before their process was attested: should it end before the first client comes, the
  kernel side could not look up any more who it was;
- sockets that somebody without a workload opened for a workload (systemd's socket activation).

Of several processes that hold a socket, one of a workload comes before one of none, and the eldest
before its children: a server before its helpers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.core.abi import Process, SocketFlag, SocketState
from agent.core.model import FIRST_WORKLOAD_IDENTITY, Identity, Protocol

TCP_LISTEN = 10
"""include/net/tcp_states.h."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A descriptor of a socket. started: clock ticks since boot, of the process."""

    pid: int
    fd: int
    started: int


@dataclass(frozen=True, slots=True)
class SocketFacts:
    """An inet socket, asked through a descriptor.

    cookie: the kernel's number of the socket; netns: of its network namespace.
    tcp_state: 0 for what is not TCP. connected: it has a remote end.
    state: what the datapath keeps of it; None if nothing.
    """

    cookie: int
    netns: int
    protocol: int
    tcp_state: int
    local_port: int
    remote_port: int
    connected: bool
    holders: tuple[Holder, ...]
    state: SocketState | None

    @property
    def listens(self) -> bool:
        return self.tcp_state == TCP_LISTEN


@dataclass(frozen=True, slots=True)
class SocketTag:
    """What is to be written to the socket that `holder` names, if it still is that one."""

    holder: Holder
    cookie: int
    state: SocketState


def plan(
    sockets: Iterable[SocketFacts], entries: Mapping[int, Process], *, complete: bool
) -> list[SocketTag]:
    """What to write.

    entries: the kernel's, of all processes. complete: the sockets are all there are, so that a
    connection's direction can be told from the listeners; else only handed-over ones are looked at.
    """
    sockets = list(sockets)
    served = {(s.netns, s.local_port) for s in sockets if s.listens}
    return [
        tag
        for seen in sockets
        if (seen.state is not None or complete)
        and (tag := _tag(seen, entries, (seen.netns, seen.local_port) in served)) is not None
    ]


def namespaces_of_listeners(tags: Iterable[SocketTag]) -> dict[int, int]:
    """Network namespace -> a process in whose hands a listener of it is."""
    return {tag.state.netns: tag.holder.pid for tag in tags if tag.state.flags & SocketFlag.LISTENS}


def _tag(seen: SocketFacts, entries: Mapping[int, Process], served: bool) -> SocketTag | None:
    holder = _owner(seen.holders, entries)
    if holder is None:
        return None
    entry = entries[holder.pid]
    if seen.state is None:
        state = _adopted(seen, served)
    elif _is_left(seen.state, entry, entries) or _waits(seen.state, entry):
        state = seen.state
    else:
        return None
    changed = entry.identity != state.local
    return SocketTag(
        holder,
        seen.cookie,
        state._replace(
            local=entry.identity,
            tgid=holder.pid,
            stamp=entry.stamp,
            generation=0 if changed else state.generation,
        ),
    )


def _owner(holders: Iterable[Holder], entries: Mapping[int, Process]) -> Holder | None:
    known = [holder for holder in holders if holder.pid in entries]
    return min(
        known,
        key=lambda h: (not _is_workload(entries[h.pid].identity), h.started, h.pid),
        default=None,
    )


def _is_workload(identity: int) -> bool:
    return identity >= FIRST_WORKLOAD_IDENTITY


def _is_left(state: SocketState, heir: Process, entries: Mapping[int, Process]) -> bool:
    """Whether its owner has ended, or held it for the workload that has it now."""
    owner = entries.get(state.tgid)
    if owner is None or owner.stamp != state.stamp:
        return True
    return _is_workload(heir.identity) and not _is_workload(owner.identity)


def _waits(state: SocketState, owner: Process) -> bool:
    """Whether it is a listener from before its owner was attested, who is now.

    Only listeners: what the kernel keeps of a connection may change under our hands.
    """
    listens = bool(state.flags & SocketFlag.LISTENS)
    return listens and state.local == Identity.PENDING != owner.identity


def _adopted(seen: SocketFacts, served: bool) -> SocketState:
    """The state of a socket that nobody knows yet, without its owner."""
    flags, port = SocketFlag(0), seen.local_port
    if seen.listens:
        flags = SocketFlag.LISTENS
    elif seen.connected and not served:
        flags, port = SocketFlag.ADOPTED | SocketFlag.EGRESS, seen.remote_port
    elif seen.connected:
        flags = SocketFlag.ADOPTED
    if seen.protocol != Protocol.TCP:
        flags &= ~SocketFlag.EGRESS  # an exchange has its own direction
    return SocketState(
        generation=0,
        netns=seen.netns,
        local=0,
        peer=0,
        peer_host=0,
        address_identity=0,
        rule=0,
        tgid=0,
        port=port,
        verdict=0,
        reason=0,
        proof=0,
        flags=int(flags),
        repeats=0,
        stamp=0,
    )
