# SPDX-License-Identifier: Apache-2.0
"""What stands or has begun when policy changes is judged anew, by the new policy alone.

A snapshot that cannot be in force changes nothing, for what stands and for what comes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from agent.core.compile import PEERS_MAX
from agent.core.model import (
    FIRST_WORKLOAD_IDENTITY,
    Action,
    Direction,
    Peer,
    Rule,
    Snapshot,
)
from agent.edge import snapshot_codec
from agent.pb import local_pb2
from tests.kernel.sealing import hand_over, read_snapshot, signing_key
from tests.kernel.world import BASE, PORT, World, policy
from tests.lab import drop_first, wait_until
from tests.lab.cordon import cordon
from tests.lab.witness import Witness


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    with cordon(BASE) as running:
        yield World.build(running)


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    yield shared
    shared.cordon.apply(BASE)


def only(*ports: int) -> str:
    """A policy that lets web reach db on these ports, by a rule of a name of its own."""
    allow = {
        "kind": "Allow",
        "name": f"only-{'-'.join(map(str, ports))}",
        "from": {"workload": "web"},
        "to": {"workload": "db"},
        "ports": [f"tcp/{port}" for port in ports],
    }
    return policy(json.dumps(allow))


@dataclass(eq=False)
class Live:
    """An established connection, both ends in hand, and what was sent and has not arrived."""

    world: World
    port: int
    client: int
    server: int
    due: bytes = b""

    @classmethod
    def open(cls, world: World, port: int) -> Live:
        listener = world.listen(port=port)
        client = world.web.connect(world.b.v4, port, timeout=5.0)
        assert client.ok, client
        server = world.db.accept(listener.handle, timeout=5.0)
        assert server.ok, server
        return cls(world, port, client.handle, server.handle)

    def send(self, data: bytes) -> None:
        assert self.world.web.send(self.client, data).ok
        self.due += data

    def receive(self) -> None:
        """All that is due comes, in order; TCP repeats what was dropped after half a second."""
        got = self.world.db.recv(self.server, len(self.due), timeout=10.0).data
        assert got == self.due
        self.due = b""

    def nothing_came(self) -> bool:
        return self.world.db.recv(self.server, 1, timeout=0).error == "EAGAIN"

    def close(self) -> None:
        self.world.web.close(self.client, reset=True)
        self.world.db.close(self.server, reset=True)


def refusals(witness: Witness, generation: int, port: int) -> list[local_pb2.Flow]:
    return [
        flow
        for flow in witness.flows
        if flow.generation == generation
        and flow.verdict == "refuse"
        and port in (flow.remote_port, flow.local_port)
    ]


def test_live_connections_follow_every_switch(world: World) -> None:
    world.cordon.apply(only(PORT, PORT + 1))
    one, other = Live.open(world, PORT), Live.open(world, PORT + 1)
    witness = Witness(world.cordon["a"])
    for turn in range(4):
        open_, shut = (one, other) if turn % 2 else (other, one)
        world.cordon.apply(only(open_.port))
        generation = world.cordon["a"].status().generation
        for live in (one, other):
            live.send(b"%d" % turn)
        open_.receive()
        wait_until(
            lambda generation=generation, port=shut.port: refusals(witness, generation, port),  # type: ignore[misc]
            f"the byte to port {shut.port} is refused",
        )
        assert shut.nothing_came()
    one.close()
    other.close()


def test_connection_waiting_for_accept_is_judged_by_the_policy_in_force(world: World) -> None:
    """It stood under the first one, its data come under the second."""
    listener = world.listen()
    client = world.web.connect(world.b.v4, PORT, timeout=5.0)
    assert client.ok, client
    world.cordon.apply(policy())
    witness = Witness(world.cordon["a"])
    generation = world.cordon["a"].status().generation
    assert world.web.send(client.handle, b"x").ok
    wait_until(lambda: refusals(witness, generation, PORT), "the byte is refused")
    server = world.db.accept(listener.handle, timeout=5.0)
    assert world.db.recv(server.handle, 1, timeout=0).error == "EAGAIN"
    world.cordon.apply(BASE)
    assert world.db.recv(server.handle, 1, timeout=10.0).data == b"x"
    world.web.close(client.handle, reset=True)
    world.db.close(server.handle)


def test_handshake_that_began_under_another_policy_ends_under_the_new_one(world: World) -> None:
    """Its last ACK was lost; when it is repeated, the server has another policy."""
    from_anybody = json.dumps(
        {
            "kind": "Allow",
            "name": "strays",
            "from": {"segment": "default"},
            "to": {"workload": "db"},
            "ports": [f"tcp/{PORT}"],
        }
    )
    world.cordon.apply(policy(from_anybody))
    listener = world.listen()
    witness = Witness(world.cordon["b"])
    loss = drop_first(world.b, "ack", port=PORT)
    client = world.loner.connect(world.b.v4, PORT, timeout=5.0)
    assert client.ok, "the client has its SYN-ACK"
    world.cordon.apply(policy())
    generation = world.cordon["b"].status().generation
    wait_until(
        lambda: refusals(witness, generation, PORT), "the repeated ACK is refused", timeout=10.0
    )
    assert world.db.accept(listener.handle, timeout=0).error == "EAGAIN"
    world.cordon.apply(policy(from_anybody))
    server = world.db.accept(listener.handle, timeout=15.0)
    assert server.ok, "the next repetition is allowed again"
    assert loss.lost() == 1
    loss.remove()
    world.loner.close(client.handle, reset=True)
    world.db.close(server.handle)


def test_reset_under_a_new_policy_is_told_with_the_services_port(world: World) -> None:
    """A socket that resets its connection has lost its own port before its last segment goes."""
    live = Live.open(world, PORT)
    world.cordon.apply(policy())
    witness = Witness(world.cordon["b"])
    generation = world.cordon["b"].status().generation
    world.db.close(live.server, reset=True)
    told = wait_until(lambda: refusals(witness, generation, PORT), "the reset is judged")
    assert [flow.local_port for flow in told] == [PORT]
    world.web.close(live.client, reset=True)


def crowded(snapshot: Snapshot) -> Snapshot:
    """With more hosts than the kernel's map has room for."""
    numbers = range(1000, 1000 + PEERS_MAX)
    more = tuple(Peer(n, f"host-{n}", (), (), frozenset()) for n in numbers)
    return replace(snapshot, peers=(*snapshot.peers, *more))


