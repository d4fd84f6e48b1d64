# SPDX-License-Identifier: Apache-2.0
"""Which of the addresses that a host reports are its own to the others. Pure.

An address decides whom the others take its packets for, so a host gets only what its operator's
networks cover and what nobody else has; what an operator gave, no report changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.core.model import IPAddress, IPNetwork
from controller.records import HostRow

MAX_ADDRESSES = 64
OUTSIDE = "is in none of the host's networks"


@dataclass(frozen=True, slots=True)
class Claimed:
    """refused: sentences, each with its address."""

    addresses: tuple[IPAddress, ...]
    refused: tuple[str, ...]


def claim(host: HostRow, reported: Sequence[IPAddress], taken: Mapping[IPAddress, str]) -> Claimed:
    """taken: address -> name of the host that has it, the claiming host included."""
    if host.fixed:
        strange = [a for a in reported if a not in host.addresses]
        refused = tuple(f"{a}: an operator gave this host its addresses" for a in strange)
        return Claimed(host.addresses, refused)
    return claim_within(host.name, host.networks, reported, taken)


def claim_within(
    name: str,
    networks: Sequence[IPNetwork],
    reported: Sequence[IPAddress],
    taken: Mapping[IPAddress, str],
) -> Claimed:
    """As `claim`, for a host that is not enrolled yet."""
    good: set[IPAddress] = set()
    refused: list[str] = []
    for address in reported:
        holder = taken.get(address, name)
        why = _unfit(address, networks) or (f"is of host {holder}" if holder != name else "")
        if not why and len(good) >= MAX_ADDRESSES and address not in good:
            why = f"is one of more than {MAX_ADDRESSES}"
        if why:
            refused.append(f"{address}: {why}")
        else:
            good.add(address)
    return Claimed(tuple(sorted(good, key=lambda a: (a.version, int(a)))), tuple(refused))


def _unfit(address: IPAddress, networks: Sequence[IPNetwork]) -> str:
    if address.version == 6 and address.ipv4_mapped:
        return "is an IPv4 address in the form of IPv6"
    for kind in ("loopback", "link_local", "multicast", "unspecified"):
        if getattr(address, f"is_{kind}"):
            return f"is {kind.replace('_', '-')}"
    if str(address) == "255.255.255.255":
        return "is broadcast"
    if outside(networks, (address,)) is not None:
        return OUTSIDE
    return ""


def outside(networks: Sequence[IPNetwork], addresses: Sequence[IPAddress]) -> IPAddress | None:
    """One that the host's networks do not cover."""
    if not networks:
        return None
    return next((a for a in addresses if not any(a in network for network in networks)), None)
