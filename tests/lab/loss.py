# SPDX-License-Identifier: Apache-2.0
"""Packets that get lost on the way: the first n of a kind that arrive at a host.

By an nftables rule of the receiving host's prerouting hook, which stands after the wire and before
the cgroup programs: the sender believes the packet sent, the receiver never sees it. `numgen inc`
counts the packets that reach it, so that exactly the first n are dropped, with no clock in it.
"""

import itertools
import json
from dataclasses import dataclass

from tests.lab.host import INTERFACE, LabHost

KINDS = {
    "syn": "tcp flags & (syn | ack) == syn",
    "synack": "tcp flags & (syn | ack) == (syn | ack)",
    "ack": "tcp flags & (syn | ack | rst) == ack",
}
_MODULUS = 1 << 31
_serial = itertools.count()


@dataclass(frozen=True)
class PacketLoss:
    """A rule that loses packets of one host until it is removed or has lost its number."""

    host: LabHost
    table: str

    def lost(self) -> int:
        """How many packets it has dropped so far."""
        listing = json.loads(self.host.tool(["nft", "-j", "list", "counters"]))["nftables"]
        counters = [entry["counter"] for entry in listing if "counter" in entry]
        return sum(int(c["packets"]) for c in counters if c["table"] == self.table)

    def remove(self) -> None:
        """Let everything pass again."""
        self.host.tool(["nft", "delete", "table", "inet", self.table])


def drop_first(host: LabHost, kind: str, n: int = 1, port: int | None = None) -> PacketLoss:
    """Lose the first `n` packets of a kind that arrive at `host` from the wire.

    `kind` is "syn", "synack" or "ack" (any without SYN and RST); `port`, if given, is the
    destination port of a SYN and the source port of a SYN-ACK: the server's, in both.
    """
    table = f"lab{next(_serial)}"
    side = "sport" if kind == "synack" else "dport"
    ports = f"tcp {side} {port} " if port is not None else ""
    rule = f"iifname {INTERFACE} {KINDS[kind]} {ports}numgen inc mod {_MODULUS} < {n}"
    host.tool(
        ["nft", "-f", "-"],
        f"""
        table inet {table} {{
            counter lost {{ }}
            chain arriving {{
                type filter hook prerouting priority raw; policy accept;
                {rule} counter name lost drop
            }}
        }}
        """,
    )
    return PacketLoss(host, table)
