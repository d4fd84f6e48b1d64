# SPDX-License-Identifier: Apache-2.0
"""What a controller hears of a host from its agent: who runs and listens there, which addresses it
has, and that nothing is judged.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.core.abi import Process
from agent.edge.listeners import NOBODYS_LOOKS, Listeners
from tests.kernel.world import ALLOW, PORT, policy
from tests.lab import wait_until
from tests.lab.cordon import AGENT, ROOT, CordonHost
from tests.lab.fleet import Fleet, fleet
from tests.lab.host import INTERFACE

HEARD = 90.0
"""A report is due after ten to twenty seconds, and written down a second later."""
NEW = "192.0.2.77"
OWN = "tcp 127.0.0.1:9420 host"
"""Of the agent itself: its metrics."""


@pytest.fixture(scope="module")
def one() -> Iterator[Fleet]:
    with fleet(policy(ALLOW), ("a",)) as running:
        yield running


@pytest.fixture
def pair() -> Iterator[Fleet]:
    with fleet(policy(ALLOW)) as running:
        yield running


def shown(one: Fleet) -> Any:
    return one.operator.json("hosts", "show", "a")


def wait_shown(one: Fleet, right: Callable[[Any], bool], what: str) -> Any:
    wait_until(lambda: right(shown(one)), what, timeout=HEARD, interval=1.0)
    return shown(one)


def command(host: CordonHost, name: str) -> str:
    argv = [*AGENT, name, "--config", str(host.config)]
    done = host.lab.run(argv, "admin.service", env={"PYTHONPATH": str(ROOT)}, timeout=60)
    assert done.returncode == 0, done
    return f"{done.stdout}{done.stderr}"


def test_who_runs_is_told_and_who_does_not_any_more(one: Fleet) -> None:
    programs = [one["a"].lab.spawn(["/bin/sleep", "600"], "web.service") for _ in range(2)]
    one["a"].wait_attested(*(program.pid for program in programs))
    found = wait_shown(one, lambda host: "front/web" in host["running"], "web is told")
    assert found["running"]["front/web"] == 2
    assert found["agent_state"] == "in_sync"
    assert not found["host"].get("trouble")
    for program in programs:
        program.kill9()
    wait_shown(one, lambda host: "front/web" not in host["running"], "it is told that web is gone")


ELSEWHERE = """
ip link set lo up
ip addr add 192.0.2.88/24 dev lo
exec python3 -c "import socket, time; made = socket.create_server(('', 8099)); time.sleep(600)"
"""
"""A service in a network of its own, as in a container."""


def test_who_listens_is_told_with_its_workload(one: Fleet) -> None:
    web, loner = one["a"].lab.puppet("web.service"), one["a"].lab.puppet("loner.service")
    one["a"].wait_attested(web.pid, loner.pid)
    tcp = [web.listen(address, 8080) for address in ("0.0.0.0", "fd00::1")]
    udp, other = web.udp(bind=("127.0.0.1", 5353)), loner.listen("192.0.2.1", 8081)
    client = web.udp(bind=("0.0.0.0", 0))
    assert all(reply.ok for reply in (*tcp, udp, other, client))
    inside = one["a"].lab.spawn(["unshare", "--net", "sh", "-c", ELSEWHERE], "web.service")
    wanted = {
        OWN,
        "tcp 0.0.0.0:8080 front/web",
        "tcp [fd00::1]:8080 front/web",
        "udp 127.0.0.1:5353 front/web",
        "tcp 192.0.2.1:8081 host",
        "tcp 0.0.0.0:8099 front/web",
    }
    found = wait_shown(one, lambda host: set(host["listeners"]) == wanted, "who listens")
    assert "192.0.2.88" not in str(found), "what another network has is not the host's"
    assert "  tcp 0.0.0.0:8080 front/web\n" in one.operator.ctl("hosts", "show", "a")
    for program in (web.process, inside):
        program.kill9()
    wanted = {OWN, "tcp 192.0.2.1:8081 host"}
    wait_shown(one, lambda host: set(host["listeners"]) == wanted, "who is left")
    loner.process.kill9()


FORKED = (
    "import os, socket, time; made = socket.create_server(('', 8097)); os.fork(); time.sleep(600)"
)
CLAIMED = Process(777, 0, 0, 0, 0, 0, 0, 0, 0)
"""What a process is taken for; whose a socket is, the socket itself tells."""


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_listener_is_its_workloads_as_long_as_anybody_holds_it(one: Fleet) -> None:
    program = one["a"].lab.spawn([sys.executable, "-c", FORKED], "web.service")
    one["a"].wait_attested(program.pid)
    wait_until(lambda: children(program.pid), "it has forked")
    (child,) = children(program.pid)
    listeners, web = Listeners(one["a"].pins / "maps"), one["a"].identity(program.pid)
    both = {program.pid: CLAIMED, child: CLAIMED}

    def seen(processes: dict[int, Process]) -> list[int]:
        return [found.identity for found in listeners.look(processes) if found.port == 8097]

    assert seen(both) == [web]
    program.kill9()
    assert seen({child: CLAIMED}) == [web], "the other one holds it"
    assert seen({}) == []


def test_socket_that_nobody_of_ours_holds_is_looked_for_again_after_a_while(one: Fleet) -> None:
    web, other = one["a"].lab.puppet("web.service"), one["a"].lab.puppet("other.service")
    one["a"].wait_attested(web.pid, other.pid)
    assert web.listen("0.0.0.0", 8096).ok
    listeners = Listeners(one["a"].pins / "maps")
    before = listeners.look({other.pid: CLAIMED})
    assert before == [], "it is not other's, and of web nothing is known"
    both = {other.pid: CLAIMED, web.pid: CLAIMED}
    looks = [len(listeners.look(both)) for _ in range(NOBODYS_LOOKS)]
    assert looks == [0] * (NOBODYS_LOOKS - 1) + [1]
    web.process.kill9()
    other.process.kill9()


def test_suspension_is_told_and_its_end(one: Fleet) -> None:
    command(one["a"], "suspend")
    found = wait_shown(one, lambda host: host["agent_state"] == "suspended", "the suspension")
    assert "all traffic passes" in found["host"]["trouble"]
    command(one["a"], "resume")
    found = wait_shown(one, lambda host: host["agent_state"] == "in_sync", "its end")
    assert not found["host"].get("trouble")


def test_uninstalling_is_told_before_the_command_ends(one: Fleet) -> None:
    one["a"].close()
    said = command(one["a"], "uninstall")
    assert "was told" in said
    found = wait_shown(one, lambda host: host["agent_state"] == "uninstalled", "the end")
    assert found["host"]["trouble"] == "uninstalled by an administrator, all traffic passes"


def test_new_address_of_a_host_is_known_to_its_peers(pair: Fleet) -> None:
    server, client = pair["a"], pair["b"]
    db, web = server.lab.puppet("db.service"), client.lab.puppet("web.service")
    server.wait_attested(db.pid)
    client.wait_attested(web.pid)
    assert db.listen("0.0.0.0", PORT).ok
    networks = [word for net in ("192.0.2.0/24", "fd00::/64") for word in ("--network", net)]
    pair.operator.ctl("hosts", "set", "a", "--reported-addresses", *networks, "-m", "dhcp")
    for address in (f"{NEW}/24", "198.51.100.7/24"):
        server.lab.tool(["ip", "addr", "add", address, "dev", INTERFACE])
    assert web.connect(server.lab.v4, PORT).ok
    assert not web.connect(NEW, PORT).ok, "nobody knows yet whose it is"
    wanted = {server.lab.v4, server.lab.v6, NEW}
    found = wait_shown(
        pair, lambda host: set(host["host"]["addresses"]) == wanted, "the new address"
    )
    assert found["addresses_refused"] == ["198.51.100.7: is in none of the host's networks"]
    assert "198.51.100.7: is in none of" in pair.operator.ctl("hosts", "show", "a")
    wait_until(
        lambda: web.connect(NEW, PORT).ok, "the peer knows db by its new address", timeout=HEARD
    )
    server.lab.tool(["ip", "addr", "del", f"{NEW}/24", "dev", INTERFACE])
    wait_shown(pair, lambda host: NEW not in host["host"]["addresses"], "that it is gone")


def test_uninstalling_does_not_wait_for_a_controller_that_is_not_there(one: Fleet) -> None:
    one.controller.kill9()
    said = command(one["a"], "uninstall")
    assert "Detached and removed 0 pins" in said
    assert "No controller could be told of it: " in said
