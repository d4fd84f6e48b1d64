# SPDX-License-Identifier: Apache-2.0
"""Every race between a process and the question who it is, with real processes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.identities import Host, one_host, policy, racer, read_line, workload, write_line
from tests.lab import LabError, wait_until

PORT = 7000
HELD = "held"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with racer() as made:
        for name in ("tool", "other"):
            shutil.copy(made / "racer", made / name)
        with (made / "other").open("ab") as file:
            file.write(b"another content")
        yield made


@pytest.fixture(scope="module")
def host(folder: Path) -> Iterator[Host]:
    content = hashlib.sha256((folder / "other").read_bytes()).hexdigest()
    text = policy(
        workload("web", "unit: web.service"),
        workload("tool", f"exe: {folder}/tool"),
        workload("content", f"sha256: '{content}'"),
        workload("starting", "unit: drop.service, uid: 0"),
        workload("dropped", "unit: drop.service, user: nobody"),
    )
    with one_host(text) as running:
        puppet = running.lab.puppet("web.service")
        running.settled(puppet.pid)
        assert puppet.listen("127.0.0.1", PORT).ok
        yield running


def tool(folder: Path, *arguments: str) -> list[str]:
    return [str(folder / "tool"), *arguments]


def plain(folder: Path, *arguments: str) -> list[str]:
    """A program that is no workload by itself."""
    return [str(folder / "racer"), *arguments]


def test_process_that_connects_right_after_exec_is_held_and_comes_through(
    host: Host, folder: Path
) -> None:
    """web's listener lets nobody in but web: who comes through was known as web."""
    before = host.agent.held_times()
    for number in range(20):
        copy = folder / f"fresh-{number}"  # a file that the kernel cannot know yet
        shutil.copy(folder / "racer", copy)
        done = host.lab.run([str(copy), "connect", str(PORT)], "web.service", timeout=20)
        copy.unlink()
        assert done.returncode == 0, done
    assert host.outcome(HELD) > 0
    assert sum(host.agent.held_times().values()) > sum(before.values())


def test_same_process_of_no_workload_does_not_come_through(host: Host, folder: Path) -> None:
    """It goes on trying, or gives up."""
    tries = host.lab.spawn(plain(folder, "connect", str(PORT)), "stranger.service")
    host.settled(tries.pid)
    with contextlib.suppress(LabError):
        assert tries.wait(1.0) != 0, tries.output()
    tries.kill9()


def test_process_that_ends_before_it_is_attested_leaves_nothing(host: Host, folder: Path) -> None:
    agent = host.agent.agent
    assert agent is not None
    for number in range(20):
        copy = folder / f"short-{number}"
        shutil.copy(folder / "racer", copy)
        agent.signal(signal.SIGSTOP)
        done = host.lab.run([str(copy), "end"], "web.service")
        agent.signal(signal.SIGCONT)
        assert done.returncode == 0
        copy.unlink()
    wait_until(
        lambda: set(host.entries()) <= set(host.living()), "dead processes' entries are gone"
    )


@pytest.mark.parametrize("stopped", [False, True], ids=["agent-runs", "agent-asleep"])
def test_reused_pid_is_not_taken_for_its_predecessor(
    host: Host, folder: Path, stopped: bool
) -> None:
    """With the agent asleep, the question is of one process and the answer of the other."""
    agent = host.agent.agent
    assert agent is not None
    copy = folder / "predecessor"
    shutil.copy(folder / "racer", copy)
    if stopped:
        agent.signal(signal.SIGSTOP)
    first = host.lab.spawn([str(copy), "wait"], "web.service")
    if not stopped:
        assert host.settled(first.pid) == "web"
    first.kill9()
    again = host.start(plain(folder, "reuse", str(first.pid), str(copy), "wait"), "else.service")
    assert read_line(again) == "done"
    if stopped:
        agent.signal(signal.SIGCONT)
    assert host.settled(first.pid) == "host"
    assert host.process(first.pid).cgroup.endswith("/else.service")  # type: ignore[union-attr]
    again.signal(signal.SIGKILL)
    os.kill(first.pid, signal.SIGKILL)
    copy.unlink()


