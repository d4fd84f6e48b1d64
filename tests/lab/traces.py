# SPDX-License-Identifier: Apache-2.0
"""Removing what a lab left on the machine, by the lab's name alone.

One routine serves the orderly end, the end after a failure, and the sweep for a lab whose owner
was killed: it needs no memory of what was built, only the name that all traces carry. It uses no
helper program, and each step goes on when something is already gone, so two may run at once.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.lab import kernel
from tests.lab.errors import LabError
from tests.lab.names import lab_name_in, owner_is_alive
from tests.lab.waiting import PATIENCE

RUN = Path("/run")
NAMESPACES = Path("/run/netns")
REMOVAL_SECONDS = 10.0 * PATIENCE


def traces_of(name: str) -> list[Path]:
    """Everything on the machine that belongs to the lab: folders, namespaces, cgroups."""
    return [
        folder / entry
        for folder in (RUN, NAMESPACES, kernel.cgroup2_root())
        for entry in _entries(folder)
        if lab_name_in(entry) == name
    ]


def sweep() -> list[str]:
    """Remove the traces of every lab whose owner is dead; return the names of those labs.

    Raises LabError if something stays, once all labs have been tried.
    """
    dead = {
        name
        for folder in (RUN, NAMESPACES, kernel.cgroup2_root())
        for entry in _entries(folder)
        if (name := lab_name_in(entry)) is not None and not owner_is_alive(name)
    }
    failures: list[str] = []
    for name in sorted(dead):
        try:
            remove_traces(name)
        except LabError as failure:
            failures.append(str(failure))
    if failures:
        raise LabError("; ".join(failures))
    return sorted(dead)


def remove_traces(name: str) -> None:
    """Kill the lab's processes, then remove its cgroups, mounts, folders and namespaces.

    Every step is tried even if an earlier one failed. Raises LabError that lists what stayed.
    """
    steps: list[tuple[Path, Callable[[Path], None]]] = [
        (kernel.cgroup2_root() / name, remove_cgroup),
        (RUN / name, _remove_folder),
        *((path, _remove_namespace) for path in traces_of(name) if path.parent == NAMESPACES),
    ]
    failures: list[str] = []
    for path, step in steps:
        try:
            step(path)
        except OSError as failure:
            failures.append(f"{path} ({failure})")
    with contextlib.suppress(OSError):
        NAMESPACES.rmdir()  # only if it is empty and no mount of `ip netns`
    if failures:
        raise LabError(f"the lab {name} could not be removed whole; left: {'; '.join(failures)}")


def remove_cgroup(top: Path, timeout: float = REMOVAL_SECONDS) -> None:
    """Kill all members of a cgroup and its children, and remove them, deepest first."""
    deadline = time.monotonic() + timeout
    while top.exists():
        with contextlib.suppress(FileNotFoundError):
            (top / "cgroup.kill").write_text("1", encoding="ascii")
        try:
            for folder in _deepest_first(top):
                with contextlib.suppress(FileNotFoundError):
                    folder.rmdir()
        except OSError:  # a killed process has not left yet
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.005)


def _deepest_first(top: Path) -> Iterator[Path]:
    for folder, _, _ in os.walk(top, topdown=False):
        yield Path(folder)


def _remove_folder(folder: Path) -> None:
    for point in kernel.mounts_below(folder):
        kernel.unmount(point)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _remove_namespace(path: Path) -> None:
    for point in kernel.mounts_below(path):
        kernel.unmount(point)
    path.unlink(missing_ok=True)


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
