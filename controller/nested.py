# SPDX-License-Identifier: Apache-2.0
"""Networks of a snapshot by their addresses: which of them lie within another.

A rule for a network means all networks of the snapshot within it, too, and a policy may name
thousands: in the order of addresses those within one stand side by side, so two searches find them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from agent.core.model import IPNetwork, Network

_LONGEST = 128


def place(cidr: IPNetwork) -> tuple[int, int, int]:
    """What networks are ordered by: family, first address, length of the prefix."""
    return cidr.version, int(cidr.network_address), cidr.prefixlen


class Nested:
    """Built once for many questions."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self.all: Sequence[Network] = sorted(networks, key=lambda network: place(network.cidr))
        self._places = [place(network.cidr) for network in self.all]

    def within(self, wide: IPNetwork) -> Sequence[Network]:
        """Itself, if it is one of them, and all smaller ones in it; families never mix.

        Networks are aligned: one that begins within another and not with it is smaller than it.
        """
        last = (wide.version, int(wide.broadcast_address), _LONGEST)
        return self.all[bisect_left(self._places, place(wide)) : bisect_right(self._places, last)]
