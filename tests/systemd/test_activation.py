# SPDX-License-Identifier: Apache-2.0
"""A service that systemd starts for its first client, with a listener that systemd opened.

Until then the listener is systemd's, and systemd is in no workload; from then on it is the
service's. Tested by two clients: `opener` may talk to whoever listens there, `reader` to the
service alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.waiting import wait_until
from tests.systemd.machine import Machine
from tests.systemd.pair import READY_SECONDS, REFUSED, Pair, wait_active

AGENT = "cordon-agent"
PORT = 8080
ADOPTED_SECONDS = 30.0
SOCKET = f"""
[Socket]
ListenStream=0.0.0.0:{PORT}
"""
SERVICE = "[Service]\nExecStart=/usr/bin/python3 -I /usr/local/lib/pages.py\n"
PROGRAM = """
import contextlib, socket
listener = socket.socket(fileno=3)
listener.setblocking(True)  # systemd hands it over non-blocking
while True:
    client, _ = listener.accept()
    with client, contextlib.suppress(OSError):  # a client whose kernel refuses us resets
        client.recv(4096)
        client.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\npages\\n")
"""


def ask(pair: Pair, unit: str) -> int:
    """curl's exit status."""
    url = f"http://{pair.db.host.v4}:{PORT}/"
    return pair.unit(unit, "curl", "-s", "-o", "/dev/null", "-m", "3", url)


def answers(machine: Machine) -> bool:
    return machine.run("cordonctl", "status", check=False).returncode == 0


@pytest.fixture
def seeing(pair: Pair) -> Iterator[None]:
    """The agent on db is one that can open processes by number, for as long as a test goes on."""
    pair.db.run("systemctl", "stop", AGENT)
    agent = pair.db.start_agent_outside()
    wait_until(lambda: answers(pair.db), "the agent answers", READY_SECONDS, interval=0.3)
    try:
        yield
    finally:
        agent.stop(30.0)
        pair.db.run("systemctl", "start", AGENT, timeout=READY_SECONDS)
        wait_active(pair.db)


def test_listener_that_systemd_opened_is_the_service_s_once_that_is_started(
    pair: Pair, seeing: None
) -> None:
    pair.db.run("mkdir", "-p", "/usr/local/lib")
    pair.db.write("/usr/local/lib/pages.py", PROGRAM)
    pair.db.write("/run/systemd/system/pages.socket", SOCKET)
    pair.db.write("/run/systemd/system/pages.service", SERVICE)
    pair.db.run("systemctl", "daemon-reload")
    pair.db.run("systemctl", "start", "pages.socket")
    assert ask(pair, "reader") in REFUSED, "the listener is not the service's yet"
    assert not pair.db.is_active("pages.service"), "what is refused starts nothing"
    assert ask(pair, "opener") == 0
    assert pair.db.is_active("pages.service")
    wait_until(lambda: ask(pair, "reader") == 0, "the listener is the service's", ADOPTED_SECONDS)
    assert ask(pair, "shop") in REFUSED
    pair.db.run("systemctl", "stop", "pages.socket", "pages.service")
