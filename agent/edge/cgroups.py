# SPDX-License-Identifier: Apache-2.0
"""The cgroup v2 hierarchy: where it is mounted, how cgroups are numbered, who is in them.

It is looked up in /proc, never assumed: on a host with both hierarchies it is not at
/sys/fs/cgroup. On cgroup v2 the inode number of a folder is the cgroup's id.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
KERNEL_THREAD = Path("/proc/2/cgroup")
"""Of kthreadd, which is in the hierarchy's own root."""
_ESCAPED = re.compile(rb"\\([0-7]{3})")
"""How blanks and the like are written there (mangle() in the kernel's fs/proc_namespace.c)."""


class CgroupError(Exception):
    """The cgroup v2 hierarchy is not as needed."""


def mount_point(mounts: Path = MOUNTS) -> Path:
    """Where cgroup v2 is mounted. Raises CgroupError if it is not."""
    for line in mounts.read_bytes().split(b"\n"):  # users mount, too, under any name
        fields = line.split(b" ")
        if fields[2:3] == [b"cgroup2"]:
            return Path(os.fsdecode(_ESCAPED.sub(_unescaped, fields[1])))
    raise CgroupError(
        "no cgroup v2 hierarchy is mounted, and without it no workload can be told from another: "
        "mount it (mount -t cgroup2 none /sys/fs/cgroup), or boot with "
        "systemd.unified_cgroup_hierarchy=1"
    )


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8)])


def cgroup_id(path: Path) -> int:
    return path.stat().st_ino


def level(path: Path, mount: Path) -> int:
    """Depth below the mount's root, which is 0. Raises CgroupError for a path outside."""
    try:
        return len(path.relative_to(mount).parts)
    except ValueError as error:
        raise CgroupError(
            f"{path} is not below the cgroup v2 mount {mount}: set `cgroup_root` to a folder there"
        ) from error


def levels_above(kernel_thread: Path = KERNEL_THREAD) -> int:
    """How many levels above what is mounted here the hierarchy's own root lies.

    In a cgroup namespace the mount shows the namespace's root. What is outside of it is named by
    steps up (cgroup_namespaces(7)), so the way to a kernel thread tells how deep we are. Where
    there is no kernel thread, in a process namespace, nothing is known to be above.
    """
    try:
        path = parse_membership(kernel_thread.read_text()) or "/"
    except OSError:
        return 0
    return path.split("/").count("..")


def parse_membership(text: str) -> str | None:
    """The v2 path in the content of /proc/PID/cgroup: the line that begins with `0::`.

    A cgroup's name may hold every character but the line feed, so nothing else ends a line.
    """
    for line in text.split("\n"):
        if line.startswith("0::"):
            return line[3:]
    return None


def walk(root: Path) -> Iterator[Path]:
    """`root` and every cgroup below it; those that vanish meanwhile are left out."""
    pending = [root]
    while pending:
        folder = pending.pop()
        yield folder
        try:
            pending.extend(child for child in folder.iterdir() if child.is_dir())
        except OSError:
            continue


def ids(root: Path) -> Iterator[int]:
    """Ids of `root` and every cgroup below it, without a system call for each."""
    yield cgroup_id(root)
    pending = [os.fspath(root)]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield entry.inode()
                    pending.append(entry.path)


def pids(root: Path) -> Iterator[int]:
    """Processes in `root` and below."""
    for folder in walk(root):
        try:
            text = (folder / "cgroup.procs").read_text()
        except OSError:
            continue
        yield from (int(line) for line in text.split())
