# SPDX-License-Identifier: Apache-2.0
"""Which refusals are told, and that the packet which tells one is as RFC 9293 asks."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest

from agent.core.abi import FlowEvent, FlowKind, Segment, pack_address
from agent.core.model import Direction, Proof, Reason, Verdict
from agent.core.resets import is_told, reset_of
from tests.lab.packets import checksum, parse


def event(local: str = "192.0.2.2", remote: str = "192.0.2.1", **changed: Any) -> FlowEvent:
    """A refused SYN of a proven peer."""
    made = FlowEvent(
        time_ns=0, generation=1, netns=7,
        local_address=pack_address(ipaddress.ip_address(local)),
        remote_address=pack_address(ipaddress.ip_address(remote)),
        local=400, peer=300, peer_host=1, rule=0, tgid=1, suppressed=0, local_port=5432,
        remote_port=40000, protocol=6, direction=Direction.INGRESS, verdict=Verdict.REFUSE,
        reason=Reason.NO_RULE, proof=Proof.TAG, segment=Segment.SYN, kind=FlowKind.JUDGED,
        answer=1001,
    )  # fmt: skip
    return made._replace(**changed)


@pytest.mark.parametrize("segment", [Segment.SYN, Segment.SYN_ACK])
def test_refusal_of_a_proven_peer_is_told(segment: Segment) -> None:
    assert is_told(event(segment=segment))


@pytest.mark.parametrize(
    "changed",
    [
        {"proof": Proof.ADDRESS},
        {"proof": Proof.NONE, "reason": Reason.TAG_FORGED},
        {"verdict": Verdict.AUDIT},
        {"verdict": Verdict.ALLOW},
        {"segment": Segment.OTHER},
        {"protocol": 17},
    ],
    ids=str,
)
def test_strangers_and_what_passes_hear_nothing(changed: dict[str, Any]) -> None:
    assert not is_told(event(**changed))


@pytest.mark.parametrize(
    ("local", "remote"), [("192.0.2.2", "192.0.2.1"), ("fd00::2", "fd00::1")], ids=["v4", "v6"]
)
def test_reset_answers_the_syn(local: str, remote: str) -> None:
    packet = reset_of(event(local, remote, answer=0))
    found = parse(packet)
    assert found is not None
    assert (found.source, found.destination) == (local, remote)
    assert (found.source_port, found.destination_port) == (5432, 40000)
    assert (found.sequence, found.acknowledgment, found.flags) == (0, 0, 0x14)
    assert (found.options, found.payload) == (b"", b"")
    ends = pack_address(ipaddress.ip_address(local)) + pack_address(ipaddress.ip_address(remote))
    if "." in local:
        ends = ipaddress.ip_address(local).packed + ipaddress.ip_address(remote).packed
    assert checksum(ends + struct.pack("!II", 20, 6) + packet[-20:]) == 0


def test_reset_acknowledges_what_the_kernel_said() -> None:
    found = parse(reset_of(event(answer=0xFFFFFFFF)))
    assert found is not None
    assert found.acknowledgment == 0xFFFFFFFF
