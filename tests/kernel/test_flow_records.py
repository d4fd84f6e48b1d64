# SPDX-License-Identifier: Apache-2.0
"""From two kernels to the administrator's screen: what was allowed, refused and carried.

An agent that ends ships its unfinished minute, so that nobody has to wait for one.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from typing import Any

from controller import ca, tokens
from controller.access_records import AdministratorGrant, NewToken, Role
from controller.rotation import Rotation
from tests.kernel.test_controller import OTHER, allow
from tests.kernel.world import PORT, World
from tests.lab.cordon import ROOT
from tests.lab.fleet import COMMAND_SECONDS, ENROLMENT, OPERATOR, Fleet, fleet

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


def ctl(running: Fleet, *arguments: str) -> str:
    """`cordonctl` on the controller's host."""
    lab = running.controller.lab
    environment = {"PYTHONPATH": str(ROOT), "CORDON_CONFIG_DIR": str(lab.state / "ctl")}
    argv = [sys.executable, "-m", "agent.cli.ctl", *arguments]
    done = lab.run(argv, "ssh.service", env=environment, timeout=COMMAND_SECONDS)
    assert done.returncode == 0, done
    return done.stdout


def log_in(running: Fleet) -> None:
    controller = running.controller
    with controller.store() as storage:
        active = Rotation("authority", storage.secrets().authorities).active
        pin = ca.spki_pin(ca.from_secret(active).certificate)
        text, id_, hash_ = tokens.new_token(secrets.token_bytes(tokens.RANDOM_BYTES), pin)
        grant, now = AdministratorGrant("vera", Role.VIEWER, 3600), int(time.time())
        storage.create_token(NewToken(id_, hash_, grant, now + 900), OPERATOR, "", now)
    file = controller.lab.write_file("login", text)
    ctl(running, "login", "--controller", f"{controller.lab.v4}:{ENROLMENT}",
        "--token-file", str(file))  # fmt: skip


def flows(running: Fleet, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ctl(running, "flows", "-o", "json", *arguments))
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
        log_in(running)

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

        table = ctl(running, "flows", *pair)
        assert table.splitlines()[0].split()[:3] == ["MINUTE", "HOST", "DIRECTION"]
        assert "front/web" in table
        assert ctl(running, "flows", "--new", *pair).count("data/db") == 2
