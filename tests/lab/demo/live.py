# SPDX-License-Identifier: Apache-2.0
"""A live connection under a policy change: web listens to a channel of redis.

redis sends a numbered message every hundredth of a second, each in a packet of its own, so that
what arrived can be counted to the very message. What the client's kernel delivered is read from
the socket itself (`ss`), for the program that reads it may lag behind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.lab import LabProcess, wait_until
from tests.lab.demo.handshakes import check_refused_at_connect
from tests.lab.demo.report import Evidence, Report
from tests.lab.demo.scene import (
    DB,
    DB_PORT,
    POLICY,
    PROGRAM_SECONDS,
    REVOKED,
    WEB,
    Call,
    Scene,
    redis_cli,
)  # fmt: skip
from tests.lab.demo.testimony import REPORT_SECONDS, Mark, Verdict

PUBLISH = "return redis.call('publish', 'news', redis.call('incr', 'number'))"
SOME = 30
"""Messages that make a flow, or whose absence shows that it has stopped."""


@dataclass(frozen=True)
class Subscription:
    """A connection from web to redis that lives through the rest of the demo."""

    scene: Scene
    call: Call
    subscriber: LabProcess
    publisher: LabProcess
    port: int
    """The client's."""

    @classmethod
    def start(cls, scene: Scene) -> Subscription:
        call = redis_cli(WEB, scene.back.v4, "subscribe", "news")
        subscriber = scene.spawn(call)
        publish = redis_cli(DB, "127.0.0.1", "-r", "-1", "-i", "0.01", "eval", PUBLISH, "0")
        wait_until(
            lambda: subscriber.output().startswith("subscribe"),
            "web has subscribed",
            timeout=PROGRAM_SECONDS,
        )
        publisher = scene.spawn(publish)
        found = re.search(r":(\d+) +\S+:\d+", _sockets(scene))
        assert found, f"no connection to redis on front: {_sockets(scene)}"
        started = cls(scene, call, subscriber, publisher, int(found[1]))
        started.wait_received(SOME)
        return started

    def received(self) -> list[int]:
        """The numbers of all messages that web has read."""
        found = re.findall(r"message\nnews\n(\d+)\n", self.subscriber.output())
        return [int(number) for number in found]

    def published(self) -> int:
        """How many messages redis was asked to send: the publisher prints a line for each."""
        return self.publisher.output().count("\n")

    def delivered_bytes(self) -> int:
        """What the client's kernel has taken in on this connection."""
        found = re.search(r"bytes_received:(\d+)", _sockets(self.scene, self.port))
        assert found, "the connection is gone"
        return int(found[1])

    def wait_received(self, more: int) -> None:
        want = len(self.received()) + more
        wait_until(
            lambda: len(self.received()) >= want, f"{more} more messages", timeout=PROGRAM_SECONDS
        )

    def wait_published(self, more: int) -> None:
        want = self.published() + more
        wait_until(
            lambda: self.published() >= want, f"{more} more published", timeout=PROGRAM_SECONDS
        )

    def refusals(self, mark: Mark) -> list[Verdict]:
        """Of this one connection, by either end."""
        testimony = self.scene.testimony
        return [
            *testimony.since(mark, "front", verdict="refuse", local_port=self.port),
            *testimony.since(mark, "back", verdict="refuse", remote_port=self.port),
        ]


def in_order(numbers: Sequence[int]) -> bool:
    """Whether no number is missing, doubled or out of its place."""
    return list(numbers) == list(range(1, len(numbers) + 1))


def _sockets(scene: Scene, port: int | None = None) -> str:
    which = ["dport", "=", f":{DB_PORT}"]
    if port is not None:
        which += ["and", "sport", "=", f":{port}"]
    return scene.front.tool(["ss", "-tniH", *which])


def show(scene: Scene, report: Report) -> Subscription:
    """Cut it by a policy change, and give it back."""
    report.step(
        "A live connection, cut by a policy change",
        "web listens to a channel of redis: a message every 10 ms, numbered. Then the rule is "
        "taken out of the policy. A permission that is gone ends what it had allowed.",
    )
    subscription = Subscription.start(scene)
    report.check(
        "messages stop within one packet of the change",
        f"{subscription.call.text}; cordonctl apply without web-reads-db",
        lambda: _cut(subscription),
    )
    again = redis_cli(WEB, scene.back.v4)
    check_refused_at_connect(scene, report, "and web gets no new connection", again)
    report.check(
        "the rule comes back: nothing was lost",
        f"{subscription.call.text}; cordonctl apply with web-reads-db",
        lambda: _restore(subscription),
    )
    return subscription


def _cut(subscription: Subscription) -> Evidence:
    scene = subscription.scene
    mark = scene.testimony.mark()
    wire = scene.wires["front"]
    scene.fleet.apply(REVOKED, "--prune")  # returns when both kernels have switched
    delivered = subscription.delivered_bytes()
    wire.clear()
    subscription.wait_published(SOME)
    late = subscription.delivered_bytes() - delivered
    on_wire = [
        c for c in wire.collect()
        if c.segment.destination_port == subscription.port and c.segment.payload
    ]  # fmt: skip
    wait_until(
        lambda: subscription.refusals(mark),
        "either kernel reports a refusal of the live connection",
        timeout=REPORT_SECONDS,
    )
    refusals = subscription.refusals(mark)
    by_host = [verdict.host for verdict in refusals]
    numbers = subscription.received()
    return Evidence(
        f"messages 1 to {len(numbers)} in order, then {late} bytes of {SOME} more; on the wire "
        f"{len(on_wire)} packets",
        f"{by_host[0]} judges its next packet anew and refuses: {refusals[0].flow.reason}",
        late == 0 and in_order(numbers) and len(by_host) == len(set(by_host)),
        [verdict.line for verdict in refusals],
    )


def _restore(subscription: Subscription) -> Evidence:
    scene = subscription.scene
    mark = scene.testimony.mark()
    before = len(subscription.received())
    scene.fleet.apply(POLICY)
    subscription.wait_received(2 * SOME)
    # By the reason and not by the rule's name: in the moment of the switch an agent may still read
    # the kernel's words with the names of the policy before.
    verdict = scene.testimony.wait(
        mark, "back", verdict="allow", reason="rule_allow", remote_port=subscription.port
    )
    numbers = subscription.received()
    return Evidence(
        f"messages {before + 1} to {len(numbers)} follow in order, on the same connection",
        f"back judges anew and allows: {verdict.flow.reason}",
        in_order(numbers),
        [verdict.line],
    )
