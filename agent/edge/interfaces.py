# SPDX-License-Identifier: Apache-2.0
"""Network interfaces of this namespace, as far as it matters which way they lead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

_INNER = frozenset({"veth", "tun"})
"""Kinds of what joins containers (veth) and virtual machines (a tap is of kind tun) to a bridge."""


@dataclass(frozen=True, slots=True)
class Link:
    """kind: of the driver, "" for hardware. master: index of the bridge or bond it is a port of, 0
    for none."""

    index: int
    name: str
    kind: str
    master: int


def inner_bridges() -> frozenset[str]:
    """Names of bridges that lead to own containers and virtual machines alone. Raises OSError."""
    return inner(_links())


def inner(links: Iterable[Link]) -> frozenset[str]:
    """Bridges without a port that leads elsewhere; also those without a port.

    Each host that runs Docker has the same address on such a bridge, and nobody else reaches it
    there.
    """
    known = list(links)
    outer = {port.master for port in known if port.master and port.kind not in _INNER}
    bridges = (link for link in known if link.kind == "bridge")
    return frozenset(bridge.name for bridge in bridges if bridge.index not in outer)


def _links() -> list[Link]:
    try:
        with IPRoute() as route:
            return [
                Link(
                    link["index"],
                    link.get("ifname"),
                    link.get(("linkinfo", "kind")) or "",
                    link.get("master") or 0,
                )
                for link in route.get_links()
            ]
    except NetlinkError as error:
        raise OSError(error.code, f"interfaces cannot be listed: {error}") from None
