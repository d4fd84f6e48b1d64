# SPDX-License-Identifier: Apache-2.0
"""Selectors against real processes: content, containers, groups, and programs told apart."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.identities import Host, one_host, policy, workload
from tests.lab import wait_until

PYTHON = os.path.realpath("/usr/bin/python3")
CONTAINER = "5e" * 32
PROGRAM = """
#include <unistd.h>
int main(void)
{
	for (;;)
		pause();
}
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that every user may read, with `static`, a static binary, and `other` like it."""
    folder = Path("/var/tmp") / tmp_path_factory.mktemp("programs").name
    folder.mkdir(mode=0o755)
    (folder / "main.c").write_text(PROGRAM)
    for name in ("static", "other"):
        command = ["gcc", "-static", "-O1", "-o", str(folder / name), str(folder / "main.c")]
        subprocess.run([*command, f'-DNAME="{name}"'], check=True, timeout=60)
    with (folder / "other").open("ab") as file:
        file.write(b"another content")
    yield folder
    shutil.rmtree(folder)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def host(programs: Path) -> Iterator[Host]:
    text = policy(
        workload("script", f"exe: {PYTHON}, user: nobody"),
        workload("binary", f"exe: {programs}/static, user: nobody"),
        workload("hashed", f"sha256: '{digest(programs / 'other')}'"),
        workload("boxed", f"container: {CONTAINER[:12]}"),
        workload("grouped", "gid: 4711"),
    )
    with one_host(text) as running:
        yield running


def test_script_and_static_binary_are_told_apart_on_one_host_under_one_user(
    host: Host, programs: Path
) -> None:
    script = programs / "script.py"
    script.write_text(f"#!{PYTHON} -S\nimport time\ntime.sleep(60)\n")
    script.chmod(0o755)
    started = [
        host.lab.spawn([str(path)], "same.service", user="nobody")
        for path in (script, programs / "static")
    ]
    assert [host.settled(process.pid) for process in started] == ["script", "binary"]


def test_content_is_known_under_any_path_and_evidence_says_so(host: Host, programs: Path) -> None:
    copy = programs / "renamed"
    shutil.copy(programs / "other", copy)
    process = host.becomes(host.lab.spawn([str(copy)]).pid, "hashed")
    assert process.evidence == [f"sha256={digest(copy)}"]


def test_other_content_under_the_same_path_is_host(host: Host, programs: Path) -> None:
    path = programs / "replaced"
    shutil.copy(programs / "other", path)
    host.becomes(host.lab.spawn([str(path)]).pid, "hashed")
    fresh = programs / "replaced.new"
    shutil.copy(programs / "other", fresh)
    with fresh.open("ab") as file:
        file.write(b"!")
    fresh.rename(path)
    assert host.settled(host.lab.spawn([str(path)]).pid) == "host"


def test_group_is_told_by_its_number(host: Host) -> None:
    assert host.settled(host.lab.spawn(["sleep", "60"], user=4711).pid) == "grouped"
    assert host.settled(host.lab.spawn(["sleep", "60"], user=4712).pid) == "host"


def test_container_is_told_by_its_cgroup(host: Host) -> None:
    inside = host.lab.spawn(["sleep", "60"], f"system.slice/docker-{CONTAINER}.scope")
    other = host.lab.spawn(["sleep", "60"], f"system.slice/docker-{'6f' * 32}.scope")
    users = "user.slice/user-1000.slice/user@1000.service"
    rootless = host.lab.spawn(["sleep", "60"], f"{users}/docker-{CONTAINER}.scope")
    found = [host.settled(process.pid) for process in (inside, other, rootless)]
    assert found == ["boxed", "host", "host"]


def test_file_beyond_the_limit_is_attested_without_its_hash(programs: Path) -> None:
    text = policy(
        workload("hashed", f"sha256: '{digest(programs / 'other')}'"),
        workload("placed", "unit: big.service"),
    )
    with one_host(text) as small:
        small.running.settings = {"hash_limit_mib": 0}
        small.running.apply(text)
        process = small.lab.spawn([str(programs / "other")], "big.service")
        assert small.settled(process.pid) == "placed"
        assert "the limit is 0" in small.agent.agent.output()  # type: ignore[union-attr]
        small.running.settings = {}
        small.running.apply(text)
        small.becomes(process.pid, "hashed")


def test_others_are_attested_while_a_large_file_is_hashed(programs: Path) -> None:
    """A sparse gigabyte takes longer to hash than a hundred attestations, which do not wait."""
    large = programs / "large"
    shutil.copy(programs / "static", large)
    with large.open("ab") as file:
        file.truncate(1 << 30)
    wanted = policy(
        workload("never", f"sha256: '{'0' * 64}', unit: large.service"),
        workload("quick", "unit: quick.service"),
    )
    with one_host(wanted) as host:
        host.running.settings = {"hash_limit_mib": 2048, "hold_limit": "60s"}
        host.running.apply(wanted)
        slow = host.lab.spawn([str(large)], "large.service")
        host.becomes(slow.pid, "pending")
        quick = [host.lab.spawn(["sleep", "60"], "quick.service") for _ in range(5)]
        assert {host.settled(process.pid) for process in quick} == {"quick"}
        assert host.process(slow.pid).state == "pending"  # type: ignore[union-attr]
        wait_until(lambda: host.settled(slow.pid, 60) == "host", "it is hashed", timeout=60)
    large.unlink()
