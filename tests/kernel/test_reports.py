# SPDX-License-Identifier: Apache-2.0
"""What a controller hears of a host from its agent: who runs there, and that nothing is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kernel.world import ALLOW, policy
from tests.lab import wait_until
from tests.lab.cordon import AGENT, ROOT, CordonHost
from tests.lab.fleet import Fleet, fleet

HEARD = 90.0
"""A report is due after ten to twenty seconds, and written down a second later."""


@pytest.fixture(scope="module")
def one() -> Iterator[Fleet]:
    with fleet(policy(ALLOW), ("a",)) as running:
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


def test_uninstalling_does_not_wait_for_a_controller_that_is_not_there(one: Fleet) -> None:
    one.controller.kill9()
    said = command(one["a"], "uninstall")
    assert "Detached and removed 0 pins" in said
    assert "No controller could be told of it: " in said
