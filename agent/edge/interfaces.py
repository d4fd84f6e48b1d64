# SPDX-License-Identifier: Apache-2.0
"""Network interfaces of this namespace, as far as it matters which way they lead."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

_INNER = frozenset({"veth", "tun"})
"""Kinds of what joins containers (veth) and virtual machines (a tap is of kind tun) to a bridge."""
_FAR = ("192.0.2.1", "2001:db8::1")
"""Of the world, and of nobody (RFC 5737, RFC 3849). Nothing is sent there."""
_NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EACCES, errno.EAFNOSUPPORT)
"""No route, or one that refuses; or no IPv6."""


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
    try:
        with IPRoute() as route:
            return inner(_links(route), _ways_out(route))
    except NetlinkError as error:
        raise OSError(error.code, f"interfaces cannot be listed: {error}") from None


def inner(links: Iterable[Link], ways_out: Collection[int]) -> frozenset[str]:
    """Bridges without a port that leads elsewhere; also those without a port.

    ways_out: indices of interfaces by which the host reaches the world. Such a bridge is none, be
    its ports what they may: where the host is a container itself, its own way out is a veth, too.

    Each host that runs Docker has the same address on such a bridge, and nobody else reaches it
    there.
    """
    known = list(links)
    outer = {port.master for port in known if port.master and port.kind not in _INNER}
    outer.update(ways_out)
    bridges = (link for link in known if link.kind == "bridge")
    return frozenset(bridge.name for bridge in bridges if bridge.index not in outer)


def _links(route: IPRoute) -> list[Link]:
    return [
        Link(
            link["index"],
            link.get("ifname"),
            link.get(("linkinfo", "kind")) or "",
            link.get("master") or 0,
        )
        for link in route.get_links()
    ]


def _ways_out(route: IPRoute) -> set[int]:
    """Asked of the kernel for one address each: a router's whole table would be long."""
    found: set[int] = set()
    for address in _FAR:
        try:
            found.update(way.get("oif") for way in route.route("get", dst=address))
        except NetlinkError as error:
            if error.code not in _NO_WAY:
                raise
    return found
