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
ip address add 192.0.2.7/24 dev outside
ip link set outside up
exec "$@"
"""
ASK = "from agent.edge.host_facts import addresses; print([one.hex('.') for one in addresses()])"


def test_address_of_a_bridge_of_containers_is_not_told() -> None:
    command = ["unshare", "--net", "sh", "-c", INTERFACES, "sh", sys.executable, "-c", ASK]
    said = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=TIMEOUT
    )
    assert said.stdout.strip() == "['c0.00.02.07']"
