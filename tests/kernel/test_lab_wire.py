# SPDX-License-Identifier: Apache-2.0
"""The lab's tools on the wire: what is seen, forged and lost there is what a test asked for."""

import socket

import pytest

from tests.lab import Forger, Lab, Segment, Sniffer, drop_first, packets

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])


@FAMILIES
def test_sniffer_reads_the_options_of_both_handshake_segments(lab: Lab, family: int) -> None:
    sniffer = Sniffer(lab["a"])
    listener = lab["b"].puppet().listen(lab["b"].address(family))
    dialled = lab["a"].puppet().connect(lab["b"].address(family), listener.port)
    syn = sniffer.wait_for(lambda c: c.segment.is_syn, "the SYN")
    syn_ack = sniffer.wait_for(lambda c: c.segment.is_syn_ack, "the SYN-ACK")
    mss = 1460 if family == socket.AF_INET else 1440
    assert syn.outgoing
    assert not syn_ack.outgoing
    assert syn.segment.source_port == dialled.port
    for captured in (syn, syn_ack):
        assert captured.segment.option(packets.MSS) == mss.to_bytes(2, "big")
    assert syn_ack.segment.acknowledgment == syn.segment.sequence + 1


@FAMILIES
def test_forged_segment_is_taken_for_real(lab: Lab, family: int) -> None:
    listener = lab["b"].puppet().listen(lab["b"].address(family))
    sniffer = Sniffer(lab["b"])
    options = packets.option(packets.EXPERIMENT_1, b"\xc0\x4dforged tag")
    ends = (lab["a"].address(family), lab["b"].address(family))
    forged = Segment(*ends, 40000, listener.port, sequence=1000, options=options)
    Forger(lab["a"]).send(forged, to=lab["b"])
    seen = sniffer.wait_for(lambda c: c.segment.is_syn, "the forged SYN")
    answer = sniffer.wait_for(lambda c: c.segment.is_syn_ack, "the kernel's answer to it")
    assert seen.segment.option(packets.EXPERIMENT_1) == b"\xc0\x4dforged tag"
    assert answer.segment.acknowledgment == 1001


def test_forger_can_use_an_address_that_nobody_has(lab: Lab) -> None:
    listener = lab["b"].puppet().listen(lab["b"].v4)
    sniffer = Sniffer(lab["b"])
    forged = Segment("192.0.2.77", lab["b"].v4, 40000, listener.port)
    Forger(lab["a"]).send(forged, to=lab["b"])
    seen = sniffer.wait_for(lambda c: c.segment.is_syn, "the forged SYN")
    assert seen.segment.source == "192.0.2.77"


@pytest.mark.parametrize(("kind", "at"), [("syn", "b"), ("synack", "a")])
@FAMILIES
def test_drop_first_loses_exactly_the_first(lab: Lab, family: int, kind: str, at: str) -> None:
    listener = lab["b"].puppet().listen(lab["b"].address(family))
    client = lab["a"].puppet()
    loss = drop_first(lab[at], kind, port=listener.port)
    lost = client.connect(lab["b"].address(family), listener.port, timeout=0.1)
    passed = client.connect(lab["b"].address(family), listener.port, timeout=0.1)
    assert (lost.error, passed.error) == ("TIMEOUT", None)
    assert loss.lost() == 1
    loss.remove()


def test_connection_survives_a_lost_syn(lab: Lab) -> None:
    listener = lab["b"].puppet().listen(lab["b"].v4)
    client = lab["a"].puppet()
    loss = drop_first(lab["b"], "syn")
    pending = client.connect_start(lab["b"].v4, listener.port)
    assert client.connect_finish(pending.handle, timeout=3).ok
    assert loss.lost() == 1
