# SPDX-License-Identifier: Apache-2.0
"""A forger on the wire against connections that are real: he answers first, or speaks in between.

He knows every port and sequence number. What he cannot have is a tag for just this segment, so he
can neither be taken for the server nor spoil the connection to it; and a tag that he adds to what
is not a handshake says nothing to anybody.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from tests.kernel.scene import Scene
from tests.kernel.world import BASE, PORT
from tests.lab import Captured, Forger, Segment, drop_first, wait_until
from tests.lab.cordon import cordon
from tests.lab.packets import ACK, EXPERIMENT_2, FIN, PSH, RST, SYN, option

EXID = b"\xc0\xd1"


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with cordon(BASE) as running:
        yield Scene.of(running)


@dataclasses.dataclass
class Stalled:
    """A connection from web to db whose SYN does not arrive."""

    handle: int
    syn: Segment


@pytest.fixture
def stalled(scene: Scene) -> Iterator[Stalled]:
    world = scene.world
    loss = drop_first(world.b, "syn", n=1, port=PORT)
    scene.sniffer.clear()
    begun = world.web.connect_start(world.b.v4, PORT)
    assert begun.ok, begun
    found = scene.sniffer.wait_for(lambda c: c.segment.is_syn, "the SYN")
    yield Stalled(begun.handle, found.segment)
    assert world.web.connect_finish(begun.handle, timeout=0).error == "TIMEOUT", "he was believed"
    assert world.web.connect_finish(begun.handle, timeout=10.0).ok, "he has spoilt it"
    loss.remove()
    world.web.close(begun.handle, reset=True)


def answer(syn: Segment, options: bytes) -> Segment:
    """The SYN-ACK that the client waits for, but for its options."""
    return Segment(
        syn.destination,
        syn.source,
        syn.destination_port,
        syn.source_port,
        sequence=4242,
        acknowledgment=(syn.sequence + 1) % 2**32,
        flags=SYN | ACK,
        options=options,
    )


FORGED = {
    "no tag": (b"", "no_rule"),
    "a malformed one": (option(254, EXID + bytes(8)), "tag_malformed"),
    "the client's own": (None, "tag_forged"),
}


@pytest.mark.parametrize(("options", "reason"), FORGED.values(), ids=FORGED.keys())
def test_forged_answer_is_not_believed_and_spoils_nothing(
    scene: Scene, stalled: Stalled, options: bytes | None, reason: str
) -> None:
    before = scene.count(reason, "a", "egress")
    forged = answer(stalled.syn, stalled.syn.options if options is None else options)
    Forger(scene.world.b).send(forged, scene.world.a)
    wait_until(lambda: scene.count(reason, "a", "egress") > before, f"a refuses it as {reason}")


def test_replayed_answer_does_not_fit_another_connection(scene: Scene) -> None:
    """db did say so, in the same words on the same ports; only that another SYN is answered."""
    world, source = scene.world, ("0.0.0.0", 39_999)
    scene.sniffer.clear()
    client = world.web.connect(world.b.v4, PORT, timeout=5.0, bind=source)
    assert client.ok, client
    real = scene.sniffer.wait_for(lambda c: c.segment.is_syn_ack, "the SYN-ACK").segment
    assert real.option(EXPERIMENT_2)
    world.web.close(client.handle, reset=True)
    loss = drop_first(world.b, "syn", n=1, port=PORT)
    scene.sniffer.clear()
    begun = world.web.connect_start(world.b.v4, PORT, bind=source)
    assert begun.ok, begun
    syn = scene.sniffer.wait_for(lambda c: c.segment.is_syn, "the SYN").segment
    before = scene.count("tag_forged", "a", "egress")
    replayed = dataclasses.replace(real, acknowledgment=(syn.sequence + 1) % 2**32)
    Forger(world.b).send(replayed, world.a)
    wait_until(lambda: scene.count("tag_forged", "a", "egress") > before, "a refuses it")
    assert world.web.connect_finish(begun.handle, timeout=10.0).ok
    loss.remove()
    world.web.close(begun.handle, reset=True)


@dataclasses.dataclass
class Standing:
    """An established connection, and the client's next segment as he would forge it."""

    client: int
    server: int
    next_segment: Segment


@pytest.fixture
def standing(scene: Scene) -> Iterator[Standing]:
    world = scene.world
    listener = world.listen()
    scene.sniffer.clear()
    client = world.web.connect(world.b.v4, PORT, timeout=5.0)
    server = world.db.accept(listener.handle, timeout=5.0)
    assert server.ok, server

    def last_ack(captured: Captured) -> bool:
        return not captured.outgoing and captured.segment.flags == ACK

    ack = scene.sniffer.wait_for(last_ack, "the ACK that ends the handshake").segment
    yield Standing(client.handle, server.handle, ack)
    world.web.close(client.handle, reset=True)
    world.db.close(server.handle)


def with_tag(scene: Scene, segment: Segment) -> Segment:
    """A right tag of `other`, who is not allowed; only that there is no place for one here."""
    other = scene.keys.identity("other")
    return segment.with_options(scene.keys.tag_for(segment, "b", other))


def peers(scene: Scene) -> list[tuple[str, str]]:
    """Who db's established connections are with, by which proof."""
    return [
        (s.peer_workload.split("/")[-1], s.proof)
        for s in scene.world.cordon["b"].sockets(scene.world.db.pid)
        if s.state == "established"
    ]


def test_tag_on_data_changes_nobodys_identity(scene: Scene, standing: Standing) -> None:
    """TCP itself takes the byte: who can guess all numbers may insert some, as ever."""
    forged = dataclasses.replace(standing.next_segment, flags=ACK | PSH, payload=b"f", options=b"")
    scene.send(with_tag(scene, forged))
    assert scene.world.db.recv(standing.server, 1, timeout=5.0).data == b"f"
    assert peers(scene) == [("web", "tag")]


@pytest.mark.parametrize(
    "flags", [RST, RST | ACK, FIN | ACK, SYN], ids=["rst", "rstack", "fin", "syn"]
)
def test_tag_on_what_would_end_a_connection_gives_it_no_weight(
    scene: Scene, standing: Standing, flags: int
) -> None:
    """Out of the window, with a right tag: the connection goes on."""
    far = (standing.next_segment.sequence - 100_000) % 2**32
    forged = dataclasses.replace(standing.next_segment, flags=flags, sequence=far, options=b"")
    scene.send(with_tag(scene, forged))
    world = scene.world
    assert world.web.send(standing.client, b"x").ok
    assert world.db.recv(standing.server, 1, timeout=5.0).data == b"x"
    assert world.db.send(standing.server, b"y").ok
    assert world.web.recv(standing.client, 1, timeout=5.0).data == b"y"
    assert peers(scene) == [("web", "tag")]
