# SPDX-License-Identifier: Apache-2.0
"""Which of its addresses a host with containers tells, with real interfaces, in a network namespace
of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 60.0
INTERFACES = """
set -e
ip link set lo up
ip link add docker0 type bridge
ip address add 172.17.0.1/16 dev docker0
ip link add inside type veth peer name container
ip link set inside master docker0
ip link set docker0 up
ip link add outside type veth peer name other
ip address add 203.0.113.7/24 dev outside
ip link set outside up
"""
NESTED = """
ip link add br0 type bridge
ip link add eth0 type veth peer name host
ip link set eth0 master br0
ip address add 198.51.100.7/24 dev br0
ip link set br0 up
ip link set eth0 up
ip link set host up
ip route add default via 198.51.100.1 dev br0
"""
ASK = "from agent.edge.host_facts import addresses; print([one.hex('.') for one in addresses()])"


def told(interfaces: str) -> str:
    script = f'{interfaces}\nexec "$@"'
    command = ["unshare", "--net", "sh", "-c", script, "sh", sys.executable, "-c", ASK]
    said = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=TIMEOUT
    )
    return said.stdout.strip()


def test_address_of_a_bridge_of_containers_is_not_told() -> None:
    assert told(INTERFACES) == "['cb.00.71.07']"


def test_address_of_the_bridge_that_is_the_way_out_is_told_whatever_its_ports_are() -> None:
    """As where the host is a container itself."""
    assert told(INTERFACES + NESTED) == "['c6.33.64.07', 'cb.00.71.07']"
