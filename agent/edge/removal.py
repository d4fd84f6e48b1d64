# SPDX-License-Identifier: Apache-2.0
"""Takes an instance out of the kernel: what judges alone (suspend), or all that it pinned.

Links go first, so that no program runs on maps that are going.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from agent.config import Config
from agent.edge.flock import take_lock
from agent.edge.hooks import HOOKS, Pins


def suspend(config: Config) -> int:
    """Detach every hook that packets or sockets pass; the rest stays. Returns how many there were.

    Processes are followed on: a tag that nobody kept in step would be another's after `resume`.
    """
    folder = Pins(config.pins).links
    judging = (folder / hook.function for hook in HOOKS if hook.attach_type is not None)
    return _unpin(link for link in judging if link.exists())


def uninstall(config: Config) -> int:
    """Returns how many pins there were. Raises AlreadyRunning while an agent would mend it."""
    lock = take_lock(config.lock, config.instance)
    try:
        pins = Pins(config.pins)
        folders = (pins.links, pins.programs, pins.maps)
        count = sum(_unpin(folder.iterdir()) for folder in folders if folder.is_dir())
        for folder in (pins.links, pins.programs, pins.maps, pins.root):
            if folder.is_dir():
                folder.rmdir()
        return count
    finally:
        os.close(lock)


def _unpin(pins: Iterable[Path]) -> int:
    found = list(pins)
    for pin in found:
        pin.unlink()
    return len(found)
