# SPDX-License-Identifier: Apache-2.0
"""A snapshot to the entries of the kernel's policy maps. Pure; `policy.verdict` is its meaning.

The rules, which are most of it, are made by `rule_tables`, and places by `addresses`; here is what
else the kernel has to know, and whether all of it fits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct

from agent.core.abi import (
    EPOCH_SLOTS,
    MODE_ENTRY,
    RESIDENT,
    RESIDENT_KEY,
    GenerationFlag,
    ModeFlag,
    PeerFlag,
    pack_epoch_key,
    pack_peer,
)
from agent.core.addresses import Entries as AddressEntries
from agent.core.addresses import compile_addresses
from agent.core.model import Identity, Snapshot
from agent.core.rule_tables import RuleTables, modes

RULES_MAX = 1 << 20
RANGES_MAX = 1 << 18
ADDRESSES_MAX = 1 << 20
NETWORKS_MAX = 1 << 18
PEERS_MAX = 1 << 16
RESIDENTS_MAX = 1 << 20
MODES_MAX = 1 << 16

_NUMBER = Struct("=I")


class PolicyTooLarge(ValueError):
    """The policy does not fit the kernel's maps; the sentence says which and by how much."""


@dataclass(frozen=True, slots=True)
class KernelPolicy:
    """Entries of each map, key -> value. `flags` are GenerationFlag bits without the slot.

    receive_secrets is not part of a generation: its slots go by epoch.
    """

    rules: dict[bytes, bytes]
    ranges: dict[bytes, bytes]
    addresses: dict[bytes, bytes]
    networks: dict[bytes, bytes]
    peers: dict[bytes, bytes] = field(repr=False)
    residents: dict[bytes, bytes]
    modes: dict[bytes, bytes]
    receive_secrets: dict[bytes, bytes] = field(repr=False)
    flags: int

    @property
    def entries(self) -> int:
        """How many entries a switch writes."""
        return sum(self.counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """By map, of those that change with the generation."""
        return {name: len(getattr(self, name)) for name in BOUNDS}


BOUNDS = {
    "rules": RULES_MAX,
    "ranges": RANGES_MAX,
    "addresses": ADDRESSES_MAX,
    "networks": NETWORKS_MAX,
    "peers": PEERS_MAX,
    "residents": RESIDENTS_MAX,
    "modes": MODES_MAX,
}


def compile_policy(snapshot: Snapshot) -> KernelPolicy:
    """Raises PolicyTooLarge. The snapshot has passed agent.core.snapshot.check."""
    tables = RuleTables(snapshot)
    tables.compile_lifelines()
    for local in tables.locals:
        tables.compile_local(local)
        _require_room("rules", len(tables.rules))
        _require_room("ranges", len(tables.ranges))
    where = compile_addresses(snapshot)
    policy = KernelPolicy(
        rules=tables.rules,
        ranges=tables.ranges,
        addresses=where.addresses,
        networks=where.networks,
        peers=_peers(snapshot),
        residents=_residents(snapshot),
        modes=_modes(snapshot, tables.with_ranges),
        receive_secrets={
            _NUMBER.pack(key.epoch % EPOCH_SLOTS): pack_epoch_key(key)
            for key in snapshot.receive_secrets
        },
        flags=_flags(tables, where),
    )
    for name, count in policy.counts.items():
        _require_room(name, count)
    return policy


def _require_room(name: str, count: int) -> None:
    if count > BOUNDS[name]:
        raise PolicyTooLarge(
            f"the policy makes {count} entries of `{name}`, more than the {BOUNDS[name]} that fit "
            "the kernel's map; name fewer peers or ports on this host"
        )


def _flags(tables: RuleTables, where: AddressEntries) -> int:
    flags = tables.flags
    if tables.ranges:
        flags |= GenerationFlag.RANGES
    if where.networks:
        flags |= GenerationFlag.PREFIXES
    return int(flags)


def _peers(snapshot: Snapshot) -> dict[bytes, bytes]:
    found = {}
    for peer in snapshot.peers:
        flags = (PeerFlag.TAGS_OFF * peer.tags_off) | (PeerFlag.NAT * peer.nat)
        found[_NUMBER.pack(peer.host)] = pack_peer(peer.keys, flags)
    return found


def _residents(snapshot: Snapshot) -> dict[bytes, bytes]:
    """Every host may speak for itself, its agent and a controller that runs there."""
    everywhere = {Identity.HOST, Identity.AGENT, Identity.CONTROLLER}
    return {
        RESIDENT_KEY.struct.pack(peer.host, identity): RESIDENT
        for peer in snapshot.peers
        for identity in peer.residents | everywhere
    }


def _modes(snapshot: Snapshot, with_ranges: set[int]) -> dict[bytes, bytes]:
    return {
        _NUMBER.pack(identity): MODE_ENTRY.struct.pack(
            mode, ModeFlag.RANGES if identity in with_ranges else 0
        )
        for identity, mode in modes(snapshot).items()
    }
