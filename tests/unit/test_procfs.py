# SPDX-License-Identifier: Apache-2.0
"""The facts of a process: all of one process and never of two, whatever it calls itself.

Processes here are files that a test writes; real ones are `test_procfs_real`'s.
"""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.edge.procfs import (
    FactsUnreadable,
    ForeignProc,
    ProcessGone,
    ProcessReader,
    Scarce,
    require_kernels_numbers,
)
from tests.unit.fake_proc import NO_PATHS, FakeProc, paths


@pytest.fixture
def fake(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path)


# ---- one process


def test_facts_are_those_of_the_files(fake: FakeProc) -> None:
    exe = fake.folder / "web"
    exe.touch()
    fake.add(42, exe=exe)
    facts = fake.reader.read(42, NO_PATHS)
    assert (facts.pid, facts.started, facts.command) == (42, 1000, "web")
    assert (facts.uid, facts.gid) == (1001, 1002)
    assert facts.cgroup == "/web.service"
    assert facts.cgroup_id == (fake.root / "web.service").stat().st_ino
    found = exe.stat()
    device = os.major(found.st_dev) << 20 | os.minor(found.st_dev)
    assert (facts.exe, facts.inode, facts.device) == (str(exe), found.st_ino, device)
    assert (facts.ctime_ns, facts.links) == (found.st_ctime_ns, 1)


def test_the_root_of_the_instance_is_a_slash(fake: FakeProc) -> None:
    fake.add(42, cgroup="/guarded")
    assert fake.reader.read(42, NO_PATHS).cgroup == "/"


@pytest.mark.parametrize("cgroup", ["/elsewhere", "/guarded-not", "/", "/../guarded"])
def test_a_process_outside_the_root_is_none_of_ours(fake: FakeProc, cgroup: str) -> None:
    fake.add(42, cgroup="/guarded")
    (fake.proc / "42/cgroup").write_text(f"0::{cgroup}\n")
    with pytest.raises(ProcessGone):
        fake.reader.read(42, NO_PATHS)


@pytest.mark.parametrize(
    "command", ["a b", "a) S 1 (b", ")", "(", "\x0bUid:0\x0bGid:0", "Uid:\x850", "x\x1cUid:0"]
)
def test_a_command_cannot_forge_what_stands_beside_it(fake: FakeProc, command: str) -> None:
    fake.add(42, command=command)
    facts = fake.reader.read(42, NO_PATHS)
    assert (facts.command, facts.uid, facts.gid, facts.started) == (command, 1001, 1002, 1000)


@pytest.mark.parametrize("name", [b"\xff", b"\x0b", "\u2028".encode(), b"0::", b"a b"])
def test_a_cgroup_may_have_any_name(fake: FakeProc, name: bytes) -> None:
    fake.add(42, cgroup=f"/guarded/web.service/{os.fsdecode(name)}")
    facts = fake.reader.read(42, NO_PATHS)
    assert os.fsencode(facts.cgroup) == b"/web.service/" + name
    assert facts.cgroup_id == (fake.root / "web.service" / os.fsdecode(name)).stat().st_ino


@pytest.mark.parametrize("state", ["Z", "X"])
def test_what_has_ended_is_gone_also_before_it_is_reaped(fake: FakeProc, state: str) -> None:
    fake.add(42, state=state)
    with pytest.raises(ProcessGone):
        fake.reader.read(42, NO_PATHS)


def test_what_is_not_there_is_gone(fake: FakeProc) -> None:
    with pytest.raises(ProcessGone):
        fake.reader.read(42, NO_PATHS)


def test_a_cgroup_that_vanishes_meanwhile_takes_its_process_along(fake: FakeProc) -> None:
    fake.add(42)
    shutil.rmtree(fake.root / "web.service")
    with pytest.raises(ProcessGone):
        fake.reader.read(42, NO_PATHS)


def test_a_thread_of_the_kernel_has_no_executable(fake: FakeProc) -> None:
    fake.add(2, exe=None, cgroup="/guarded")
    facts = fake.reader.read(2, NO_PATHS)
    assert (facts.exe, facts.inode, facts.device, facts.links) == ("", 0, 0, 0)


@pytest.mark.parametrize("file", ["stat", "status"])
def test_what_cannot_be_understood_is_not_gone(fake: FakeProc, file: str) -> None:
    (fake.add(42) / file).write_text("nonsense")
    with pytest.raises(FactsUnreadable):
        fake.reader.read(42, NO_PATHS)


# ---- whether a path of an executable is to be believed


def test_a_path_is_vouched_for_only_if_policy_names_it(fake: FakeProc) -> None:
    fake.add(42)
    assert fake.reader.read(42, paths({"/bin/sh"})).exe_vouched
    assert not fake.reader.read(42, paths({"/bin/true"})).exe_vouched


def test_in_another_mount_namespace_the_hosts_own_file_is_compared(fake: FakeProc) -> None:
    fake.add(42)
    fake.own_namespace(42)
    assert fake.reader.read(42, paths({"/bin/sh"})).exe_vouched