def test_exec_by_another_thread_is_the_process_s(host: Host, folder: Path) -> None:
    process = host.lab.spawn(plain(folder, "thread", *tool(folder, "wait")), "x.service")
    host.becomes(process.pid, "tool")


def test_shell_that_execs_becomes_what_it_executes(host: Host, folder: Path) -> None:
    line = f"read x; exec {folder}/tool wait"
    process = host.start(["/bin/sh", "-c", line], "x.service")
    assert host.settled(process.pid) == "host"
    write_line(process)
    host.becomes(process.pid, "tool")


def test_executable_replaced_while_it_runs_is_what_it_was(host: Host, folder: Path) -> None:
    process = host.lab.spawn(tool(folder, "wait"), "x.service")
    host.becomes(process.pid, "tool")
    fresh = folder / "tool.new"
    shutil.copy(folder / "racer", fresh)
    fresh.rename(folder / "tool")
    assert Path(f"/proc/{process.pid}/exe").readlink().name.endswith("(deleted)")
    host.walk_again()
    assert host.settled(process.pid) == "tool"
    host.becomes(host.lab.spawn(tool(folder, "wait"), "x.service").pid, "tool")


def test_executable_written_to_between_two_runs_is_hashed_anew(host: Host, folder: Path) -> None:
    path = folder / "written"
    shutil.copy(folder / "other", path)
    first = host.lab.spawn([str(path), "wait"], "x.service")
    host.becomes(first.pid, "content")
    first.kill9()
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_size) == (before.st_ino, before.st_size)
    assert host.settled(host.lab.spawn([str(path), "wait"], "x.service").pid) == "host"


def test_executable_in_memory_has_no_path_and_is_known_by_content(host: Host, folder: Path) -> None:
    none = host.lab.spawn(plain(folder, "memfd", *tool(folder, "wait")), "x.service")
    assert host.settled_as(none.pid, "memfd:copy") == "host"
    known = host.lab.spawn(plain(folder, "memfd", str(folder / "other"), "wait"), "x.service")
    host.becomes(known.pid, "content")


def test_deleted_executable_keeps_its_identity(host: Host, folder: Path) -> None:
    path = folder / "deleted"
    shutil.copy(folder / "other", path)
    process = host.lab.spawn([str(path), "wait"], "x.service")
    path.unlink()
    host.becomes(process.pid, "content")
    host.walk_again()
    assert host.settled(process.pid) == "content"


def test_file_named_like_a_deleted_one_is_not_it(host: Host, folder: Path) -> None:
    path = folder / "tool (deleted)"
    shutil.copy(folder / "racer", path)
    assert host.settled(host.lab.spawn([str(path), "wait"], "x.service").pid) == "host"


def test_setuid_after_exec_is_seen_at_the_next_socket_call(host: Host, folder: Path) -> None:
    process = host.start(plain(folder, "setuid", "65534"), "drop.service")
    host.becomes(process.pid, "starting")
    write_line(process)
    assert read_line(process) == "done"
    host.becomes(process.pid, "dropped")


def test_process_moved_to_another_cgroup_is_seen_at_the_next_socket_call(host: Host) -> None:
    puppet = host.lab.puppet("x.service")
    assert host.settled(puppet.pid) == "host"
    (host.lab.unit_cgroup("web.service") / "cgroup.procs").write_text(str(puppet.pid))
    assert puppet.connect("127.0.0.1", PORT, timeout=5.0).ok, "held, and known as web"
    host.becomes(puppet.pid, "web")


def test_socket_inherited_through_exec_is_whose_uses_it(host: Host, folder: Path) -> None:
    """Opened by web, connected by another: web's listener must not take it for web's."""
    argv = plain(folder, "inherit", str(folder / "other"), "use", str(PORT))
    process = host.start(argv, "web.service")
    host.becomes(process.pid, "content")
    wait_until(lambda: host.owners(process.pid, "syn-sent") == ["s/content"], "it connects")
    process.kill9()


