# SPDX-License-Identifier: Apache-2.0
"""TCP segments as bytes: building forged or broken ones, and reading captured ones.

Pure. Options are raw bytes on both sides, because what tests want is just what a library would put
right. Layouts: RFC 9293 section 3.1, RFC 791 section 3.1, RFC 8200 section 3.
"""

import socket
import struct
from dataclasses import dataclass, replace

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
END, NOP, MSS, WINDOW_SCALE, SACK_PERMITTED, TIMESTAMP, FASTOPEN = 0, 1, 2, 3, 4, 8, 34
EXPERIMENT_1, EXPERIMENT_2 = 253, 254
ETH_IPV4, ETH_IPV6 = 0x0800, 0x86DD
_TCP_HEADER = 20


@dataclass(frozen=True)
class Segment:
    """One TCP segment with the addresses it travels under."""

    source: str
    destination: str
    source_port: int
    destination_port: int
    sequence: int = 0
    acknowledgment: int = 0
    flags: int = SYN
    options: bytes = b""
    """Raw; padded with END to a multiple of four when built. At most 40 bytes."""
    payload: bytes = b""
    window: int = 64240
    hop_limit: int = 64

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.source

    @property
    def is_syn(self) -> bool:
        return self.flags & (SYN | ACK) == SYN

    @property
    def is_syn_ack(self) -> bool:
        return self.flags & (SYN | ACK) == SYN | ACK

    def option(self, kind: int) -> bytes | None:
        """The body of the first option of this kind; None if there is none."""
        return next((body for found, body in parse_options(self.options) if found == kind), None)

    def with_options(self, options: bytes) -> "Segment":
        return replace(self, options=options)


def option(kind: int, body: bytes = b"", length: int | None = None) -> bytes:
    """One option; `length` overrides the length byte, to break it."""
    return bytes((kind, len(body) + 2 if length is None else length)) + body


def parse_options(raw: bytes) -> list[tuple[int, bytes]]:
    """(kind, body) of each option before END or the first malformed one; NOPs are left out."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(raw) and raw[at] != END:
        if raw[at] == NOP:
            at += 1
            continue
        length = raw[at + 1] if at + 1 < len(raw) else 0
        if length < 2 or at + length > len(raw):
            break
        found.append((raw[at], raw[at + 2 : at + length]))
        at += length
    return found


def build(segment: Segment) -> bytes:
    """The IP packet, with right checksums and lengths. ValueError if it cannot be written."""
    options = segment.options + bytes(-len(segment.options) % 4)
    if len(options) > 40:
        raise ValueError(f"TCP has room for 40 bytes of options, not {len(options)}")
    tcp = _tcp(segment, options, 0)
    total = checksum(_pseudo_header(segment, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack("!H", total) + tcp[18:]
    return (_ipv6_header if segment.is_ipv6 else _ipv4_header)(segment, len(tcp)) + tcp


def parse(packet: bytes) -> Segment | None:
    """The segment in an IP packet; None if it holds no whole, unfragmented TCP header."""
    if len(packet) < 20:
        return None
    if packet[0] >> 4 == 4:
        length, fragment = struct.unpack_from("!H2xH", packet, 2)
        start, family, addresses, protocol = (packet[0] & 15) * 4, socket.AF_INET, 12, packet[9]
        if fragment & 0x1FFF:
            return None
    elif packet[0] >> 4 == 6 and len(packet) >= 40:
        length = struct.unpack_from("!H", packet, 4)[0] + 40
        start, family, addresses, protocol = 40, socket.AF_INET6, 8, packet[6]
    else:
        return None
    if protocol != socket.IPPROTO_TCP or len(packet) < start + _TCP_HEADER:
        return None
    size = 4 if family == socket.AF_INET else 16
    source, destination = packet[addresses : addresses + size], packet[addresses + size :][:size]
    hop_limit = packet[8] if family == socket.AF_INET else packet[7]
    segment = Segment(socket.inet_ntop(family, source), socket.inet_ntop(family, destination), 0, 0)
    tcp = packet[start : max(length, start + _TCP_HEADER)]
    return _with_tcp(replace(segment, hop_limit=hop_limit), tcp)


def checksum(data: bytes) -> int:
    """The Internet checksum, RFC 1071."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _with_tcp(segment: Segment, tcp: bytes) -> Segment | None:
    ports_and_numbers = struct.unpack_from("!HHIIBBH", tcp)
    source_port, destination_port, sequence, acknowledgment, offset, flags, window = (
        ports_and_numbers
    )
    end = (offset >> 4) * 4
    if not _TCP_HEADER <= end <= len(tcp):
        return None
    return replace(
        segment,
        source_port=source_port,
        destination_port=destination_port,
        sequence=sequence,
        acknowledgment=acknowledgment,
        flags=flags,
        window=window,
        options=tcp[_TCP_HEADER:end],
        payload=tcp[end:],
    )


def _tcp(segment: Segment, options: bytes, total: int) -> bytes:
    header = struct.pack(
        "!HHIIBBHHH",
        segment.source_port,
        segment.destination_port,
        segment.sequence,
        segment.acknowledgment,
        (_TCP_HEADER + len(options)) // 4 << 4,
        segment.flags,
        segment.window,
        total,
        0,
    )
    return header + options + segment.payload


def _pseudo_header(segment: Segment, length: int) -> bytes:
    family = socket.AF_INET6 if segment.is_ipv6 else socket.AF_INET
    ends = socket.inet_pton(family, segment.source) + socket.inet_pton(family, segment.destination)
    return ends + struct.pack("!II", length, socket.IPPROTO_TCP)


def _ipv4_header(segment: Segment, length: int) -> bytes:
    def header(total: int) -> bytes:
        ends = socket.inet_aton(segment.source) + socket.inet_aton(segment.destination)
        return (
            struct.pack(
                "!BBHHHBBH",
                0x45,
                0,
                20 + length,
                0,
                0x4000,  # do not fragment
                segment.hop_limit,
                socket.IPPROTO_TCP,
                total,
            )
            + ends
        )

    return header(checksum(header(0)))


def _ipv6_header(segment: Segment, length: int) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, segment.source) + socket.inet_pton(
        socket.AF_INET6, segment.destination
    )
    head = struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_TCP, segment.hop_limit)
    return head + ends
