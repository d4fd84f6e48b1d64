# SPDX-License-Identifier: Apache-2.0
"""From two kernels to the administrator's screen: what was allowed, refused and carried.

An agent that ends ships its unfinished minute, so that nobody has to wait for one.
"""

from __future__ import annotations

from typing import Any

from tests.kernel.test_controller import OTHER, allow
from tests.kernel.world import PORT, World
from tests.lab.fleet import Fleet, fleet

SENT, ANSWERED = 100_000, 3_000
OWN_BYTES = 4
"""SYN and FIN are a byte each in TCP's sequence numbers, and there are two connections."""
SUMS = (
    "count", "closed", "source_bytes", "destination_bytes", "source_packets",
    "destination_packets",
)  # fmt: skip
DENIED = """
---
kind: Deny
name: no-strangers
from: {segment: default}
to: {workload: db}
ports: [tcp/5432]
"""


def talk(world: World) -> None:
    """A connection with bytes both ways that both end, one over IPv6 that is reset; one that
    nothing allows; a stranger's."""
    server = world.db.listen("::", PORT)
    for address in (world.b.v4, world.b.v6):
        client = world.web.connect(address, PORT)
        accepted = world.db.accept(server.handle)
        assert client.ok
        assert accepted.ok
        if address == world.b.v4:
            _carry(world, client.handle, accepted.handle)
        world.web.close(client.handle, reset=address == world.b.v6)
        world.db.close(accepted.handle)
    assert world.web.connect(world.b.v4, OTHER).error == "EPERM"
    assert not world.loner.connect(world.b.v4, PORT).ok


def _carry(world: World, client: int, accepted: int) -> None:
    left = SENT
    while left:
        sent = world.web.send(client, bytes(min(left, 20_000)))
        assert sent.ok
        left -= sent.count
        missing = sent.count
        while missing:
            missing -= len(world.db.recv(accepted, missing).data)
    assert world.db.send(accepted, bytes(ANSWERED)).count == ANSWERED
    missing = ANSWERED
    while missing:
        missing -= len(world.web.recv(client, missing).data)


def flows(running: Fleet, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = running.operator.json("flows", *arguments)
    return found


def carried(told: list[dict[str, Any]]) -> None:
    """What one end told of both connections, in one minute or in two."""
    assert {(flow["rule"], flow["proof"], flow["address"]) for flow in told} == {
        ("web-to-db", "tag", "")
    }
    assert all("python" in flow["executable"] for flow in told)
    total = {name: sum(flow[name] for flow in told) for name in SUMS}
    assert (total["count"], total["closed"]) == (2, 2)
    assert SENT <= total["source_bytes"] <= SENT + OWN_BYTES
    assert ANSWERED <= total["destination_bytes"] <= ANSWERED + OWN_BYTES
    assert total["source_packets"] > 4
    assert total["destination_packets"] > 4


def test_what_two_kernels_judged_is_what_cordonctl_shows() -> None:
    with fleet(allow(PORT) + DENIED) as running:
        world = World.build(running)  # type: ignore[arg-type] # hosts by name is all that it asks
        talk(world)
        for host in running.hosts.values():
            host.status()  # whoever is asked has read what its kernel told before
            host.close()

        pair = ("--from", "web", "--to", "db", "--since", "10m")
        ends = flows(running, *pair, "--verdict", "allow")
        assert {(flow["host"], flow["direction"]) for flow in ends} == {
            ("a", "egress"), ("b", "ingress"),
        }  # fmt: skip
        for name in running.hosts:
            carried([flow for flow in ends if flow["host"] == name])

        (talker,) = flows(running, *pair, "--top")
        assert (talker["egress"], talker["ingress"]) == (2, 2)
        assert SENT <= talker["source_bytes"] <= SENT + OWN_BYTES

        strangers = flows(running, "--to", "db", "--verdict", "refuse", "--host", "b")
        assert {(one["source"], one["reason"], one["address"]) for one in strangers} == {
            ("host", "rule_deny", world.a.v4)
        }

        refused = flows(running, "--refused", "--since", "10m")
        by_reason = {edge["reason"]: edge for edge in refused if edge["verdict"] == "refuse"}
        assert by_reason["rule_deny"]["allow"] == "", "no Allow helps against a Deny"
        assert by_reason["no_rule"]["source"] == "front/web"
        assert by_reason["no_rule"]["port"] == OTHER

        table = running.operator.ctl("flows", *pair)
        assert table.splitlines()[0].split()[:3] == ["MINUTE", "HOST", "DIRECTION"]
        assert "front/web" in table
        assert running.operator.ctl("flows", "--new", *pair).count("data/db") == 2