def impossible(snapshot: Snapshot) -> Snapshot:
    """With one rule more, about an identity that cannot be."""
    nobody = Rule(
        1, "x", Action.ALLOW, Direction.INGRESS, None, frozenset({FIRST_WORKLOAD_IDENTITY - 1})
    )
    return replace(snapshot, rules=(nobody,))


TOO_MUCH = {
    "does not fit": (crowded, "more than the 65536 that fit the kernel's map"),
    "does not compile": (impossible, "which is neither workload nor known network"),
}


@pytest.mark.parametrize(("change", "sentence"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_snapshot_that_cannot_be_in_force_changes_nothing(
    world: World, change: Callable[[Snapshot], Snapshot], sentence: str
) -> None:
    host = world.cordon["b"]
    before = host.status()
    good = read_snapshot(host)
    live = Live.open(world, PORT)
    shut = replace(good, version=good.version + 1, rules=())  # web could not come in any more
    bad = change(shut)
    hand_over(host, snapshot_codec.seal(bad, signing_key(world.cordon)))
    wait_until(lambda: host.status().refused, "the snapshot is refused", timeout=20.0)
    after = host.status()
    assert sentence in after.refused
    assert after.state == "stale"
    assert (after.generation, after.policy_version) == (before.generation, before.policy_version)
    live.send(b"x")
    live.receive()
    live.close()
    world.listen()
    fresh = world.web.connect(world.b.v4, PORT, timeout=5.0)
    assert fresh.ok, fresh
    world.web.close(fresh.handle, reset=True)
    world.cordon.apply(BASE)
    assert host.status().state == "in_sync"
