# SPDX-License-Identifier: Apache-2.0
"""The identity tag of TCP's SYN and SYN-ACK: bytes, MAC, keys. The reference for `bpf/tag.h`.

An experimental TCP option (RFC 6994) of 20 bytes: kind 254, length 20, ExID c0d1, a version byte,
24 bits of identity, the sender's host number, and a SipHash-2-4 MAC under the key that sender and
receiver share for one epoch. Numbers are in network byte order, the MAC travels little-endian.

The *NAT* binding leaves addresses and ports out of the MAC, because a translator rewrites them. It
keeps the sequence numbers: without them every tag of one identity in one epoch would be the same
bytes, and the replay cache could not tell the second connection from a replay.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import struct
from dataclasses import dataclass

KIND = 254
LENGTH = 20
EXID = 0xC0D1
OPTIONS_MAX = 40
EPOCH_MASK = 0x0F
RESERVED_BIT = 0x10
NAT_BIT = 0x20
VERSION_MASK = 0xC0
NEVER_SPEAK = frozenset((0, 2, 3, 5))
"""Identities that others give somebody and nobody may claim: none, world, unproven, pending."""

_MASK = 0xFFFFFFFFFFFFFFFF
_OPTION = struct.Struct("!BBHIIQ")
_MAC_INPUT = struct.Struct("!BBHIII16s16sHHI")
_NOP, _END = 1, 0


class TagError(ValueError):
    """Bytes that are no tag; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag as it stands in a segment.

    epoch: any epoch number; only its lowest four bits travel.
    mac: 8 bytes as they travel.
    """

    identity: int
    host: int
    epoch: int
    mac: bytes
    nat: bool = False

    @property
    def version_byte(self) -> int:
        return (self.epoch & EPOCH_MASK) | (NAT_BIT if self.nat else 0)

    def encode(self) -> bytes:
        """The whole option, 20 bytes."""
        word = self.version_byte << 24 | self.identity
        head = _OPTION.pack(KIND, LENGTH, EXID, word, self.host, 0)[:12]
        return head + self.mac

    @classmethod
    def decode(cls, option: bytes) -> Tag:
        """Raises TagError. The epoch of the result is only its lowest four bits."""
        if len(option) != LENGTH:
            raise TagError(f"a tag has {LENGTH} bytes, not {len(option)}")
        kind, length, exid, word, host, _mac = _OPTION.unpack(option)
        if (kind, length, exid) != (KIND, LENGTH, EXID):
            raise TagError(f"not a tag: kind {kind}, length {length}, ExID {exid:#06x}")
        version, identity = word >> 24, word & 0xFFFFFF
        if version & (VERSION_MASK | RESERVED_BIT):
            raise TagError(f"version byte {version:#04x} is of a version that is not known here")
        if identity in NEVER_SPEAK:
            raise TagError(f"identity {identity} is reserved and never speaks")
        return cls(identity, host, version & EPOCH_MASK, option[12:], bool(version & NAT_BIT))


def find_tag(options: bytes) -> Tag | None:
    """The tag among the options of one TCP header (RFC 9293, section 3.1), None if there is none.

    Raises TagError for a malformed option, for a second tag, and for ours with another length.
    """
    found: list[Tag] = []
    at = 0
    while at < len(options) and options[at] != _END:
        if options[at] == _NOP:
            at += 1
            continue
        length = options[at + 1] if at + 1 < len(options) else 0
        if length < 2 or at + length > len(options):
            raise TagError(f"option {options[at]} at byte {at} has the impossible length {length}")
        body = options[at : at + length]
        # Two bytes of a shorter option's successor may stand in for the ExID, as they do in C:
        # such a segment is malformed for both.
        if body[0] == KIND and options[at + 2 : at + 4] == EXID.to_bytes(2, "big"):
            found.append(_decode_named(body))
        at += length
    if len(found) > 1:
        raise TagError("the segment carries two tags")
    return found[0] if found else None


def _decode_named(body: bytes) -> Tag:
    if len(body) != LENGTH:
        raise TagError(f"a tag has {LENGTH} bytes, not {len(body)}")
    return Tag.decode(body)


def siphash24(key: bytes, data: bytes) -> bytes:
    """SipHash-2-4 (Aumasson and Bernstein, 2012): 16-byte key, 8 bytes out, little-endian."""
    k0, k1 = struct.unpack("<QQ", key)
    v = [
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    ]
    tail = data[len(data) // 8 * 8 :]
    last = int.from_bytes(tail, "little") | (len(data) & 0xFF) << 56
    words = [*struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8]), last]
    for word in words:
        v[3] ^= word
        _sip_rounds(v, 2)
        v[0] ^= word
    v[2] ^= 0xFF
    _sip_rounds(v, 4)
    return struct.pack("<Q", v[0] ^ v[1] ^ v[2] ^ v[3])


def _rotate(x: int, bits: int) -> int:
    return ((x << bits) | (x >> (64 - bits))) & _MASK


def _sip_rounds(v: list[int], rounds: int) -> None:
    for _ in range(rounds):
        v[0] = (v[0] + v[1]) & _MASK
        v[1] = _rotate(v[1], 13) ^ v[0]
        v[0] = _rotate(v[0], 32)
        v[2] = (v[2] + v[3]) & _MASK
        v[3] = _rotate(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & _MASK
        v[3] = _rotate(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & _MASK
        v[1] = _rotate(v[1], 17) ^ v[2]
        v[2] = _rotate(v[2], 32)


def receive_secret(epoch_secret: bytes, host: int, epoch: int) -> bytes:
    """R(host, epoch): all that one host gets of an epoch's secret. 16 bytes."""
    message = b"cordon receive" + host.to_bytes(4, "big") + epoch.to_bytes(8, "big")
    return hmac.new(epoch_secret, message, hashlib.sha256).digest()[:16]


def pair_key(secret: bytes, sender: int) -> bytes:
    """K(sender -> the host whose receive secret this is). 16 bytes."""
    return b"".join(
        siphash24(secret, sender.to_bytes(8, "big") + half.to_bytes(8, "big")) for half in (1, 2)
    )


def address_bytes(address: str) -> bytes:
    """16 bytes in network order, IPv4 as mapped IPv6 (RFC 4291, section 2.5.5.2)."""
    parsed = ipaddress.ip_address(address)
    if parsed.version == 4:
        return bytes(10) + b"\xff\xff" + parsed.packed
    return parsed.packed


@dataclass(frozen=True, slots=True)
class MacInput:
    """What the MAC of one tag covers.

    direction: 0 SYN, 1 SYN-ACK. source, destination: 16 bytes. acknowledged: 0 in a SYN.
    """

    direction: int
    identity: int
    host: int
    epoch: int
    sequence: int
    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    acknowledged: int = 0
    nat: bool = False

    def encode(self) -> bytes:
        """56 bytes."""
        version = (self.epoch & EPOCH_MASK) | (NAT_BIT if self.nat else 0)
        hidden = bytes(16)
        return _MAC_INPUT.pack(
            self.direction,
            version,
            0,
            self.identity,
            self.host,
            self.sequence,
            hidden if self.nat else self.source,
            hidden if self.nat else self.destination,
            0 if self.nat else self.source_port,
            0 if self.nat else self.destination_port,
            self.acknowledged,
        )


def tag_mac(key: bytes, covered: MacInput) -> bytes:
    """The 8 bytes that travel."""
    return siphash24(key, covered.encode())
