# SPDX-License-Identifier: Apache-2.0
"""Takes an instance out of the kernel: what judges, until `resume`, or all that it pinned.

Links go first, so that no program runs on maps that are going.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from agent.config import Config
from agent.core import adoption
from agent.edge import adopter, hooks
from agent.edge.flock import take_lock
from agent.edge.guard import clear_suspended, mark_suspended
from agent.edge.hooks import HOOKS, Pins
from agent.edge.process_maps import ProcessMaps


def suspend(config: Config) -> int:
    """Detach every hook that sockets or packets pass; the rest stays. Returns how many there were.

    Processes are followed on: a tag that nobody kept in step would be another's after `resume`.
    """
    pins = Pins(config.pins)
    following = {hook.function for hook in HOOKS if not hook.judges}
    mark_suspended(pins)
    return _unpin(link for link in _in(pins.links) if link.name not in following)


def resume(pins: Pins, cgroup: Path) -> str:
    """Why services that began to listen meanwhile will answer without a tag, or nothing.

    Raises BpfError; what was attached before stays attached then, and it stays suspended.

    Sockets that were opened meanwhile get their process's identity first, as at a start of the
    agent: else their next packet would be judged as `host`'s.
    """
    with contextlib.closing(ProcessMaps(pins.maps)) as processes:
        sockets = adopter.walk(processes.all(), pins.maps)
        tags = adoption.plan(sockets, processes.all(), complete=True)
    tagged = adopter.tag(tags, adoption.namespaces_of_listeners(tags), pins)
    hooks.attach(pins, cgroup)
    clear_suspended(pins)
    return tagged.trouble


def uninstall(config: Config) -> int:
    """Returns how many pins there were. Raises AlreadyRunning while an agent would mend it."""
    lock = take_lock(config.lock, config.instance)
    try:
        pins = Pins(config.pins)
        count = sum(_unpin(_in(folder)) for folder in (pins.links, pins.programs, pins.maps))
        clear_suspended(pins)
        for folder in (pins.links, pins.programs, pins.maps, pins.root):
            if folder.is_dir():
                folder.rmdir()
        with contextlib.suppress(OSError):
            pins.root.parent.rmdir()  # of all instances: stays while there is another
        return count
    finally:
        os.close(lock)


def _in(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _unpin(pins: Iterable[Path]) -> int:
    count = 0
    for pin in pins:
        pin.unlink()
        count += 1
    return count
