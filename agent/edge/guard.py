# SPDX-License-Identifier: Apache-2.0
"""Compares what the kernel runs with what was loaded, and puts it back.

The loaded programs and maps are held by descriptor, so whatever happens to their pins they are
there to be pinned and attached again: with the policy, the sockets' identities and the counters in
them. A program counts as attached if the cgroup itself says so (BPF_PROG_QUERY): a link that a tool
detached keeps its pin and runs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from agent.edge import bpffs, hooks, links
from agent.edge.hooks import HOOKS, Hook, Pins
from agent.edge.libbpf import BpfError
from agent.edge.maps import BpfMap
from agent.edge.scarcity import is_scarcity

SUSPENDED = "suspended"
"""A folder beside the pins that says the hooks that judge are detached on purpose. It lies in the
BPF file system because it has to go whenever they do: at a boot, and with an uninstall."""


def mark_suspended(pins: Pins) -> None:
    """Before the hooks are detached, lest a running agent mends that."""
    if pins.root.is_dir():
        (pins.root / SUSPENDED).mkdir(mode=0o700, exist_ok=True)


def clear_suspended(pins: Pins) -> None:
    marker = pins.root / SUSPENDED
    if marker.is_dir():
        marker.rmdir()


def is_suspended(pins: Pins) -> bool:
    return (pins.root / SUSPENDED).is_dir()


class Guard:
    """What was found pinned when this was made. Raises BpfError where something is missing then."""

    def __init__(self, pins: Pins, cgroup: Path) -> None:
        self._pins, self._cgroup = pins, cgroup
        self._programs: dict[str, int] = {}
        self._maps: dict[str, BpfMap] = {}
        with ExitStack() as opened:
            for hook in HOOKS:
                fd = links.obj_get(pins.programs / hook.function)
                opened.callback(os.close, fd)
                self._programs[hook.function] = fd
            for path in sorted(pins.maps.iterdir()):
                self._maps[path.name] = opened.enter_context(BpfMap.open_pinned(path))
            self._opened = opened.pop_all()
        self._ids = {name: links.program_id(fd) for name, fd in self._programs.items()}

    @property
    def attached(self) -> int:
        """How many hooks the kernel runs. Raises OSError where the cgroup is gone."""
        return len(HOOKS) - sum(1 for _ in self._absent_hooks())

    @property
    def suspended(self) -> bool:
        return is_suspended(self._pins)

    def missing(self) -> tuple[str, ...]:
        """What is not as it should be: hooks first, then pins, each by name.

        Raises BpfError or OSError where the question itself fails, as for a cgroup that is gone.
        """
        absent = [f"hook {hook.function}" for hook in self._missing_hooks()]
        absent += [f"program {n}" for n, fd in self._programs.items() if not self._pinned(n, fd)]
        absent += [f"map {name}" for name, held in self._maps.items() if not self._map_pinned(held)]
        return tuple(absent)

    def repair(self) -> None:
        """Pin and attach what is missing. Raises BpfError, BpffsError or OSError."""
        bpffs.ensure_mounted(self._pins.bpffs)
        self._pins.make()
        for name, held in self._maps.items():
            if not self._map_pinned(held):
                _pin_again(held.fd, self._pins.maps / name)
        for name, fd in self._programs.items():
            if not self._pinned(name, fd):
                _pin_again(fd, self._pins.programs / name)
        self._attach_missing()

    def _attach_missing(self) -> None:
        """What is there is swapped; only what cannot be is let go, and made anew."""
        missing = self._missing_hooks()
        try:
            hooks.attach(self._pins, self._cgroup, missing)
        except BpfError as error:
            _require_plenty(error)
        missing = self._missing_hooks()
        for hook in missing:
            (self._pins.links / hook.function).unlink(missing_ok=True)
        hooks.attach(self._pins, self._cgroup, missing)

    def _missing_hooks(self) -> list[Hook]:
        """Those that do not run and should: while suspended, what judges should not.

        The mark is made before the hooks go, and goes after they are back: so it is looked for
        before and after they are, and no look between the two takes a suspension for a fault.
        """
        suspended = self.suspended
        absent = list(self._absent_hooks())
        if suspended or self.suspended:
            return [hook for hook in absent if not hook.judges]
        return absent

    def _absent_hooks(self) -> Iterator[Hook]:
        folder = os.open(self._cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for hook in HOOKS:
                if not self._runs(hook, folder):
                    yield hook
        finally:
            os.close(folder)

    def _runs(self, hook: Hook, cgroup_fd: int) -> bool:
        with _open_pin(self._pins.links / hook.function) as link:
            if link is None:
                return False
            wanted = self._ids[hook.function]
            if hook.attach_type is None:
                return links.link_program_id(link) == wanted
            return wanted in links.prog_query_cgroup(cgroup_fd, hook.attach_type)

    def _pinned(self, name: str, fd: int) -> bool:
        with _open_pin(self._pins.programs / name) as found:
            return found is not None and links.program_id(found) == self._ids[name]

    def _map_pinned(self, held: BpfMap) -> bool:
        try:
            with BpfMap.open_pinned(self._pins.maps / held.name) as found:
                return found.id == held.id
        except BpfError as error:
            _require_plenty(error)
            return False

    def close(self) -> None:
        self._opened.close()


@contextmanager
def _open_pin(path: Path) -> Iterator[int | None]:
    try:
        fd = links.obj_get(path)
    except BpfError as error:
        _require_plenty(error)
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _require_plenty(error: BpfError) -> None:
    """Raises it where it says nothing of what is there: whoever took that for gone would let go of
    what works and then lack what it takes to make it anew."""
    if is_scarcity(error):
        raise error


def _pin_again(fd: int, path: Path) -> None:
    path.unlink(missing_ok=True)
    links.obj_pin(fd, path)
