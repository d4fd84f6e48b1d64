# SPDX-License-Identifier: Apache-2.0
"""Which of its addresses a host tells: those that others may reach it by."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from agent.edge import host_facts
from agent.edge import interfaces as network
from agent.edge.interfaces import Link, inner


def packed(*texts: str) -> list[bytes]:
    return [ipaddress.ip_address(text).packed for text in texts]


@pytest.fixture
def interfaces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, list[str]]:
    """Name -> addresses; made up, as is the file of those of IPv6."""
    made: dict[str, list[str]] = {}
    monkeypatch.setattr(
        psutil,
        "net_if_addrs",
        lambda: {
            name: [SimpleNamespace(address=text) for text in texts] for name, texts in made.items()
        },
    )
    monkeypatch.setattr(host_facts, "_IPV6", tmp_path / "if_inet6")
    monkeypatch.setattr(network, "inner_bridges", lambda: frozenset({"docker0"}))
    return made


def test_loopback_and_what_holds_on_one_link_alone_are_left_out(
    interfaces: dict[str, list[str]],
) -> None:
    interfaces["lo"] = ["127.0.0.1", "::1", "192.0.2.100"]
    interfaces["eth0"] = ["192.0.2.7", "fe80::1%eth0", "2001:db8::7", "02:00:5e:00:53:01"]
    interfaces["eth1"] = ["169.254.3.4", "192.0.2.7"]
    assert host_facts.addresses() == packed("192.0.2.7", "192.0.2.100", "2001:db8::7")


def test_bridge_that_leads_to_own_containers_alone_is_left_out(
    interfaces: dict[str, list[str]],
) -> None:
    interfaces["docker0"] = ["172.17.0.1"]
    interfaces["br0"] = ["192.0.2.7"]
    assert host_facts.addresses() == packed("192.0.2.7")


def test_bridge_with_a_port_that_leads_elsewhere_is_no_inner_one() -> None:
    found = inner(
        [
            Link(1, "eth0", "", 3),
            Link(2, "veth1", "veth", 3),
            Link(3, "br0", "bridge", 0),
            Link(4, "docker0", "bridge", 0),
            Link(5, "veth2", "veth", 4),
            Link(6, "virbr0", "bridge", 0),
            Link(7, "vnet0", "tun", 6),
            Link(8, "br1", "bridge", 0),
            Link(9, "eth1.5", "vlan", 8),
            Link(10, "idle", "bridge", 0),
            Link(11, "veth3", "veth", 0),
        ],
        ways_out=[],
    )
    assert found == {"docker0", "virbr0", "idle"}


def test_bridge_by_which_the_host_reaches_the_world_is_no_inner_one() -> None:
    links = [Link(1, "eth0", "veth", 2), Link(2, "br0", "bridge", 0), Link(3, "b", "bridge", 0)]
    assert inner(links, ways_out=[2]) == {"b"}


def test_address_that_another_machine_may_have_is_left_out(
    interfaces: dict[str, list[str]], tmp_path: Path
) -> None:
    interfaces["eth0"] = ["2001:db8::7", "2001:db8::8", "2001:db8::9", "2001:db8::a"]
    prefix = "20010db80000000000000000000000"
    flags = {"07": "80", "08": "40", "09": "88", "0a": "01"}
    (tmp_path / "if_inet6").write_text(
        "".join(f"{prefix}{last} 02 40 00 {one}     eth0\n" for last, one in flags.items())
    )
    assert host_facts.addresses() == packed("2001:db8::7", "2001:db8::a")


def test_there_are_no_more_than_a_report_holds(interfaces: dict[str, list[str]]) -> None:
    interfaces["eth0"] = [f"192.0.2.{number}" for number in range(1, 101)]
    interfaces["eth1"] = ["2001:db8::7"]
    found = host_facts.addresses()
    assert len(found) == host_facts.MAX_ADDRESSES
    assert found == host_facts.addresses(), "and the same each time"
