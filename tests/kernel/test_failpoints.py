# SPDX-License-Identifier: Apache-2.0
"""The agent dies at named places of what must last: a switch of policy, and the cache behind it.

Before the one store that switches, the old revision is in force; after it the new one; and whatever
the next agent finds in the slot that is not in force does not disturb it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from agent.edge.control_page import ControlPage
from agent.edge.failpoint import VARIABLE
from agent.edge.hooks import Pins
from tests.kernel.siege import Siege, besieged, count_resets, resets, wait_tidy
from tests.lab import wait_until
from tests.lab.cordon import CordonHost

DIES_SECONDS = 60.0
"""A start under load that ends at the failpoint."""
BEFORE = (
    "policy.filled@1",
    "policy.filled@7",
    "policy.before-install@1",
    "policy.before-install@4",
    "policy.before-install@7",
    "policy.before-switch",
)
AFTER = ("policy.after-switch", "file.before-write", "file.before-rename", "file.after-rename")


def generation(host: CordonHost) -> int:
    """The kernel's own word, whoever runs."""
    page = ControlPage(Pins(host.pins).maps)
    try:
        return page.generation
    finally:
        page.close()


def die_at(host: CordonHost, point: str) -> None:
    """A new agent, with what was published last, that is killed at this place."""
    if host.agent is not None and host.agent.alive:
        host.kill9()
    host.start({VARIABLE: f"{point}:kill"})
    agent = host.agent
    assert agent is not None
    wait_until(lambda: not agent.alive, f"it dies at {point}", timeout=DIES_SECONDS)
    assert agent.exit_status == -signal.SIGKILL, agent.output()
    host.close()
    assert "event=failpoint_armed" in agent.output()


@pytest.fixture
def siege() -> Iterator[Siege]:
    with besieged() as made:
        yield made


def test_killed_at_each_place_of_a_switch_one_revision_is_in_force_and_whole(
    siege: Siege,
) -> None:
    for lab in (siege.world.a, siege.world.b):
        count_resets(lab)
    before = siege.totals()
    for number, point in enumerate((*BEFORE, *AFTER)):
        host = siege.cordon["ab"[number % 2]]
        siege.publish()
        was = generation(host)
        die_at(host, point)
        assert (generation(host) != was) == (point in AFTER), point
        before = _check(siege, before, point)
    for host in siege.cordon.hosts.values():
        host.start()
    for host in siege.cordon.hosts.values():
        host.wait_ready()
    siege.wait_newest("a", "b")
    for host in siege.cordon.hosts.values():
        wait_tidy(host)
        assert resets(host.lab) == 0
    siege.end()


def _check(siege: Siege, before: dict[str, int], when: str) -> dict[str, int]:
    siege.check(before, when)
    return siege.totals()


def test_a_switch_that_fails_leaves_the_old_revision_and_is_told(siege: Siege) -> None:
    host = siege.cordon["b"]
    host.kill9()
    host.start({VARIABLE: "policy.before-switch@2:error"})
    host.wait_ready()
    siege.wait_newest("b")
    was, version = generation(host), host.status().policy_version
    siege.publish()
    wait_until(lambda: host.status().refused, "it says that it did not switch")
    assert "failpoint policy.before-switch" in host.status().summary
    assert (generation(host), host.status().policy_version) == (was, version)
    siege.publish()
    siege.wait_newest("a", "b")
    siege.end()
