# SPDX-License-Identifier: Apache-2.0
"""The agent dies by SIGKILL, again and again, at any moment; the kernel goes on as before.

Connections that may be are made, those that may not are refused, long ones never break: while the
agent is dead, while it starts, and while it was killed in the middle of a new policy. What was in
force at each moment, and that it was one revision and whole, is the history's to say.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

from tests.kernel.siege import SEED, Siege, besieged, count_resets, resets, wait_tidy

KILLS = int(os.environ.get("CORDON_KILLS") or 50)


@pytest.fixture
def siege() -> Iterator[Siege]:
    with besieged() as made:
        yield made


def kill_once(siege: Siege, rng: random.Random) -> None:
    """Kill one agent at a random moment, in half of the cases of a switch; start a new one."""
    name = rng.choice("ab")
    host = siege.cordon[name]
    if rng.random() < 0.6:
        siege.publish()
        time.sleep(rng.uniform(0, 0.12))
    else:
        time.sleep(rng.uniform(0, 0.2))
    host.kill9()
    for unit in ("web.service", "api.service"):  # processes that come and go unseen
        host.lab.run(["/bin/true"], unit)
    host.start()
    if rng.random() < 0.2:  # again, before it is ready
        time.sleep(rng.uniform(0, 0.5))
        host.kill9()
        host.start()
    host.wait_ready()
    siege.wait_newest(name)


def test_fifty_kills_change_no_verdict_and_break_no_connection(siege: Siege) -> None:
    print(f"CORDON_SEED={SEED}")
    rng = random.Random(SEED)
    for host in (siege.world.a, siege.world.b):
        count_resets(host)
    for number in range(KILLS):
        before = siege.totals()
        kill_once(siege, rng)
        siege.check(before, f"kill {number}")
    for agent in siege.cordon.hosts.values():
        wait_tidy(agent)
        assert resets(agent.lab) == 0
    siege.end()
