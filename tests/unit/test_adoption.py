# SPDX-License-Identifier: Apache-2.0
"""Whose a socket is that the kernel side did not see made."""

from agent.core.abi import Process, SocketFlag, SocketState
from agent.core.adoption import (
    TCP_LISTEN,
    Holder,
    SocketFacts,
    SocketTag,
    namespaces_of_listeners,
    plan,
)
from agent.core.model import Identity

WEB, DB = 300, 301
ESTABLISHED = 1
ENTRIES = {
    1: Process(int(Identity.HOST), 0, 1, 0, 0, 0, 1, 0, 11),
    10: Process(WEB, 0, 1, 0, 0, 0, 1, 0, 110),
    20: Process(DB, 0, 1, 0, 0, 0, 1, 0, 120),
    21: Process(DB, 0, 1, 0, 0, 0, 1, 0, 121),
}
EMPTY = SocketState(*[0] * 15)


def seen(
    *pids: int,
    tcp_state: int = ESTABLISHED,
    local_port: int = 40000,
    remote_port: int = 0,
    state: SocketState | None = None,
    netns: int = 5,
    protocol: int = 6,
) -> SocketFacts:
    """A socket held by these processes, the first one the eldest."""
    return SocketFacts(
        cookie=77, netns=netns, protocol=protocol, tcp_state=tcp_state if protocol == 6 else 0,
        local_port=local_port, remote_port=remote_port, connected=remote_port > 0,
        holders=tuple(Holder(pid, 3, started) for started, pid in enumerate(pids)), state=state,
    )  # fmt: skip


def listener(*pids: int, port: int = 80, state: SocketState | None = None) -> SocketFacts:
    return seen(*pids, tcp_state=TCP_LISTEN, local_port=port, state=state)


def state_of(*sockets: SocketFacts, complete: bool = True) -> list[SocketState]:
    return [tag.state for tag in plan(sockets, ENTRIES, complete=complete)]


def owned(local: int, tgid: int, flags: int = 0) -> SocketState:
    return EMPTY._replace(
        local=local, tgid=tgid, stamp=ENTRIES[tgid].stamp if tgid in ENTRIES else 1,
        generation=9, flags=flags,
    )  # fmt: skip


def test_opened_connection_is_adopted_as_egress_with_the_peers_port() -> None:
    (state,) = state_of(seen(10, remote_port=5432))
    assert state == EMPTY._replace(
        local=WEB, tgid=10, stamp=110, netns=5, port=5432,
        flags=int(SocketFlag.ADOPTED | SocketFlag.EGRESS),
    )  # fmt: skip


def test_accepted_connection_is_told_by_the_listener_on_its_port() -> None:
    tags = plan([seen(20, local_port=80, remote_port=999), listener(20)], ENTRIES, complete=True)
    assert (tags[0].state.flags, tags[0].state.port) == (SocketFlag.ADOPTED, 80)
    assert (tags[1].state.flags, tags[1].state.port) == (SocketFlag.LISTENS, 80)
    assert namespaces_of_listeners(tags) == {5: 20}


def test_listener_of_another_namespace_says_nothing_of_a_port() -> None:
    foreign = seen(20, local_port=80, remote_port=999, netns=6)
    assert state_of(foreign, listener(20))[0].port == 999


def test_socket_that_is_neither_connected_nor_listens_is_just_tagged() -> None:
    (udp,) = state_of(seen(10, protocol=17, local_port=53))
    assert (udp.local, udp.flags, udp.port) == (WEB, 0, 53)


def test_connected_datagram_socket_is_adopted_without_a_direction() -> None:
    (udp,) = state_of(seen(10, protocol=17, remote_port=53))
    assert udp.flags == SocketFlag.ADOPTED


def test_of_several_holders_the_workload_comes_first_and_then_the_eldest() -> None:
    assert [s.tgid for s in state_of(listener(1, 20, 21))] == [20]
    assert [s.tgid for s in state_of(listener(21, 20))] == [21]
    assert [s.tgid for s in state_of(listener(999, 1))] == [1], "999 is nobody's entry"
    assert state_of(listener(999)) == []


def test_socket_of_a_living_owner_is_left_alone() -> None:
    assert state_of(listener(20, state=owned(DB, 20))) == []
    assert state_of(listener(10, state=owned(DB, 20))) == [], "a helper that inherited it"
    assert state_of(listener(1, state=owned(Identity.HOST, 1))) == []


def test_socket_that_was_opened_for_a_workload_becomes_its() -> None:
    given = listener(1, 20, state=owned(Identity.HOST, 1, SocketFlag.LISTENS))
    (state,) = state_of(given, complete=False)
    assert (state.local, state.tgid, state.stamp, state.generation) == (DB, 20, 120, 0)
    assert state.flags == SocketFlag.LISTENS


def test_socket_of_an_ended_process_goes_to_who_holds_it() -> None:
    left = listener(21, state=owned(DB, 99))
    (state,) = state_of(left)
    assert (state.local, state.tgid, state.generation) == (DB, 21, 9), "the verdict stands"
    reused = listener(21, state=owned(DB, 10)._replace(stamp=1))
    assert [s.tgid for s in state_of(reused)] == [21]


def test_sockets_of_one_process_are_not_adopted_from_a_part_of_the_picture() -> None:
    assert state_of(seen(10, remote_port=5432), complete=False) == []


def test_tag_names_descriptor_and_cookie() -> None:
    (tag,) = plan([listener(20)], ENTRIES, complete=True)
    assert isinstance(tag, SocketTag)
    assert (tag.holder.pid, tag.holder.fd, tag.cookie) == (20, 3, 77)


def test_listener_from_before_its_process_was_attested_is_settled_and_nothing_else() -> None:
    waiting = owned(int(Identity.PENDING), 10, int(SocketFlag.LISTENS))
    (state,) = state_of(listener(10, state=waiting), complete=False)
    assert (state.local, state.tgid, state.generation) == (WEB, 10, 0)
    connected = owned(int(Identity.PENDING), 10, int(SocketFlag.EGRESS))
    assert state_of(seen(10, remote_port=5432, state=connected), complete=False) == []
    still = {10: ENTRIES[10]._replace(identity=int(Identity.PENDING))}
    assert plan([listener(10, state=waiting)], still, complete=False) == []