def test_socket_handed_over_by_fork_stays_the_workload_s(host: Host) -> None:
    code = (
        "import os,socket,sys,time\n"
        f"s=socket.create_connection(('127.0.0.1',{PORT}))\n"
        "pid=os.fork()\n"
        "print(pid,flush=True) if pid else None\n"
        "time.sleep(60 if not pid else 0)\n"
    )
    parent = host.start(["/usr/bin/python3", "-S", "-c", code], "web.service")
    child = int(read_line(parent))
    parent.wait()
    assert host.settled(child) == "web"
    assert host.owners(child) == ["s/web"]


def test_socket_received_by_rights_is_the_receiver_s_when_it_connects(
    host: Host, folder: Path
) -> None:
    path = folder / "rights"
    giver = host.start(plain(folder, "send", str(path)), "x.service")
    assert read_line(giver) == "done"
    receiver = host.start(plain(folder, "receive", str(path), str(PORT)), "web.service")
    assert read_line(receiver) == "done", "as x's the connection would not have come through"
    assert host.owners(receiver.pid) == ["s/web"]


@pytest.mark.parametrize("time", ["first", "second"])
def test_socket_activated_service_has_its_listener(host: Host, folder: Path, time: str) -> None:
    """An activator outside of any workload listens. The second time, the kernel knows the service's
    executable, as it does where the unit's ExecStartPre is the same program."""
    procs = host.lab.unit_cgroup("web.service") / "cgroup.procs"
    service = str(folder / "other")
    argv = plain(folder, "activate", "7001", str(procs), service, "accept")
    activator = host.start(argv, "init.scope")
    assert read_line(activator) == "listening"
    assert host.settled(activator.pid) == "host"
    write_line(activator)
    pid = int(read_line(activator))
    host.becomes(pid, "content")
    wait_until(lambda: host.owners(pid, "listen") == ["s/content"], "the listener is the service's")
    os.kill(pid, signal.SIGKILL)
    activator.kill9()


def test_process_in_other_namespaces_is_known_by_the_file_it_runs(host: Host, folder: Path) -> None:
    target = str(folder / "tool")
    same = host.start(plain(folder, "inside", target, target, target, "wait"), "x.service")
    pid = int(read_line(same))
    host.becomes(pid, "tool")
    fake = host.start(
        plain(folder, "inside", str(folder / "racer"), target, target, "wait"), "x.service"
    )
    pid = int(read_line(fake))
    assert host.settled_as(pid, target) == "host", "a file that was laid over the path"


def test_service_that_is_restarted_keeps_its_identity_in_its_new_cgroup(host: Host) -> None:
    first = host.lab.spawn(["sleep", "60"], "again.service")
    old = host.lab.unit_cgroup("again.service").stat().st_ino
    assert host.settled(first.pid) == "host"
    first = host.lab.spawn(["sleep", "60"], "web.service")
    assert host.settled(first.pid) == "web"
    host.lab.remove_unit("again.service")
    second = host.lab.spawn(["sleep", "60"], "again.service")
    assert host.lab.unit_cgroup("again.service").stat().st_ino != old
    assert host.settled(second.pid) == "host"


def test_names_that_no_text_can_hold_are_shown_and_attested(host: Host, folder: Path) -> None:
    raw = os.fsencode(folder) + b"/odd \xff\xfe\n(name) R 1"
    shutil.copy(folder / "racer", os.fsdecode(raw))
    process = host.start([os.fsdecode(raw), "named", "a) R 1 \n\udcff"], "web.service")
    assert read_line(process) == "done"
    found = host.becomes(process.pid, "web")
    assert "\\xff\\xfe" in found.exe
    assert found.command.startswith("a) R 1 ")


def test_cgroup_of_any_name_is_attested(host: Host) -> None:
    name = os.fsdecode(b"odd\xff")
    process = host.lab.spawn(
        ["sleep", "60"], f"web.service/{name}".replace("web", "system.slice/web")
    )
    found = host.becomes(process.pid, "web")
    assert found.cgroup == "/system.slice/web.service/odd\\xff"
