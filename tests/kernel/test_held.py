# SPDX-License-Identifier: Apache-2.0
"""How a connection ends that was held: its program could no longer be refused at once.

The agent is stopped meanwhile, so that nobody can say who asks, and what follows happens each time.
"""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kernel.world import BASE, PORT, World
from tests.lab import LabProcess, wait_until
from tests.lab.cordon import cordon

CLOSED = PORT + 1
"""No rule names it."""
OWN_REPEATS = 7
"""TCP_SYNCNT as the program sets it."""
SHORT_TIME_OUTS = 4.0
"""Seconds after which six doublings of the first time-out have passed, which is 2.6 s."""

PYTHON = "/usr/bin/python3"
SYN_SENT = "02"
"""In /proc/net/tcp: TCP_SYN_SENT of include/net/tcp_states.h."""

_PROGRAM = f"""
import errno, socket, sys
client = socket.socket()
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, {OWN_REPEATS})
for port in sys.argv[2:]:
    try:
        client.connect((sys.argv[1], int(port)))
        print("connected")
    except OSError as error:
        print(errno.errorcode.get(error.errno, error))
print(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT))
"""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    # A hold limit that no wait here reaches, however busy the machine is.
    with cordon(BASE, hold_limit_ms=60_000) as running:
        built = World.build(running)
        built.listen()
        yield built


def waits(program: LabProcess, port: int) -> bool:
    """Whether a socket of its network waits for this port's SYN-ACK."""
    assert program.alive, f"it did not wait: {program.output()}"
    table = Path(f"/proc/{program.pid}/net/tcp").read_text()
    return bool(re.search(f" [0-9A-F]{{8}}:{port:04X} {SYN_SENT} ", table))


@contextmanager
def held(world: World, folder: Path, *ports: int) -> Iterator[LabProcess]:
    """A program of web, new to the kernel, that connects to these ports of b one after the other
    with one socket; the first waits, while this goes on, for an agent that is stopped.
    """
    agent = world.cordon["a"].agent
    assert agent is not None
    shutil.copy(PYTHON, folder / "python")  # a file that was never seen
    agent.signal(signal.SIGSTOP)
    try:
        program = world.a.spawn(
            [str(folder / "python"), "-I", "-S", "-c", _PROGRAM, world.b.v4, *map(str, ports)],
            "web.service",
        )
        wait_until(lambda: waits(program, ports[0]), "its SYN waits", 10.0)
        yield program
    finally:
        agent.signal(signal.SIGCONT)


def lines(program: LabProcess) -> list[str]:
    """What it has printed when it has ended: much sooner than TCP by itself would give up."""
    program.wait(timeout=30.0)
    return program.output().splitlines()


def test_it_waits_for_longer_than_short_time_outs_would_last(world: World, tmp_path: Path) -> None:
    with held(world, tmp_path, PORT) as program:
        time.sleep(SHORT_TIME_OUTS)  # of the kernel: no slower on a slow machine
        assert program.alive, program.output()
    assert lines(program)[0] == "connected"


def test_it_is_given_up_when_it_turns_out_to_be_refused(world: World, tmp_path: Path) -> None:
    refused = world.verdict("a", "egress", "refuse", "no_rule")
    with held(world, tmp_path, CLOSED) as program:
        pass
    assert lines(program)[0] == "ETIMEDOUT"
    assert world.verdict("a", "egress", "refuse", "no_rule") > refused


def test_its_socket_connects_anew_as_its_program_would_have_it(
    world: World, tmp_path: Path
) -> None:
    with held(world, tmp_path, CLOSED, PORT) as program:
        pass
    assert lines(program) == ["ETIMEDOUT", "connected", str(OWN_REPEATS)]