@pytest.mark.parametrize("on_the_host", ["nothing", "another file", "the same file"])
def test_a_path_is_believed_if_the_host_has_that_very_file_there(
    fake: FakeProc, monkeypatch: pytest.MonkeyPatch, on_the_host: str
) -> None:
    """A relative path stands for one that means another file in the process's own namespace."""
    folder = fake.add(42, exe=Path("image"))
    (folder / "image").touch()
    fake.own_namespace(42)
    host = fake.folder / "host"
    host.mkdir()
    monkeypatch.chdir(host)
    if on_the_host == "another file":
        Path("image").touch()
    elif on_the_host == "the same file":
        Path("image").symlink_to(folder / "image")
    facts = fake.reader.read(42, paths({"image"}))
    assert (facts.exe, facts.exe_vouched) == ("image", on_the_host == "the same file")


# ---- whether it is still the same


def test_nothing_has_changed(fake: FakeProc) -> None:
    fake.add(42)
    assert fake.reader.unchanged(fake.reader.read(42, NO_PATHS))


@pytest.mark.parametrize("what", ["started", "uid", "cgroup", "exe"])
def test_any_change_is_seen(fake: FakeProc, what: str) -> None:
    fake.add(42)
    facts = fake.reader.read(42, NO_PATHS)
    fake.end(42)
    changed = {"started": {"started": 1001}, "cgroup": {"cgroup": "/guarded/b.service"},
               "exe": {"exe": Path("/bin/cat")}}  # fmt: skip
    fake.add(42, **changed.get(what, {}))  # type: ignore[arg-type]
    if what == "uid":
        status = fake.proc / "42/status"
        status.write_text(status.read_text().replace("1001", "1003"))
    assert not fake.reader.unchanged(facts)


def test_another_process_of_that_number_is_not_asked_when_the_first_is_gone(
    fake: FakeProc,
) -> None:
    fake.add(42)
    facts = fake.reader.read(42, NO_PATHS)
    fake.end(42)
    with pytest.raises(ProcessGone):
        fake.reader.unchanged(facts)


# ---- all processes


def test_walk_reads_every_process_below_the_root(fake: FakeProc) -> None:
    fake.add(1, cgroup="/guarded")
    fake.add(2, cgroup="/guarded/a.service")
    fake.add(3, cgroup="/guarded/a.service/deep")
    fake.add(4, cgroup="/elsewhere")
    seen, living = fake.reader.walk(NO_PATHS)
    assert {pid: facts.cgroup for pid, facts in seen.items()} == {
        1: "/", 2: "/a.service", 3: "/a.service/deep",
    }  # fmt: skip
    assert living == {1, 2, 3}


def test_walk_tells_the_unreadable_from_the_gone(fake: FakeProc) -> None:
    (fake.add(1) / "status").write_text("nonsense")
    fake.add(2)
    fake.end(2)
    seen, living = fake.reader.walk(NO_PATHS)
    assert not seen
    assert living == {1}


@contextmanager
def no_descriptor_left(but: int) -> Iterator[None]:
    """This process may open so many files more, and no other."""
    taken: list[int] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 9, hard)
    )
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(but):
            os.close(taken.pop())
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("left", [0, 1])
def test_who_cannot_be_looked_at_for_want_of_descriptors_is_not_gone(
    fake: FakeProc, left: int
) -> None:
    fake.add(42)
    facts = fake.reader.read(42, NO_PATHS)
    with no_descriptor_left(but=left):
        with pytest.raises(Scarce, match="Too many open files"):
            fake.reader.read(42, NO_PATHS)
        with pytest.raises(Scarce):
            fake.reader.unchanged(facts)
        with pytest.raises(Scarce):
            fake.reader.walk(NO_PATHS)
    assert fake.reader.walk(NO_PATHS) == ({42: facts}, frozenset({42}))


def test_names_that_could_not_be_looked_up_for_want_of_descriptors_are_looked_up_again(
    fake: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """getpwuid(3) then says that there is no such user."""
    fake.add(42)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    assert fake.reader.read(42, NO_PATHS).user == ""
    with no_descriptor_left(but=0), pytest.raises(Scarce):
        fake.reader.read(42, NO_PATHS)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: SimpleNamespace(pw_name="web"))
    assert fake.reader.read(42, NO_PATHS).user == "web"


def test_what_is_outside_of_our_cgroup_namespace_is_none_of_ours(fake: FakeProc) -> None:
    fake.add(42)
    (fake.proc / "42/cgroup").write_text("0::/../system.slice/other.service\n")
    whole = ProcessReader(fake.mount, fake.mount, fake.proc)
    with pytest.raises(ProcessGone):
        whole.read(42, NO_PATHS)


def test_a_proc_that_numbers_otherwise_than_the_kernel_is_refused(fake: FakeProc) -> None:
    with pytest.raises(ForeignProc, match="pid namespace"):
        require_kernels_numbers(fake.proc)
    (fake.add(2, cgroup="/guarded") / "comm").write_text("sh\n")
    with pytest.raises(ForeignProc):
        require_kernels_numbers(fake.proc)
    (fake.proc / "2/comm").write_text("kthreadd\n")
    require_kernels_numbers(fake.proc)


# ---- names of users


def test_names_are_kept_until_they_are_to_be_forgotten(
    fake: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add(42)
    asked: list[int] = []

    def look_up(uid: int) -> None:
        asked.append(uid)
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", look_up)
    assert [fake.reader.read(42, NO_PATHS).user for _ in range(3)] == [""] * 3
    fake.reader.forget()
    fake.reader.read(42, NO_PATHS)
    assert asked == [1001, 1001]
