# SPDX-License-Identifier: Apache-2.0
"""Which refusals are told, to whom, and the packet that tells one. Pure.

A peer that proved who it is may learn that it is refused; a stranger gets silence, as from a host
that is not there, and a forger cannot make us end or answer anything.
"""

from __future__ import annotations

import struct

from agent.core.abi import FlowEvent, Segment, unpack_address
from agent.core.model import Proof, Verdict

_TCP = 6
_RST_ACK = 0x14
_HOP_LIMIT = 64
_DO_NOT_FRAGMENT = 0x4000


def is_told(event: FlowEvent) -> bool:
    """A refused segment of a handshake whose sender is proven."""
    return (
        event.verdict == Verdict.REFUSE
        and event.proof == Proof.TAG
        and event.protocol == _TCP
        and event.segment in (Segment.SYN, Segment.SYN_ACK)
    )


def reset_of(event: FlowEvent) -> bytes:
    """The IP packet that answers a refused SYN: RST, ACK (RFC 9293 3.10.7.1).

    Sequence number 0, for the SYN acknowledged nothing; it acknowledges all that the SYN held.
    """
    source, destination = unpack_address(event.local_address), unpack_address(event.remote_address)
    head = struct.pack(
        "!HHIIBBHHH",
        event.local_port, event.remote_port, 0, event.answer, 5 << 4, _RST_ACK, 0, 0, 0,
    )  # fmt: skip
    pseudo = source.packed + destination.packed + struct.pack("!II", len(head), _TCP)
    tcp = head[:16] + struct.pack("!H", _checksum(pseudo + head)) + head[18:]
    if source.version == 4:
        # The kernel fills in identification and checksum (raw(7)).
        ip = struct.pack(
            "!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, _DO_NOT_FRAGMENT, _HOP_LIMIT, _TCP, 0
        )
    else:
        ip = struct.pack("!IHBB", 6 << 28, len(tcp), _TCP, _HOP_LIMIT)
    return ip + source.packed + destination.packed + tcp


def _checksum(data: bytes) -> int:
    """The Internet checksum, RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
