# SPDX-License-Identifier: Apache-2.0
"""The attacker's scene: a world with a listener at db, a forger on a's wire, a's keys in his hands.

What the receiving kernel says is read from its own counters and not through its agent, so that it
can be asked while there is none.
"""

from __future__ import annotations

import dataclasses

from agent.edge.counters import read_counters
from agent.edge.hooks import Pins
from tests.kernel.world import World, bare_syn
from tests.lab import Forger, Segment, Sniffer, wait_until
from tests.lab.cordon import Cordon
from tests.lab.counterfeit import Counterfeit


@dataclasses.dataclass
class Scene:
    """sniffer: on b's wire."""

    world: World
    forger: Forger
    sniffer: Sniffer
    keys: Counterfeit

    @classmethod
    def of(cls, running: Cordon) -> Scene:
        world = World.build(running)
        world.listen()
        return cls(world, Forger(world.a), Sniffer(world.b), Counterfeit.of(running, "a"))

    def tagged(self, identity: str | int = "web", **wrong: object) -> Segment:
        syn = bare_syn(self.world)
        number = self.keys.identity(identity) if isinstance(identity, str) else identity
        return syn.with_options(self.keys.tag_for(syn, "b", number, **wrong))  # type: ignore[arg-type]

    def counted(self, host: str) -> dict[tuple[str, str, str], int]:
        """(direction, verdict, reason) -> judgements of this host's kernel."""
        found = read_counters(Pins(self.world.cordon[host].pins).maps)
        return {(c.direction, c.verdict, c.reason): c.value for c in found if c.kind == "verdict"}

    def count(self, reason: str, host: str = "b", direction: str = "ingress") -> int:
        """Refusals for this reason."""
        return self.counted(host).get((direction, "refuse", reason), 0)

    def send(self, segment: Segment) -> None:
        self.forger.send(segment, self.world.b)

    def refused(self, segment: Segment, reason: str) -> None:
        """Send it; it must be refused for this reason, and nothing must answer."""
        before = self.count(reason)
        self.sniffer.clear()
        self.send(segment)
        try:
            wait_until(lambda: self.count(reason) > before, f"b refuses it as {reason}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it counted {self.counted('b')}") from None
        assert not [c for c in self.sniffer.collect(0.05) if c.outgoing], "b answered it"

    def accepted(self, segment: Segment) -> None:
        self.sniffer.clear()
        self.send(segment)
        self.sniffer.wait_for(
            lambda c: (
                c.outgoing
                and c.segment.is_syn_ack
                and c.segment.destination_port == segment.source_port
            ),
            "b's SYN-ACK",
        )
