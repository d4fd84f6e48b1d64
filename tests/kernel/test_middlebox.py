# SPDX-License-Identifier: Apache-2.0
"""What stands between two hosts: translation of addresses and ports, options that are stripped.

nftables does it on the receiving or sending host, on the wire's side of the cgroup programs. And
what leaves no room for a tag: option space that is full.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.kernel.scene import Scene
from tests.kernel.world import ALLOW, BASE, PORT, QUIET, bare_syn, policy
from tests.lab import LabHost, wait_until
from tests.lab.cordon import cordon
from tests.lab.packets import EXPERIMENT_2, MSS, SACK_PERMITTED, TIMESTAMP, WINDOW_SCALE, option

IPPROTO_MPTCP = 262


@pytest.fixture(scope="module")
def shared() -> Iterator[Scene]:
    with cordon(BASE) as running:
        yield Scene.of(running)


@pytest.fixture
def scene(shared: Scene) -> Iterator[Scene]:
    yield shared
    given(shared, BASE)


def given(scene: Scene, documents: str, **fields: str) -> None:
    """A policy, and what the inventory says of both hosts."""
    running = scene.world.cordon
    running.host_fields = {"a": dict(fields), "b": dict(fields)}
    running.apply(documents)


@contextlib.contextmanager
def middlebox(host: LabHost, chain: str, rule: str) -> Iterator[None]:
    host.tool(
        ["nft", "-f", "-"],
        f"""
        table ip middlebox {{
            chain passing {{
                {chain}; policy accept;
                {rule}
            }}
        }}
        """,
    )
    try:
        yield
    finally:
        host.tool(["nft", "delete", "table", "ip", "middlebox"])


SNAT = "type nat hook postrouting priority srcnat"
DNAT = "type nat hook prerouting priority dstnat"
RAW = "type filter hook prerouting priority raw"
OTHER = "192.0.2.77"
"""An address that the inventory does not know."""
OTHER_PORT = f"tcp dport {PORT} snat to 192.0.2.1:20000-20999"


def reaches(scene: Scene) -> None:
    """web gets to db."""
    world = scene.world
    reply = world.web.connect(world.b.v4, PORT, timeout=5.0)
    assert reply.ok, reply
    world.web.close(reply.handle, reset=True)


def refuses(scene: Scene, reason: str, port: int = PORT) -> None:
    """b refuses web's SYN, and says why."""
    world, before = scene.world, scene.count(reason)
    begun = world.web.connect_start(world.b.v4, port)
    wait_until(lambda: scene.count(reason) > before, f"b refuses it as {reason}")
    assert world.web.connect_finish(begun.handle, timeout=0).error == "TIMEOUT"
    world.web.close(begun.handle, reset=True)


def test_translated_source_port_breaks_the_binding(scene: Scene) -> None:
    with middlebox(scene.world.a, SNAT, OTHER_PORT):
        refuses(scene, "tag_forged")
    reaches(scene)


def test_translated_source_address_breaks_the_binding(scene: Scene) -> None:
    with address(scene.world.a, OTHER), middlebox(scene.world.a, SNAT, f"snat to {OTHER}"):
        refuses(scene, "tag_forged")


def test_translated_destination_port_breaks_the_binding(scene: Scene) -> None:
    """web is allowed on port 5441, and cannot be led from there to 5432."""
    with middlebox(scene.world.b, DNAT, f"tcp dport 5441 redirect to :{PORT}"):
        refuses(scene, "tag_forged", port=5441)


@contextlib.contextmanager
def address(host: LabHost, added: str) -> Iterator[None]:
    host.tool(["ip", "addr", "add", f"{added}/24", "dev", "eth0"])
    try:
        yield
    finally:
        host.tool(["ip", "addr", "del", f"{added}/24", "dev", "eth0"])


def test_hosts_that_are_said_to_be_translated_bind_less_and_connect(scene: Scene) -> None:
    given(scene, BASE, nat="true")
    world = scene.world
    reaches(scene)
    with middlebox(world.a, SNAT, OTHER_PORT):
        reaches(scene)
    with address(world.a, OTHER), middlebox(world.a, SNAT, f"snat to {OTHER}"):
        listener = world.listen()
        client = world.web.connect(world.b.v4, PORT, timeout=5.0)
        assert client.ok, client
        server = world.db.accept(listener.handle, timeout=5.0)
        assert server.address is not None
        assert server.address[0] == OTHER
        found = [
            (s.peer_workload.split("/")[-1], s.proof)
            for s in world.cordon["b"].sockets(world.db.pid)
            if s.state == "established"
        ]
        assert found == [("web", "tag")], "who it is does not go by address"
        world.web.close(client.handle, reset=True)
        world.db.close(server.handle)
    assert world.other.connect(world.b.v4, PORT).error == "EPERM"


