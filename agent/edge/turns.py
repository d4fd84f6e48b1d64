# SPDX-License-Identifier: Apache-2.0
"""What the daemon asks for its own process, so that processes which wait for their identity wait
shortly: of the scheduler, of the interpreter, of the collector of garbage.
"""

from __future__ import annotations

import gc
import sys

from agent.edge import logs, scheduling

SWITCH_INTERVAL = 0.0002
"""Seconds. Reading the facts of a process takes some fifteen system calls, and after each the loop
must get the interpreter back from a policy that is being compiled: with the usual 5 ms a held
connection would wait for long."""


def shorten() -> None:
    """For the calling thread and the interpreter."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        scheduling.ask_for_short_turns()
    except OSError as error:
        logs.write("warning", "cannot ask the scheduler for short turns, ignoring",
                   [("reason", error.strerror)])  # fmt: skip


def settle_memory() -> None:
    """What the start has made stays: the collector need not look through it again, for which it
    would stop the loop for tens of milliseconds while processes wait for their identity."""
    gc.collect()
    gc.freeze()
