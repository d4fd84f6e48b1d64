# SPDX-License-Identifier: Apache-2.0
"""How `cordonctl`'s commands end when nobody reads, nothing can be written, or the agent goes."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from agent.cli.output import Exit
from tests.unit.cordonctl import CORDONCTL, END_SECONDS, ROOT, run, start
from tests.unit.local_agent import LocalAgent, local_agent


def test_ctrl_c_ends_observe_without_a_word(agent: LocalAgent) -> None:
    child = start(agent, "observe")
    agent.wait_for_observers(1)
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=END_SECONDS) == (b"", b"")
    assert child.returncode == Exit.OK


def test_observe_ends_as_soon_as_nobody_reads(agent: LocalAgent) -> None:
    """Not only at the next event: `observe | head -1` on a quiet host."""
    reader, writer = os.pipe()
    child = start(agent, "observe", stdout=writer)
    os.close(writer)
    agent.wait_for_observers(1)
    os.close(reader)
    _, err = child.communicate(timeout=END_SECONDS)
    assert (child.returncode, err) == (Exit.OK, b"")
    agent.wait_for_observers(0)


@pytest.mark.parametrize("output", ["table", "json"])
def test_closed_pipe_is_no_traceback(agent: LocalAgent, output: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    child = start(agent, "status", "--output", output, stdout=writer)
    os.close(writer)
    _, err = child.communicate(timeout=END_SECONDS)
    assert (child.returncode, err) == (Exit.REFUSED, b"")


def test_full_disk_is_a_sentence(agent: LocalAgent) -> None:
    with open("/dev/full", "wb") as full:
        child = start(agent, "ps", stdout=full.fileno())
        _, err = child.communicate(timeout=END_SECONDS)
    assert err == b"cordonctl: the answer cannot be written: No space left on device\n"
    assert child.returncode == Exit.REFUSED


def test_no_stdout_is_a_sentence(agent: LocalAgent) -> None:
    line = f"exec {' '.join(CORDONCTL)} status --socket {agent.socket} >&-"
    done = subprocess.run(["sh", "-c", line], cwd=ROOT, stderr=subprocess.PIPE, timeout=END_SECONDS)
    assert done.returncode == Exit.REFUSED
    assert done.stderr == b"cordonctl: stdout is closed, there is nowhere to write the answer\n"


def test_agent_that_ends_while_it_is_observed_is_status_1(tmp_path: Path) -> None:
    with local_agent(tmp_path) as agent:
        child = start(agent, "observe")
        agent.wait_for_observers(1)
    _, err = child.communicate(timeout=END_SECONDS)
    assert child.returncode == Exit.REFUSED
    assert err.startswith(f"cordonctl: there is no agent at {agent.socket}".encode())


@pytest.mark.parametrize("command", ["status", "observe"])
def test_agent_that_hangs_is_told_after_a_bound(
    agent: LocalAgent, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr("agent.cli.local.TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(agent.view, "status", go_on.wait)
    result = run(agent, command)
    go_on.set()
    assert result.exit_code == Exit.REFUSED
    assert f"the agent at {agent.socket} did not answer within 10 s" in result.stderr
