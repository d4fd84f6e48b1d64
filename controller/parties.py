# SPDX-License-Identifier: Apache-2.0
"""Who a question about connections means: `world`, `host:NAME`, an address, a network, a workload.

Names are found in snapshots alone, so that the same words work on a folder of policy and on files
that hosts have been given.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.core.model import Identity, IPNetwork, Snapshot
from agent.core.soundness import is_workload_identity

Snapshots = Mapping[str, Snapshot]
"""By host name."""

_SHOWN = 8


class UnknownParty(ValueError):
    """Nobody is called that; the sentence says who there is."""


@dataclass(frozen=True, slots=True)
class Party:
    """One side of a question.

    selector: how a document names it.
    identity: of its processes; `UNPROVEN` for a managed host's address, `WORLD` for the rest.
    hosts: where it runs; none for what nobody manages.
    network: for a party given by address.
    """

    text: str
    selector: Mapping[str, object]
    identity: int
    hosts: tuple[str, ...] = ()
    network: IPNetwork | None = None

    @property
    def judges(self) -> bool:
        """Whether a host can judge it as its own process."""
        return self.identity not in (Identity.WORLD, Identity.UNPROVEN)


def find_party(snapshots: Snapshots, text: str) -> Party:
    """Raises UnknownParty."""
    if text == "world":
        return Party(text, {"world": True}, Identity.WORLD)
    if text.startswith("host:"):
        return _host(snapshots, text)
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return _workload(snapshots, text)
    return _network(snapshots, text, network)


def _host(snapshots: Snapshots, text: str) -> Party:
    name = text.removeprefix("host:")
    known = sorted({peer.name for s in snapshots.values() for peer in s.peers})
    if name not in known:
        raise UnknownParty(f"there is no host {name!r}{some(known)}")
    return Party(text, {"segment": "default"}, Identity.HOST, (name,))


def _network(snapshots: Snapshots, text: str, network: IPNetwork) -> Party:
    """A managed host's address does not say who speaks there: that is `unproven`."""
    for snapshot in snapshots.values():
        for peer in snapshot.peers:
            if network.num_addresses == 1 and network.network_address in peer.addresses:
                selector = {"unproven": True}
                return Party(text, selector, Identity.UNPROVEN, (peer.name,), network)
    single = network.num_addresses == 1
    if single and any(network.network_address in s.managed for s in snapshots.values()):
        return Party(text, {"unproven": True}, Identity.UNPROVEN, (), network)
    return Party(text, {"cidr": str(network)}, Identity.WORLD, (), network)


def _workload(snapshots: Snapshots, text: str) -> Party:
    known = _known_workloads(snapshots)
    for full_name, identity in known.items():
        name = full_name.partition("/")[2]
        if text in (full_name, name):
            hosts = _homes(snapshots, identity)
            return Party(text, {"workload": name}, identity, hosts)
    names = sorted(full_name.partition("/")[2] for full_name in known)
    raise UnknownParty(
        f"expected a workload, host:NAME, an address, a network or world, got {text[:80]!r}"
        f"{some(names)}"
    )


def _known_workloads(snapshots: Snapshots) -> dict[str, int]:
    """`segment/workload` -> identity, of all that any snapshot names."""
    known: dict[str, int] = {}
    for snapshot in snapshots.values():
        known |= {f"{w.segment}/{w.name}": w.identity for w in snapshot.workloads}
        known |= {name: i for i, name in snapshot.names.items() if is_workload_identity(i)}
    return known


def _homes(snapshots: Snapshots, identity: int) -> tuple[str, ...]:
    homes: set[str] = set()
    for name, snapshot in snapshots.items():
        if any(workload.identity == identity for workload in snapshot.workloads):
            homes.add(name)
        homes.update(peer.name for peer in snapshot.peers if identity in peer.residents)
    return tuple(sorted(homes))


def some(names: Sequence[str]) -> str:
    """The end of a sentence about a name that there is not."""
    if not names:
        return ""
    more = " ..." if len(names) > _SHOWN else ""
    return f"; there are {', '.join(names[:_SHOWN])}{more}"