def test_less_binding_still_means_once(scene: Scene) -> None:
    given(scene, BASE, nat="true")
    world = scene.world
    scene.sniffer.clear()
    client = world.web.connect(world.b.v4, PORT, timeout=5.0)
    assert client.ok, client
    syn = scene.sniffer.wait_for(lambda c: c.segment.is_syn, "the SYN").segment
    world.web.close(client.handle, reset=True)
    scene.refused(syn, "tag_replayed")
    scene.refused(replace(syn, source=OTHER, source_port=4711), "tag_replayed")


def test_less_binding_is_refused_from_a_host_that_is_not_said_to_be_translated(
    scene: Scene,
) -> None:
    """Else every host could choose to bind less."""
    running = scene.world.cordon
    running.host_fields = {"a": {}, "b": {"nat": "true"}}
    running.apply(BASE)
    refuses(scene, "tag_forged")


STRIP = f"tcp dport {PORT} reset tcp option 254"


def test_stripped_option_is_unproven_and_told_apart_from_an_attack(scene: Scene) -> None:
    world = scene.world
    absent = world.cordon["b"].outcomes().get("tag_absent", 0)
    with middlebox(world.b, RAW, STRIP):
        refuses(scene, "no_rule")
    assert world.cordon["b"].outcomes()["tag_absent"] > absent
    reaches(scene)


def test_path_without_options_is_judged_by_address_if_the_inventory_says_so(scene: Scene) -> None:
    world = scene.world
    here = (
        f"kind: Allow\nname: here\nfrom: {{workload: web}}\nto: {{cidr: {world.b.v4}/32}}\n"
        f"ports: [tcp/{PORT}]"
    )
    there = (
        f"kind: Allow\nname: there\nfrom: {{cidr: {world.a.v4}/32}}\nto: {{workload: db}}\n"
        f"ports: [tcp/{PORT}]"
    )
    with middlebox(world.b, RAW, STRIP):
        given(scene, policy(here, there))
        # A managed host's address proves nothing.
        assert world.web.connect(world.b.v4, PORT).error == "EPERM"
        given(scene, policy(here, there), tags="off")
        reaches(scene)
        given(scene, policy(ALLOW), tags="off")
        assert world.web.connect(world.b.v4, PORT).error == "EPERM", "nobody can be named"


# Option space.

USUAL = (
    option(MSS, b"\x05\xb4")
    + option(SACK_PERMITTED)
    + option(TIMESTAMP, bytes(8))
    + b"\1"
    + option(WINDOW_SCALE, b"\x07")
)


def test_tag_is_found_at_the_very_end_of_a_full_header(scene: Scene) -> None:
    syn = bare_syn(scene.world)
    right = scene.keys.tag_for(syn, "b", scene.keys.identity("web"))
    assert len(USUAL + right) == 40
    scene.accepted(syn.with_options(USUAL + right))
    wrong = bare_syn(scene.world)
    scene.refused(wrong.with_options(USUAL + right), "tag_replayed")


FULL = {
    "padding": bytes([1]) * 40,
    "unknown options": option(200, bytes(18)) + option(201, bytes(18)),
    "another experiment": option(254, b"\xff\xff" + bytes(16)) + option(253, bytes(18)),
    "one long one": option(200, bytes(38)),
    "end before the tag": None,
}


@pytest.mark.parametrize("options", FULL.values(), ids=FULL.keys())
def test_full_header_without_a_tag_is_unproven(scene: Scene, options: bytes | None) -> None:
    """What stands behind the end of the options is padding, also if it looks like a tag."""
    syn = bare_syn(scene.world)
    right = scene.keys.tag_for(syn, "b", scene.keys.identity("web"))
    scene.refused(syn.with_options(options or b"\0" * 20 + right), "no_rule")


def test_multipath_tcp_is_judged_and_has_no_room(scene: Scene) -> None:
    world = scene.world

    def attempt(client_unit: str) -> str | None:
        puppet = world.web if client_unit == "web" else world.other
        made = puppet.op_socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        to = (world.b.v4, PORT)
        reply = puppet.call([made, puppet.op("connect", made["handle"], QUIET, to=to)])[1]
        puppet.close(made["handle"], reset=True)
        return reply.error

    assert attempt("other") == "EPERM", "its own side refuses it, as any connection"
    before, absent = scene.count("no_rule"), world.cordon["a"].outcomes().get("tag_no_room", 0)
    scene.sniffer.clear()
    assert attempt("web") == "TIMEOUT"
    syn = scene.sniffer.wait_for(lambda c: c.segment.is_syn, "the SYN").segment
    assert syn.option(30) is not None, "it asks for multipath (RFC 8684)"
    assert syn.option(EXPERIMENT_2) is None
    wait_until(lambda: scene.count("no_rule") > before, "b refuses it as unproven")
    assert world.cordon["a"].outcomes()["tag_no_room"] > absent
