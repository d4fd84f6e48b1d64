# SPDX-License-Identifier: Apache-2.0
"""Services that listen, fork away and end, before anybody could say who they are."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.kernel.world import BASE, PORT, QUIET, World
from tests.lab import LabProcess, wait_until
from tests.lab.cordon import cordon

DAEMON = """
import os, socket, sys, time
listener = socket.create_server(("0.0.0.0", {port}))
print("listens", flush=True)
while not os.path.exists({go_on!r}):
    time.sleep(0.01)
if os.fork():
    os._exit(0)
print("daemon", os.getpid(), flush=True)
while True:
    listener.accept()[0].close()
"""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with cordon(BASE) as running:
        yield World.build(running)


def start(world: World, port: int, go_on: str) -> LabProcess:
    code = DAEMON.format(port=port, go_on=str(world.b.folder / go_on))
    process = world.b.spawn(["/usr/bin/python3", "-I", "-S", "-c", code], "db.service")
    wait_until(lambda: "listens" in process.output(), "it listens")
    return process


def fork_away(world: World, process: LabProcess, go_on: str) -> int:
    """The pid of who is left."""
    world.b.write_file(go_on, "")
    assert process.wait() == 0
    wait_until(lambda: "daemon" in process.output(), "the daemon lives")
    return int(process.output().split()[-1])


def is_served_as_db(world: World, port: int) -> None:
    client = world.web.connect(world.b.v4, port, timeout=2.0)
    assert client.ok, client
    (end,) = (s for s in world.cordon["a"].sockets(world.web.pid) if s.remote_port == port)
    assert (end.peer_workload, end.proof) == ("data/db", "tag")
    world.web.close(client.handle, reset=True)
    assert world.loner.connect(world.b.v4, port, timeout=QUIET).error == "TIMEOUT"


def test_listener_of_one_who_ended_unattested_is_the_daemons(world: World) -> None:
    agent = world.cordon["b"].agent
    assert agent is not None
    agent.signal(signal.SIGSTOP)  # nobody answers the kernel's question
    daemon = fork_away(world, start(world, PORT, "one"), "one")
    agent.signal(signal.SIGCONT)
    world.cordon["b"].wait_attested(daemon)
    is_served_as_db(world, PORT)


def test_listener_made_before_its_process_was_attested_outlives_it(world: World) -> None:
    """The daemon is a copy of an attested process: nobody asks about it."""
    agent = world.cordon["b"].agent
    assert agent is not None
    agent.signal(signal.SIGSTOP)
    process = start(world, 5441, "two")
    agent.signal(signal.SIGCONT)
    world.cordon["b"].wait_attested(process.pid)
    fork_away(world, process, "two")
    is_served_as_db(world, 5441)
