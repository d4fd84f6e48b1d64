# SPDX-License-Identifier: Apache-2.0
"""The lab goes away: after its end, an exception, a signal, and the death of who had it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import Lab, LabError, LabProcess, Sniffer, sweep, traces_of, wait_until
from tests.lab.kernel import mounts_below
from tests.lab.names import start_time

ROOT = Path(__file__).parents[2]


def _command_is_gone(pid: int) -> bool:
    return start_time(pid) is None


def _leaves_nothing(name: str) -> bool:
    return traces_of(name) == [] and mounts_below(Path("/run") / name) == []


def _start_everything(lab: Lab) -> list[LabProcess]:
    """One of each that has to go: programs, a puppet, a kept socket, children that fork."""
    Sniffer(lab["a"])
    (lab["a"].pins / "folder").mkdir()
    forking = lab["a"].spawn(["sh", "-c", "setsid sleep 61 & setsid sleep 62 & wait"])
    return [forking, lab["b"].puppet().process, lab["b"].start_daemon(["sleep", "63"])]


def test_everything_is_gone_after_the_end() -> None:
    with Lab("a", "b") as lab:
        processes = _start_everything(lab)
        assert len(traces_of(lab.name)) == 4  # run folder, two namespaces, cgroup
        assert [p.name for p in mounts_below(lab.run_folder)] == ["bpf"]
        assert lab.run_folder.stat().st_mode & 0o777 == 0o700
        members = [int(p) for f in lab.cgroup.rglob("cgroup.procs") for p in f.read_text().split()]
        assert len(members) >= 5
    assert _leaves_nothing(lab.name)
    assert all(_command_is_gone(pid) for pid in members)
    assert not any(process.alive for process in processes)


def test_everything_is_gone_after_an_exception() -> None:
    lab = Lab("a", "b", "c")

    def fail() -> None:
        with lab:
            _start_everything(lab)
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert _leaves_nothing(lab.name)


def test_everything_is_gone_after_a_failure_to_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # `ip` is first asked for when the namespaces stand
    lab = Lab("a", "b")
    with pytest.raises(LabError, match="the lab needs `ip`"):
        lab.__enter__()
    assert _leaves_nothing(lab.name)


def test_two_labs_stand_at_once() -> None:
    with Lab("a", "b") as one:
        with Lab("a", "b") as other:
            assert one["a"].run(["true"]).returncode == other["a"].run(["true"]).returncode == 0
        assert _leaves_nothing(other.name)
        assert one["a"].run(["true"]).returncode == 0
    assert _leaves_nothing(one.name)


CHILD = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.lab import Lab
with Lab("a", "b") as lab:
    started = lab["a"].spawn(["sh", "-c", "sleep 60 & wait"])
    print(lab.name, started.pid, flush=True)
    time.sleep(60)
"""


def _lab_in_a_child() -> tuple["subprocess.Popen[str]", str, int]:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    with child.stdout as stream:
        name, pid = stream.readline().split()
    return child, name, int(pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_everything_is_gone_after_a_signal(number: signal.Signals) -> None:
    child, name, pid = _lab_in_a_child()
    assert traces_of(name)
    child.send_signal(number)
    assert child.wait(10) != 0
    assert _leaves_nothing(name)
    assert _command_is_gone(pid)


def test_sweep_removes_the_lab_of_a_killed_owner_and_no_other(lab: Lab) -> None:
    child, name, pid = _lab_in_a_child()
    child.kill()
    child.wait(10)
    assert traces_of(name)
    assert name in sweep()
    assert _leaves_nothing(name)
    wait_until(lambda: _command_is_gone(pid), "the orphaned program to be gone")
    assert lab["a"].run(["true"]).returncode == 0
