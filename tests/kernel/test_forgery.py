# SPDX-License-Identifier: Apache-2.0
"""Tags that host a's kernel did not write: forged, replayed, malformed. None of them opens a port.

The segments are put on the wire below the sender's own hooks, as an attacker on the network would;
the reason for which the receiving kernel refuses each is read from its counters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from tests.kernel.scene import Scene
from tests.kernel.world import BASE, PORT, bare_syn
from tests.lab import Segment, wait_until
from tests.lab.cordon import cordon
from tests.lab.packets import ACK, FIN, NOP, PSH, RST, SYN, option

EXID = b"\xc0\xd1"


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with cordon(BASE) as running:
        yield Scene.of(running)


def test_a_right_tag_made_by_hand_is_accepted(scene: Scene) -> None:
    """Else the refusals below would prove nothing."""
    scene.accepted(scene.tagged())


def test_forged_mac_is_refused(scene: Scene) -> None:
    scene.refused(scene.tagged(key=bytes(16)), "tag_forged")


def test_every_bit_of_the_mac_counts(scene: Scene) -> None:
    good = scene.tagged()
    for bit in range(0, 64, 7):
        raw = bytearray(good.options)
        raw[12 + bit // 8] ^= 1 << bit % 8
        scene.refused(good.with_options(bytes(raw)), "tag_forged")


def test_tag_for_another_identity_under_the_same_mac_is_refused(scene: Scene) -> None:
    good = scene.tagged("other")
    raw = bytearray(good.options)
    raw[5:8] = scene.keys.identity("web").to_bytes(3, "big")
    scene.refused(good.with_options(bytes(raw)), "tag_forged")


def test_tag_made_for_another_host_is_refused(scene: Scene) -> None:
    """The key towards host a itself is not the key towards host b."""
    key = scene.keys.key("a", scene.keys.epoch())
    scene.refused(scene.tagged(key=key), "tag_forged")


def test_tag_that_claims_another_sender_is_refused(scene: Scene) -> None:
    b_number = scene.keys.peer("b").host
    scene.refused(scene.tagged(host=b_number), "tag_forged")


def test_tag_of_an_unknown_host_is_refused(scene: Scene) -> None:
    scene.refused(scene.tagged(host=4000), "tag_host")


def test_host_may_speak_only_for_workloads_that_can_run_on_it(scene: Scene) -> None:
    """Root on host a has a's keys; that db cannot run there, every other host knows."""
    running = scene.world.cordon
    assert "db.service}" in BASE
    running.host_fields["b"] = {"labels": "{role: b}"}
    running.apply(BASE.replace("db.service}", "db.service, host: {role: b}}"))
    scene.refused(scene.tagged("db"), "tag_identity")
    running.host_fields["b"] = {}
    running.apply(BASE)


def test_workload_without_an_allow_is_refused_with_a_right_tag(scene: Scene) -> None:
    scene.refused(scene.tagged("other"), "no_rule")


def test_replay_from_another_port_is_refused(scene: Scene) -> None:
    syn = scene.tagged()
    scene.accepted(syn)
    scene.refused(dataclasses.replace(syn, source_port=syn.source_port + 1), "tag_replayed")


def test_replay_from_another_address_is_refused(scene: Scene) -> None:
    syn = scene.tagged()
    scene.accepted(syn)
    scene.refused(dataclasses.replace(syn, source="192.0.2.77"), "tag_replayed")


def test_copy_of_a_tag_not_yet_seen_is_refused_elsewhere(scene: Scene) -> None:
    """The original was lost on the way: the MAC alone binds it to its addresses."""
    syn = scene.tagged()
    scene.refused(dataclasses.replace(syn, source_port=syn.source_port + 1), "tag_forged")


def test_replay_of_a_connection_that_was_established_is_refused(scene: Scene) -> None:
    world = scene.world
    scene.sniffer.clear()
    client = world.web.connect(world.b.v4, PORT)
    assert client.ok, client
    original = scene.sniffer.wait_for(lambda c: c.segment.is_syn, "the SYN").segment
    world.web.close(client.handle, reset=True)
    wait_until(
        lambda: not [s for s in world.cordon["b"].sockets(world.db.pid) if s.state == "syn_recv"],
        "the connection is gone",
    )
    scene.refused(original, "tag_replayed")


