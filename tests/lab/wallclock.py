# SPDX-License-Identifier: Apache-2.0
"""A wall clock of a program's own, which a test may set while the program runs (clockshift.c).

The machine's clock is everybody's, and Linux has no namespace for it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("clockshift.c")
_COMPILE_SECONDS = 120.0


class WallClock:
    """env: what a program must be started with."""

    def __init__(self, folder: Path) -> None:
        library = folder / "clockshift.so"
        self._offset = folder / "clockshift.offset"
        self.env = {"LD_PRELOAD": str(library), "CORDON_LAB_CLOCK": str(self._offset)}
        command = ["gcc", "-Wall", "-Werror", "-O1", "-shared", "-fPIC", str(_SOURCE)]
        subprocess.run([*command, "-o", str(library)], check=True, timeout=_COMPILE_SECONDS)
        self._offset.write_bytes(bytes(8))

    def set(self, seconds: float) -> None:
        """So far from the machine's clock, from now on."""
        with self._offset.open("r+b") as file:
            file.write(round(seconds * 1e9).to_bytes(8, "little", signed=True))
