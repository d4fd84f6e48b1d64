# SPDX-License-Identifier: Apache-2.0
"""A refusal is told, not swallowed: to a proven peer at once, to a stranger never, by no hole."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.edge import refuser
from tests.kernel.test_metrics import value
from tests.kernel.world import BASE, PORT, QUIET, WORKLOADS, World, bare_syn, segments
from tests.lab import Forger, Sniffer, wait_until
from tests.lab.cordon import ROOT, cordon
from tests.lab.counterfeit import Counterfeit
from tests.lab.prometheus import METRICS
from tests.lab.waiting import PATIENCE as SLOWNESS
from tests.lab.wire import Captured

PATIENCE = 10.0
"""For an answer that takes milliseconds; without one, TCP would wait for two minutes."""
RST_ACK = 0x14
FLOOD = 3000
REACH_ANY = """
---
kind: Allow
name: web-to-db
from: {workload: web}
to: {workload: db}
ports: [tcp/5432]
"""
STRICT = WORKLOADS + segments(default="enforce") + REACH_ANY
_MARKED = """
import socket, sys
from pathlib import Path
from agent.core.model import Identity
from agent.core.abi import FlowEvent, pack_address
from agent.core import resets
from agent.edge.refuser import Refuser
import ipaddress
maps, mark, local, remote, flags = Path(sys.argv[1]), sys.argv[2], *sys.argv[3:5], int(sys.argv[5])
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
if mark == "marked":
    Refuser(maps, on=False)._mark(raw)
ends = [pack_address(ipaddress.ip_address(end)) for end in (local, remote)]
event = FlowEvent(0, 1, 0, *ends, 0, 0, 0, 0, 0, 0, 5432, 40000, 6, 0, 2, 5, 1, 1, 0, 7)
packet = bytearray(resets.reset_of(event))
packet[33] = flags  # the checksum is then wrong, which no cgroup program looks at
try:
    raw.sendto(bytes(packet), (remote, 0))
    print("sent")
except PermissionError:
    print("EPERM")
"""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with cordon(STRICT, refuse="reject") as running:
        yield World.build(running)


def resets(sniffer: Sniffer) -> list[Captured]:
    """Those that the sniffer's own host sent."""
    return [one for one in sniffer.collect() if one.outgoing and one.segment.flags & 0x04]


def told(world: World, host: str, how: str) -> float:
    time.sleep(0.6)  # an answer to a scrape is kept for half a second
    # From inside the host: its own segment is enforced, and reaches itself.
    argv = ["curl", "-sS", "-m", "5", "--retry", "3", "--retry-connrefused", METRICS]
    done = world.cordon[host].lab.run(argv, "curl.service", timeout=30.0)
    assert done.returncode == 0, done.stderr
    return value(done.stdout, "cordon_refusals_told_total", how=how)


@pytest.fixture
def lopsided(world: World) -> Iterator[World]:
    """Host a already has a policy that lets `other` reach db, host b not yet."""
    old = world.cordon["b"].snapshot.read_bytes()
    out = world.cordon.compile(
        STRICT + "---\nkind: Allow\nname: o\nfrom: {workload: other}\nto: {workload: db}\n"
        "ports: [tcp/5432]\n"
    )
    before = world.cordon["a"].status().policy_version
    world.a.write_file(world.cordon["a"].snapshot.name, (out / "a.snapshot").read_bytes())
    wait_until(
        lambda: world.cordon["a"].status().policy_version > before, "host a's policy", PATIENCE
    )
    assert world.cordon["b"].snapshot.read_bytes() == old
    yield world
    world.cordon.apply(STRICT)


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_refused_client_hears_connection_refused(lopsided: World, family: str) -> None:
    world = lopsided
    sniffer = Sniffer(world.b)
    address = getattr(world.b, family)
    world.listen("::" if family == "v6" else "0.0.0.0")
    started = time.monotonic()
    reply = world.other.connect(address, PORT, timeout=PATIENCE)
    print(f"told after {(time.monotonic() - started) * 1000:.1f} ms")
    assert reply.error == "ECONNREFUSED", reply
    syn = sniffer.wait_for(lambda c: c.segment.is_syn, "the SYN").segment
    rst = sniffer.wait_for(lambda c: bool(c.segment.flags & 4), "the RST").segment
    assert (rst.flags, rst.sequence) == (RST_ACK, 0)
    assert rst.acknowledgment == (syn.sequence + 1) & 0xFFFFFFFF
    assert (rst.source_port, rst.destination_port) == (PORT, syn.source_port)
    assert told(world, "b", "reset") >= 1
    assert told(world, "b", "failed") == 0