def test_retransmission_is_no_replay(scene: Scene) -> None:
    syn = scene.tagged()
    scene.accepted(syn)
    scene.accepted(syn)


@pytest.mark.parametrize("distance", [-2, 2, 5, 9])
def test_epochs_beyond_the_live_three_are_refused(scene: Scene, distance: int) -> None:
    epoch = scene.keys.epoch() + distance
    scene.refused(scene.tagged(epoch=epoch, key=bytes(16)), "tag_epoch")


def test_neighbouring_epochs_are_live(scene: Scene) -> None:
    scene.accepted(scene.tagged(epoch=scene.keys.epoch() + 1))
    scene.accepted(scene.tagged(epoch=scene.keys.epoch() - 1))


@pytest.mark.parametrize("identity", [0, 2, 3, 5])
def test_reserved_identities_never_speak(scene: Scene, identity: int) -> None:
    scene.refused(scene.tagged(identity), "tag_malformed")


def test_unknown_and_greatest_identities_are_refused(scene: Scene) -> None:
    scene.refused(scene.tagged(0x7FFFFE), "tag_identity")
    scene.refused(scene.tagged(0xFFFFFF), "tag_identity")


MALFORMED = {
    "length 0": option(254, EXID, length=0),
    "length 1": option(254, EXID, length=1),
    # Shorter than an MD5 option: longer ones the kernel itself drops before any hook sees them.
    "length past the header's end": option(254, EXID + bytes(8), length=30),
    "another option's length past the end": option(2, b"\x05\xb4", length=12),
    "right magic, short body": option(254, EXID + b"\0\0\0\0"),
    "right magic, long body": option(254, EXID + bytes(20)),
    "unknown version": option(254, EXID + b"\xc0" + bytes(15)),
    "reserved bit set": option(254, EXID + b"\x10" + bytes(15)),
}


@pytest.mark.parametrize("options", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_option_from_a_managed_host_is_refused(scene: Scene, options: bytes) -> None:
    scene.refused(bare_syn(scene.world).with_options(options), "tag_malformed")


def test_two_tags_are_refused_even_if_one_is_right(scene: Scene) -> None:
    syn = bare_syn(scene.world)
    right = scene.keys.tag_for(syn, "b", scene.keys.identity("web"))
    wrong = scene.keys.tag_for(syn, "b", scene.keys.identity("other"))
    scene.refused(syn.with_options(right + wrong), "tag_malformed")
    scene.refused(syn.with_options(wrong + right), "tag_malformed")
    scene.refused(syn.with_options(right + right), "tag_malformed")


def test_tag_is_found_behind_any_padding(scene: Scene) -> None:
    for padding in (0, 1, 2, 4, 19, 20):
        syn = bare_syn(scene.world)
        right = scene.keys.tag_for(syn, "b", scene.keys.identity("web"))
        scene.accepted(syn.with_options(bytes([NOP]) * padding + right))


@pytest.mark.parametrize(
    "options",
    [b"", option(254, b"\xff\xff" + bytes(16)), option(253, EXID + bytes(16))],
    ids=["none", "another experiment", "another kind"],
)
def test_peer_without_tag_from_a_managed_address_is_unproven(scene: Scene, options: bytes) -> None:
    scene.refused(bare_syn(scene.world).with_options(options), "no_rule")


def test_stranger_without_agent_is_refused(scene: Scene) -> None:
    scene.refused(Segment("192.0.2.200", scene.world.b.v4, 4711, PORT), "no_rule")


OUTSIDE = {
    "rst": RST,
    "fin": FIN | ACK,
    "ack": ACK,
    "data": ACK | PSH,
    "syn and rst": SYN | RST,
    "syn and fin": SYN | FIN,
    "syn and ack": SYN | ACK,
    "nothing": 0,
    "all": FIN | SYN | RST | PSH | ACK,
}


@pytest.mark.parametrize("flags", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_tag_outside_a_handshake_opens_nothing(scene: Scene, flags: int) -> None:
    syn = dataclasses.replace(bare_syn(scene.world), flags=flags)
    tagged = syn.with_options(scene.keys.tag_for(syn, "b", scene.keys.identity("web")))
    scene.sniffer.clear()
    scene.send(tagged)
    answers = [c.segment for c in scene.sniffer.collect(0.1) if c.outgoing]
    assert all(segment.flags & RST for segment in answers), answers
