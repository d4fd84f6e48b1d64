# SPDX-License-Identifier: Apache-2.0
"""An attacker on the wire: packets under another host's address, with tags forged and replayed.

They are made by hand on guest's wire, below its own kernel: no program can be trusted to make
them. That a tag which is right is answered is shown first, else the refusals would prove nothing.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from tests.lab import Forger, Segment
from tests.lab.counterfeit import Counterfeit
from tests.lab.demo.handshakes import Dropped, check_dropped, has_tag
from tests.lab.demo.report import Evidence, Report
from tests.lab.demo.scene import DB_PORT, GUEST, WEB, WEB_PORT, Scene, knock, redis_cli

QUIET_SECONDS = 0.1
"""An answer, if there is one, leaves in the same moment as the question comes."""
_ports = itertools.count(20_000)
_sequences = itertools.count(1_000_000, 7919)


@dataclass(frozen=True)
class Attacker:
    """Whoever sits on the network: reads all, sends all, has the keys of nobody."""

    scene: Scene
    forger: Forger
    stolen: Counterfeit
    """front's keys: what he would have if front itself were broken into."""

    @classmethod
    def on_guest(cls, scene: Scene) -> Attacker:
        return cls(scene, Forger(scene.guest), Counterfeit.of_cache(scene.fleet["front"]))

    def bare_syn(self) -> Segment:
        """A SYN to redis under front's address."""
        front, back = self.scene.front, self.scene.back
        return Segment(front.v4, back.v4, next(_ports), DB_PORT, sequence=next(_sequences))

    def tagged_syn(self, key: bytes | None = None) -> Segment:
        """The same with web's identity, under a key of his or the stolen one."""
        syn = self.bare_syn()
        return syn.with_options(
            self.stolen.tag_for(syn, "back", self.stolen.identity("web"), key=key)
        )

    def is_answered(self, segment: Segment) -> bool:
        """Send it; does back answer?"""
        wire = self.scene.wires["back"]
        wire.clear()
        self.forger.send(segment, self.scene.back)
        return any(
            captured.outgoing and captured.segment.destination_port == segment.source_port
            for captured in wire.collect(QUIET_SECONDS)
        )

    def attempt(self, segment: Segment, verdict: str, reason: str) -> Evidence:
        """Send it, and hold what came of it against what should: only `allow` is answered."""
        mark = self.scene.testimony.mark()
        answered = self.is_answered(segment)
        found = self.scene.testimony.wait(
            mark, "back", direction="ingress", verdict=verdict, reason=reason,
            remote_port=segment.source_port,
        )  # fmt: skip
        return Evidence(
            "answered by SYN-ACK" if answered else "no answer",
            f"back {verdict}s: {reason}" + (f", peer {found.peer}" if verdict == "allow" else ""),
            answered == (verdict == "allow"),
            [found.line],
        )


def show(scene: Scene, report: Report) -> None:
    """Forged, replayed, and the host without an agent."""
    attacker = Attacker.on_guest(scene)
    _forged(attacker, report)
    _replayed(attacker, report)
    _without_agent(scene, report)


def _forged(attacker: Attacker, report: Report) -> None:
    report.step(
        "Forged: an address is no identity",
        "guest sends packets to redis under front's address, claiming to be web. Without the key "
        "that only front and back share it cannot make the tag.",
    )
    report.check(
        "for comparison, a tag made by hand with front's real key",
        "guest: SYN under front's address, tag of web, right key",
        lambda: attacker.attempt(attacker.tagged_syn(), "allow", "rule_allow"),
    )
    report.check(
        "the same with a guessed key",
        "guest: SYN under front's address, tag of web, guessed key",
        lambda: attacker.attempt(attacker.tagged_syn(bytes(16)), "refuse", "tag_forged"),
    )
    report.check(
        "the address alone, no tag at all",
        "guest: SYN under front's address, no tag",
        lambda: attacker.attempt(attacker.bare_syn(), "refuse", "no_rule"),
    )


def _replayed(attacker: Attacker, report: Report) -> None:
    report.step(
        "Replayed: a proof works once",
        "guest copies the first packet of a real connection from web to redis, tag and all, and "
        "sends it again.",
    )
    original = _record(attacker.scene)
    report.check(
        "the very same packet again, when its connection is over",
        f"guest: copy of web's SYN from {original.source}:{original.source_port}",
        lambda: attacker.attempt(original, "refuse", "tag_replayed"),
    )
    moved = replace(original, source=attacker.scene.guest.v4)
    report.check(
        "its tag in a packet from guest's own address",
        f"guest: its tag in a SYN from {moved.source}:{moved.source_port}",
        lambda: attacker.attempt(moved, "refuse", "tag_replayed"),
    )


def _record(scene: Scene) -> Segment:
    """The SYN of a connection that web really made, and that is over."""
    wire = scene.wires["back"]
    wire.clear()
    scene.run(redis_cli(WEB, scene.back.v4))
    syn = wire.wait_for(lambda c: c.segment.is_syn and has_tag(c), "web's SYN to redis").segment
    scene.wait_closed("back", syn.source_port)
    return syn


def _without_agent(scene: Scene, report: Report) -> None:
    report.step(
        "A host without an agent",
        "guest is on the same network and runs no agent. To the others it is part of the world, "
        "and the world is not allowed in.",
    )
    front, back = scene.front, scene.back
    for title, server, call in (
        ("guest fetches a page from nginx", "front", knock(GUEST, front.v4, WEB_PORT)),
        ("the same over IPv6", "front", knock(GUEST, front.v6, WEB_PORT)),
        ("guest asks redis", "back", knock(GUEST, back.v4, DB_PORT)),
    ):
        check_dropped(scene, report, title, Dropped(call, server, "world"))
