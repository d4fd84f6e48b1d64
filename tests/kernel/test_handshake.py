# SPDX-License-Identifier: Apache-2.0
"""Identity in the TCP handshake, between two hosts with agents: real sockets, real kernel.

One long file, for its tests share two agents that start once: where kernels are emulated, as
tests.vm does with all of it, that is most of the time.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.kernel.world import ALLOW, BASE, PORT, QUIET, World, policy
from tests.lab import Sniffer, drop_first, wait_until
from tests.lab.cordon import cordon
from tests.lab.counterfeit import Counterfeit
from tests.lab.packets import EXPERIMENT_2
from tests.lab.puppet import md5_option


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    with cordon(BASE) as running:
        yield World.build(running)


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    """The shared world under the base policy, with nothing left open."""
    yield shared
    shared.b.sysctl("net.ipv4.tcp_syncookies", 1)


def exchange(world: World, address: str) -> None:
    """One connection from web to db, one byte each way."""
    listener = world.listen("::" if ":" in address else "0.0.0.0")
    client = world.web.connect(address, PORT, timeout=2.0)
    assert client.ok, client
    server = world.db.accept(listener.handle, timeout=5.0)
    assert server.ok, server
    assert world.web.send(client.handle, b"q").ok
    assert world.db.recv(server.handle, 1).data == b"q"
    assert world.db.send(server.handle, b"a").ok
    assert world.web.recv(client.handle, 1).data == b"a"
    world.web.close(client.handle, reset=True)
    world.db.close(server.handle)


def test_allowed_workload_connects_and_both_ends_carry_tags(world: World) -> None:
    sniffer = Sniffer(world.b)
    before = world.cordon["b"].outcomes().get("tag_verified", 0)
    exchange(world, world.b.v4)
    syn = sniffer.wait_for(lambda c: c.segment.is_syn, "the SYN")
    syn_ack = sniffer.wait_for(lambda c: c.segment.is_syn_ack, "the SYN-ACK")
    for captured in (syn, syn_ack):
        body = captured.segment.option(EXPERIMENT_2)
        assert body is not None, captured
        assert body[:2] == b"\xc0\xd1"
        assert len(body) == 18
    assert world.cordon["b"].outcomes()["tag_verified"] == before + 1


def test_ipv6_connects_under_the_same_identity(world: World) -> None:
    exchange(world, world.b.v6)


def test_ipv4_mapped_address_connects(world: World) -> None:
    exchange(world, f"::ffff:{world.b.v4}")


def test_connect_without_any_allow_is_refused_with_eperm_at_once(world: World) -> None:
    world.listen()
    assert world.other.connect(world.b.v4, PORT).error == "EPERM"
    assert world.web.connect(world.b.v4, PORT + 1).error == "EPERM"


def test_refused_at_the_server_though_the_clients_side_was_open(world: World) -> None:
    before = world.refused_at_server("no_rule")
    listener = world.listen()
    # The process matches no workload: its segment only audits, so its own side lets it go.
    assert world.loner.connect(world.b.v4, PORT, timeout=QUIET).error == "TIMEOUT"
    assert world.db.accept(listener.handle, timeout=0.05).error == "TIMEOUT"
    assert world.refused_at_server("no_rule") > before


def test_syn_cookies_do_not_lose_the_identity(world: World) -> None:
    world.b.sysctl("net.ipv4.tcp_syncookies", 2)  # always
    exchange(world, world.b.v4)
    world.listen()
    assert world.loner.connect(world.b.v4, PORT, timeout=QUIET).error == "TIMEOUT"


def test_lost_syn_is_repeated_with_the_same_tag_and_accepted(world: World) -> None:
    loss = drop_first(world.b, "syn", port=PORT)
    exchange(world, world.b.v4)
    assert loss.lost() == 1
    loss.remove()


def test_lost_syn_ack_is_repeated_and_the_repeated_syn_is_no_replay(world: World) -> None:
    before = world.refused_at_server("tag_replayed")
    loss = drop_first(world.a, "synack", port=PORT)
    exchange(world, world.b.v4)
    assert loss.lost() == 1
    assert world.refused_at_server("tag_replayed") == before
    loss.remove()


def test_lost_final_ack_does_not_lose_the_identity(world: World) -> None:
    loss = drop_first(world.b, "ack", port=PORT)
    exchange(world, world.b.v4)
    loss.remove()


def test_no_room_for_the_tag_is_counted_and_judged_as_unproven(world: World) -> None:
    """MD5 signatures take 20 bytes of options beside the usual ones."""
    key = b"secret"
    world.listen(world.b.v4, PORT + 9, options=[md5_option(world.a.v4, key)])
    refused = world.refused_at_server("no_rule")
    absent = world.cordon["a"].outcomes().get("tag_no_room", 0)
    client = world.web.connect(
        world.b.v4, PORT + 9, timeout=QUIET, options=[md5_option(world.b.v4, key)]
    )
    assert client.error == "TIMEOUT", client
    assert world.refused_at_server("no_rule") > refused
    assert world.cordon["a"].outcomes().get("tag_no_room", 0) > absent


def test_fast_open_leaves_no_room_and_is_unproven(world: World) -> None:
    world.a.sysctl("net.ipv4.tcp_fastopen", 1)
    world.b.sysctl("net.ipv4.tcp_fastopen", 0x202)
    option = (socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
    listener = world.listen(world.b.v4, PORT + 9, options=[option])
    client = world.web.connect(world.b.v4, PORT + 9, timeout=QUIET, fastopen=b"early")
    # The first one asks for a cookie: 4 bytes that the tag would have needed.
    assert client.error == "TIMEOUT", client
    assert world.db.accept(listener.handle, timeout=0.05).error == "TIMEOUT"


def test_accepted_socket_keeps_its_peers_identity(world: World) -> None:
    listener = world.listen()
    client = world.web.connect(world.b.v4, PORT)
    server = world.db.accept(listener.handle)
    assert server.ok, server
    sockets = [
        s
        for s in world.cordon["b"].sockets(world.db.pid)
        if s.state == "established" and s.local_port == PORT
    ]
    assert [s.peer_workload.split("/")[-1] for s in sockets] == ["web"]
    assert sockets[0].proof == "tag"
    world.web.close(client.handle, reset=True)
    world.db.close(server.handle)


def test_loopback_between_instances_of_one_workload_is_allowed(world: World) -> None:
    listener = world.listen("127.0.0.1", 7000)
    client = world.db.connect_start("127.0.0.1", 7000)
    assert world.db.accept(listener.handle).ok
    assert world.db.connect_finish(client.handle).ok
    world.db.close(client.handle, listener.handle)


def test_loopback_between_two_workloads_needs_an_allow(world: World) -> None:
    listener = world.web.listen("127.0.0.1", 7001)
    assert world.other.connect("127.0.0.1", 7001, timeout=QUIET).error == "TIMEOUT"
    rule = (
        "kind: Allow\nname: local\nfrom: {workload: other}\nto: {workload: web}\nports: [tcp/7001]"
    )
    world.cordon.apply(policy(ALLOW, rule))
    client = world.other.connect("127.0.0.1", 7001)
    assert client.ok, client
    world.other.close(client.handle)
    world.web.close(listener.handle)
    world.cordon.apply(BASE)


def test_new_process_is_held_not_refused(world: World) -> None:
    """A program that connects as the first thing it does waits some milliseconds, no more."""
    world.listen()
    code = (
        "import socket,sys,time\n"
        f"t=time.monotonic();s=socket.create_connection(('{world.b.v4}',{PORT}),5)\n"
        "print(time.monotonic()-t)"
    )
    for _ in range(3):
        done = world.a.run(["/usr/bin/python3", "-S", "-c", code], "web.service")
        assert done.returncode == 0, done


def test_revoked_allow_cuts_a_live_connection_at_its_next_packet(world: World) -> None:
    listener = world.listen()
    client = world.web.connect(world.b.v4, PORT)
    server = world.db.accept(listener.handle)
    assert world.web.send(client.handle, b"1").ok
    assert world.db.recv(server.handle, 1).data == b"1"
    world.cordon.apply(policy())
    world.web.send(client.handle, b"2")
    assert world.db.recv(server.handle, 1, timeout=QUIET).error == "TIMEOUT"
    world.cordon.apply(BASE)
    # The same connection, allowed again: TCP's own retransmission brings the byte.
    assert world.db.recv(server.handle, 1, timeout=5.0).data == b"2"
    world.web.close(client.handle, reset=True)
    world.db.close(server.handle)


def test_socket_accepted_after_a_generation_change_is_judged_by_the_new_one(world: World) -> None:
    listener = world.listen()
    client = world.web.connect(world.b.v4, PORT)
    world.cordon.apply(policy())
    server = world.db.accept(listener.handle)
    assert server.ok, "it stood before the change and waits in the accept queue"
    world.web.send(client.handle, b"x")
    assert world.db.recv(server.handle, 1, timeout=QUIET).error == "TIMEOUT"
    assert world.web.connect(world.b.v4, PORT).error == "EPERM"
    world.cordon.apply(BASE)
    world.web.close(client.handle, reset=True)
    world.db.close(server.handle)


def test_audit_mode_passes_and_records_what_enforce_would_have_done(world: World) -> None:
    world.cordon.apply(policy(front="audit", data="audit"))
    before = world.verdict("b", "ingress", "audit", "no_rule")
    exchange(world, world.b.v4)
    assert world.verdict("b", "ingress", "audit", "no_rule") == before + 1
    world.cordon.apply(BASE)


def test_mode_off_neither_judges_nor_refuses(world: World) -> None:
    world.cordon.apply(policy(front="off", data="off"))
    before = world.verdict("b", "ingress", "allow", "mode_off")
    exchange(world, world.b.v4)
    assert world.verdict("b", "ingress", "allow", "mode_off") > before
    world.cordon.apply(BASE)


def test_lifeline_is_open_whatever_else_policy_says(world: World) -> None:
    lifeline = (
        "kind: Lifeline\nname: admin\ndirection: in\npeer: {cidr: 192.0.2.0/24}\nports: [tcp/5432]"
    )
    deny = "kind: Deny\nname: none\nfrom: {any: true}\nto: {workload: db}\nports: [any]"
    world.cordon.apply(policy(lifeline, deny, front="audit"))
    before = world.verdict("b", "ingress", "allow", "lifeline")
    exchange(world, world.b.v4)
    assert world.verdict("b", "ingress", "allow", "lifeline") == before + 1
    world.cordon.apply(BASE)


def test_deny_beats_allow(world: World) -> None:
    deny = "kind: Deny\nname: none\nfrom: {any: true}\nto: {workload: db}\nports: [tcp/5432]"
    world.cordon.apply(policy(ALLOW, deny))
    assert world.web.connect(world.b.v4, PORT, timeout=QUIET).error == "EPERM"
    world.cordon.apply(BASE)


def test_port_range_is_enforced_at_its_edges(world: World) -> None:
    rule = (
        "kind: Allow\nname: range\nfrom: {workload: web}\nto: {workload: db}\n"
        "ports: [tcp/8000-8010]"
    )
    world.cordon.apply(policy(rule))
    outcome = {}
    for port in (7999, 8000, 8005, 8010, 8011):
        world.listen(port=port)
        reply = world.web.connect(world.b.v4, port, timeout=QUIET)
        outcome[port] = reply.error
        if reply.ok:
            world.web.close(reply.handle, reset=True)
    assert outcome == {7999: "EPERM", 8000: None, 8005: None, 8010: None, 8011: "EPERM"}
    world.cordon.apply(BASE)


def test_udp_to_a_managed_host_is_unproven_and_needs_a_rule_for_that(world: World) -> None:
    server = world.db.udp(bind=(world.b.v4, 9000))
    client = world.web.udp()
    assert world.web.sendto(client.handle, b"x", (world.b.v4, 9000)).error == "EPERM"
    out = "kind: Allow\nname: out\nfrom: {workload: web}\nto: {unproven: true}\nports: [udp/9000]"
    into = "kind: Allow\nname: into\nfrom: {unproven: true}\nto: {workload: db}\nports: [udp/9000]"
    world.cordon.apply(policy(ALLOW, out, into))
    assert world.web.sendto(client.handle, b"x", (world.b.v4, 9000)).ok
    got = world.db.recvfrom(server.handle)
    assert got.data == b"x"
    assert got.address is not None
    assert world.db.sendto(server.handle, b"y", got.address).ok, "an answer needs no rule"
    assert world.web.recvfrom(client.handle).data == b"y"
    world.cordon.apply(BASE)


def test_udp_on_one_host_knows_the_sender_by_its_record(world: World) -> None:
    rule = (
        "kind: Allow\nname: local\nfrom: {workload: other}\nto: {workload: web}\nports: [udp/9001]"
    )
    world.cordon.apply(policy(ALLOW, rule))
    server = world.web.udp(bind=("127.0.0.1", 9001))
    allowed, refused = world.other.udp(), world.loner.udp()
    assert world.other.sendto(allowed.handle, b"o", ("127.0.0.1", 9001)).ok
    assert world.web.recvfrom(server.handle).data == b"o"
    world.loner.sendto(refused.handle, b"l", ("127.0.0.1", 9001))
    assert world.web.recvfrom(server.handle, timeout=QUIET).error == "TIMEOUT"
    world.cordon.apply(BASE)


def test_ping_is_judged_and_icmp_errors_pass(world: World) -> None:
    world.a.sysctl("net.ipv4.ping_group_range", "0 2147483647")
    refused = world.a.run(["ping", "-c1", "-W1", world.b.v4], "web.service", timeout=5)
    assert refused.returncode != 0
    rule = (
        "kind: Allow\nname: ping\nfrom: {workload: web}\nto: {unproven: true}\n"
        "ports: [icmp/echo-request]"
    )
    world.cordon.apply(policy(ALLOW, rule))
    allowed = world.a.run(["ping", "-c1", "-W2", world.b.v4], "web.service", timeout=5)
    assert allowed.returncode == 0, allowed
    world.cordon.apply(BASE)


def test_a_managed_host_that_no_rule_names_is_unproven_and_not_the_world(world: World) -> None:
    """Each host has the other's address and nothing else of it."""
    rules = [
        f"kind: Allow\nname: {name}\nfrom: {source}\nto: {target}\nports: [tcp/{port}]"
        for name, source, target, port in (
            ("out", "{workload: web}", "{unproven: true}", PORT),
            ("in", "{unproven: true}", "{workload: db}", PORT),
            ("out-world", "{workload: web}", "{world: true}", PORT + 1),
            ("in-world", "{world: true}", "{workload: db}", PORT + 1),
        )
    ]
    world.cordon.apply(policy(*rules))
    for host in ("a", "b"):
        assert [p.host for p in Counterfeit.of(world.cordon, host).snapshot.peers] == [
            Counterfeit.of(world.cordon, host).snapshot.host
        ]
    exchange(world, world.b.v4)
    exchange(world, world.b.v6)
    assert world.web.connect(world.b.v4, PORT + 1).error == "EPERM"
    world.cordon.apply(BASE)


def test_a_lifeline_by_network_is_open_to_a_managed_host_that_no_rule_names(world: World) -> None:
    lifeline = (
        "kind: Lifeline\nname: admin\ndirection: in\npeer: {cidr: 192.0.2.0/24}\n"
        f"ports: [tcp/{PORT}]"
    )
    world.cordon.apply(policy(lifeline, front="audit"))
    before = world.verdict("b", "ingress", "allow", "lifeline")
    exchange(world, world.b.v4)
    assert world.verdict("b", "ingress", "allow", "lifeline") == before + 1
    world.cordon.apply(BASE)


def test_explains_itself_in_status(world: World) -> None:
    status = world.cordon["b"].status()
    assert status.generation > 0
    assert status.hooks_attached == status.hooks_expected == 13
    wait_until(lambda: world.cordon["b"].status().state == "in_sync", "b is in sync")
