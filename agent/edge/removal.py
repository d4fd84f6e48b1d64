# SPDX-License-Identifier: Apache-2.0
"""Takes an instance out of the kernel: its links alone (suspend), or all that it pinned.

Links go first, so that no program runs on maps that are going.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from agent.config import Config
from agent.edge.flock import take_lock
from agent.edge.guard import clear_suspended, mark_suspended
from agent.edge.hooks import Pins


def suspend(config: Config) -> int:
    """Detach every hook; programs, maps and policy stay pinned. Returns how many there were."""
    pins = Pins(config.pins)
    mark_suspended(pins)
    return _unpin(pins.links)


def uninstall(config: Config) -> int:
    """Returns how many pins there were. Raises AlreadyRunning while an agent would mend it."""
    lock = take_lock(config.lock, config.instance)
    try:
        pins = Pins(config.pins)
        count = sum(_unpin(folder) for folder in (pins.links, pins.programs, pins.maps))
        clear_suspended(pins)
        for folder in (pins.links, pins.programs, pins.maps, pins.root):
            if folder.is_dir():
                folder.rmdir()
        with contextlib.suppress(OSError):
            pins.root.parent.rmdir()  # of all instances: stays while there is another
        return count
    finally:
        os.close(lock)


def _unpin(folder: Path) -> int:
    pins = list(folder.iterdir()) if folder.is_dir() else []
    for pin in pins:
        pin.unlink()
    return len(pins)
