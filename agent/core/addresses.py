# SPDX-License-Identifier: Apache-2.0
"""Where an address belongs: the entries of the kernel's maps `addresses` and `networks`.

Single addresses go to the hash, which is asked first; only wider prefixes go to the trie. Each
entry already holds the identity of the longest prefix around it, so the first hit is the answer.
The meaning is `policy.network_identity`.

A managed host that is no peer has no number here and gets `STRANGER`, of which the kernel finds no
peer: so it is `unproven` like every managed host that shows no tag, and the entry still says which
network it is in, for lifelines go by that.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from agent.core.abi import ADDRESS_ENTRY, MAPPED_PREFIX_BITS, NETWORK_KEY, pack_address
from agent.core.model import STRANGER, Identity, IPAddress, IPNetwork, Snapshot

_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")
_ALL_IPV4 = ipaddress.IPv4Network("0.0.0.0/0")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_OWN = tuple(ipaddress.ip_address(text) for text in ("127.0.0.1", "::1", "0.0.0.0", "::"))
"""This host on every host; connecting to the unspecified address means loopback."""


@dataclass(frozen=True, slots=True)
class Entries:
    addresses: dict[bytes, bytes]
    networks: dict[bytes, bytes]


class _Prefixes:
    """Longest-prefix match over the snapshot's networks, by prefix length."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._tables: dict[int, dict[int, dict[int, int]]] = {4: {}, 6: {}}
        for network in snapshot.networks:
            cidr = network.cidr
            table = self._tables[cidr.version].setdefault(cidr.prefixlen, {})
            table[int(cidr.network_address)] = network.identity
        for tables in self._tables.values():
            for length in sorted(tables, reverse=True):
                tables[length] = tables.pop(length)  # longest first

    def identity(self, address: IPAddress, longest: int = 128) -> int:
        """Of the prefixes of at most `longest` bits."""
        number, bits = int(address), address.max_prefixlen
        for length, table in self._tables[address.version].items():
            if length <= longest:
                found = table.get(number >> (bits - length) << (bits - length))
                if found is not None:
                    return found
        return Identity.WORLD


def compile_addresses(snapshot: Snapshot) -> Entries:
    prefixes = _Prefixes(snapshot)
    entries = Entries({}, {})
    cidrs = {network.cidr for network in snapshot.networks} | {_LOOPBACK}
    if any(c.version == 6 and _MAPPED.subnet_of(c) for c in cidrs):
        cidrs.add(_ALL_IPV4)  # an IPv6 prefix must not answer for mapped IPv4 addresses
    for cidr in cidrs:
        host = snapshot.host if cidr.version == 4 and cidr.subnet_of(_LOOPBACK) else 0
        identity = prefixes.identity(cidr.network_address, cidr.prefixlen)
        _put(entries, cidr, ADDRESS_ENTRY.struct.pack(identity, host))
    owners = dict.fromkeys(snapshot.managed, STRANGER) | dict.fromkeys(_OWN, snapshot.host)
    owners |= {address: peer.host for peer in snapshot.peers for address in peer.addresses}
    for address, host in owners.items():
        value = ADDRESS_ENTRY.struct.pack(prefixes.identity(address), host)
        entries.addresses[pack_address(address)] = value
    return entries


def _put(entries: Entries, cidr: IPNetwork, value: bytes) -> None:
    packed = pack_address(cidr.network_address)
    if cidr.prefixlen == cidr.max_prefixlen:
        entries.addresses[packed] = value
        return
    length = cidr.prefixlen + (MAPPED_PREFIX_BITS if cidr.version == 4 else 0)
    entries.networks[NETWORK_KEY.struct.pack(length, packed)] = value
