# SPDX-License-Identifier: Apache-2.0
"""The cgroup v2 hierarchy as files: found, measured, read, whatever users have named things."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.edge import cgroups
from agent.edge.cgroups import CgroupError


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    return tmp_path / "mounts"


def test_mount_point_is_found_wherever_it_is(mounts: Path) -> None:
    mounts.write_text(
        "proc /proc proc rw 0 0\n"
        "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nosuid 0 0\n"
    )
    assert cgroups.mount_point(mounts) == Path("/sys/fs/cgroup/unified")


def test_mount_point_is_unescaped(mounts: Path) -> None:
    mounts.write_bytes(b"none /a\\040b\\134c\xc3\xa9 cgroup2 rw 0 0\n")
    assert cgroups.mount_point(mounts) == Path("/a b\\cé")


def test_what_users_mount_under_any_name_does_not_disturb(mounts: Path) -> None:
    mounts.write_bytes(
        b"x /home/u/\xff fuse rw 0 0\n"
        b"x /home/u/\x0bcgroup2\xe2\x80\xa8x /evil cgroup2\x0b fuse rw 0 0\n"
        b"none /sys/fs/cgroup cgroup2 rw 0 0\n"
    )
    assert cgroups.mount_point(mounts) == Path("/sys/fs/cgroup")


def test_no_cgroup_v2_is_a_sentence_with_the_way_out(mounts: Path) -> None:
    mounts.write_text("proc /proc proc rw 0 0\n")
    with pytest.raises(CgroupError, match=r"no cgroup v2 hierarchy is mounted.*mount -t cgroup2"):
        cgroups.mount_point(mounts)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("0::/a.slice/b.service\n", "/a.slice/b.service"),
        ("4:memory:/x\n1:name=systemd:/y\n0::/z\n", "/z"),
        ("4:memory:/x\n", None),
        ("1:name=systemd:/u/\x0b0::/root.service\n0::/u\n", "/u"),
        ("0::/a\x1cb\u2028c\n", "/a\x1cb\u2028c"),
    ],
)
def test_membership_is_the_line_of_version_2(text: str, path: str | None) -> None:
    assert cgroups.parse_membership(text) == path


@pytest.mark.parametrize(("way", "levels"), [("/", 0), ("/..", 1), ("/../../..", 3), ("/..a", 0)])
def test_root_above_a_namespace_is_found_by_the_way_to_a_kernel_thread(
    tmp_path: Path, way: str, levels: int
) -> None:
    (tmp_path / "cgroup").write_text(f"9:cpu:/../../x\n0::{way}\n")
    assert cgroups.levels_above(tmp_path / "cgroup") == levels


def test_without_kernel_threads_nothing_is_known_to_be_above(tmp_path: Path) -> None:
    assert cgroups.levels_above(tmp_path / "cgroup") == 0


def test_level_counts_from_the_mount(tmp_path: Path) -> None:
    assert cgroups.level(tmp_path, tmp_path) == 0
    assert cgroups.level(tmp_path / "a/b", tmp_path) == 2
    with pytest.raises(CgroupError, match="is not below the cgroup v2 mount"):
        cgroups.level(Path("/elsewhere"), tmp_path)


def test_pids_are_those_of_the_root_and_of_all_below(tmp_path: Path) -> None:
    for folder, members in (("", "1\n2\n"), ("a", ""), ("a/b", "30\n"), ("c", "4\n0\n")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "cgroup.procs").write_text(members)
    (tmp_path / "vanished").mkdir()
    assert sorted(cgroups.pids(tmp_path)) == [0, 1, 2, 4, 30]