def test_client_whose_server_is_refused_is_ended_at_once(world: World) -> None:
    """Another process than db answers on b: a's side lets the SYN out and refuses the SYN-ACK."""
    impostor = world.b.puppet("impostor.service")
    world.cordon["b"].wait_attested(impostor.pid)
    # b's side has to let it through, so that the answer comes at all.
    world.cordon.apply(STRICT.replace("name: default\nmode: enforce", "name: default\nmode: audit"))
    listener = impostor.listen("0.0.0.0", PORT + 1)
    assert listener.ok
    world.cordon.apply(
        STRICT.replace("name: default\nmode: enforce", "name: default\nmode: audit").replace(
            "ports: [tcp/5432]", f"ports: [tcp/5432, tcp/{PORT + 1}]"
        )
    )
    before = world.verdict("a", "egress", "refuse", "no_rule")
    reply = world.web.connect(world.b.v4, PORT + 1, timeout=PATIENCE)
    assert reply.error == "ECONNABORTED", reply
    assert world.verdict("a", "egress", "refuse", "no_rule") > before
    assert told(world, "a", "destroyed") >= 1
    world.cordon.apply(STRICT)


def test_stranger_hears_nothing(world: World) -> None:
    world.listen()
    sniffer = Sniffer(world.b)
    before = world.refused_at_server("no_rule")
    Forger(world.a).send(bare_syn(world), world.b)
    wait_until(lambda: world.refused_at_server("no_rule") > before, "the refusal to be counted")
    sniffer.collect(0.5)
    assert resets(sniffer) == []


def test_forger_hears_nothing(world: World) -> None:
    world.listen()
    sniffer = Sniffer(world.b)
    before = world.refused_at_server("tag_forged")
    fake = Counterfeit.of(world.cordon, "a")
    syn = bare_syn(world)
    tag = fake.tag_for(syn, "b", fake.identity("other"), key=bytes(16))
    Forger(world.a).send(syn.with_options(tag), world.b)
    wait_until(lambda: world.refused_at_server("tag_forged") > before, "the refusal to be counted")
    sniffer.collect(0.5)
    assert resets(sniffer) == []


def send_raw(world: World, mark: str, flags: int) -> str:
    """A bare TCP header from a raw socket of a root process on b."""
    argv = [
        sys.executable, "-c", _MARKED, str(world.cordon["b"].pins / "maps"), mark, world.b.v4,
        world.a.v4, str(flags),
    ]  # fmt: skip
    done = world.b.run(argv, "raw.service", env={"PYTHONPATH": str(ROOT)}, timeout=30.0)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_only_a_bare_reset_of_a_marked_socket_passes_our_own_egress(world: World) -> None:
    """The host's own segment is enforced, and no rule allows raw packets."""
    assert send_raw(world, "marked", RST_ACK) == "sent"
    assert send_raw(world, "marked", 0x02) == "EPERM"
    assert send_raw(world, "marked", 0x16) == "EPERM"
    assert send_raw(world, "unmarked", RST_ACK) == "EPERM"


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_flood_of_proven_peers_is_answered_so_often_and_no_more(world: World) -> None:
    world.listen()
    agent = world.cordon["b"].agent
    assert agent is not None
    fake, forger = Counterfeit.of(world.cordon, "a"), Forger(world.a)
    other = fake.identity("other")
    flood = [
        syn.with_options(fake.tag_for(syn, "b", other))
        for syn in (
            replace(bare_syn(world), source_port=1024 + i, sequence=i * 104729)
            for i in range(FLOOD)
        )
    ]
    counted = world.refused_at_server("no_rule")
    before = told(world, "b", "reset"), told(world, "b", "limited")
    cpu, started = cpu_seconds(agent.pid), time.monotonic()
    for syn in flood:
        forger.send(syn, world.b)
    wait_until(
        lambda: world.refused_at_server("no_rule") >= counted + FLOOD,
        "every SYN of the flood to be refused", timeout=PATIENCE,
    )  # fmt: skip
    seconds, spent = time.monotonic() - started, cpu_seconds(agent.pid) - cpu
    sent = told(world, "b", "reset") - before[0]
    print(f"{FLOOD} in {seconds:.2f} s: {sent:.0f} told, agent's CPU {spent:.2f} s")
    assert 0 < sent <= refuser.PER_SECOND * (int(seconds) + 2)
    # Each refusal that becomes an event costs the agent so much and no more, told or not.
    assert spent < FLOOD * 0.001 * SLOWNESS
    # Verdicts go on as before.
    client = world.web.connect(world.b.v4, PORT, timeout=PATIENCE)
    assert client.ok, client
    world.web.close(client.handle, reset=True)


def test_mode_drop_tells_nobody() -> None:
    with cordon(BASE) as running:  # the lab's agents drop unless told otherwise
        world = World.build(running)
        world.listen()
        sniffer = Sniffer(world.b)
        reply = world.loner.connect(world.b.v4, PORT, timeout=QUIET)
        assert reply.error == "TIMEOUT", reply
        assert world.refused_at_server("no_rule") > 0
        assert resets(sniffer) == []
