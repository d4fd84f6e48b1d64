# SPDX-License-Identifier: Apache-2.0
"""Runs the loader in a process of its own, so that the compiler's memory goes when it is done."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path

LOAD_SECONDS = 240.0
"""For a loader that hangs. Compiling takes 2 s of a processor: a minute where that is emulated."""
_TAIL = 2000


class LoadError(Exception):
    """The loader failed; the sentence is its own last words."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the loader printed. `loaded` is False where it found everything in place."""

    loaded: bool
    seconds: float
    attach_pending: bool


async def run_loader(config: Path) -> Report:
    """Raises LoadError."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I" if sys.flags.isolated else "-P",  # never from the folder that somebody stands in
        "-m",
        "agent.cli.agent",
        "load",
        "--config",
        str(config),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(child.communicate(), LOAD_SECONDS)
    except TimeoutError:
        raise LoadError(f"the loader did not end within {LOAD_SECONDS:g} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        words = err.decode(errors="replace").strip()[-_TAIL:]
        raise LoadError(words or f"the loader ended with status {child.returncode}")
    return parse_report(out)


def parse_report(out: bytes) -> Report:
    """The last line is JSON; what the compiler printed before it is not."""
    try:
        said = json.loads(out.decode().strip().splitlines()[-1])
        seconds = float(said["seconds"]) if said["loaded"] else 0.0
        return Report(bool(said["loaded"]), seconds, bool(said["attach_pending"]))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise LoadError(f"the loader's report cannot be read: {out[-_TAIL:]!r}") from error
