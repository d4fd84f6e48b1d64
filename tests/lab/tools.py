# SPDX-License-Identifier: Apache-2.0
"""Running `ip` and `nft` on a namespace: the tools by which the lab shapes a host's network.

They run outside the host's cgroups, as the hand of whoever owns the wire, not as its programs.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.lab import kernel
from tests.lab.errors import LabError
from tests.lab.waiting import PATIENCE

SECONDS = 10.0 * PATIENCE


def tool(netns: Path, argv: Sequence[str], input: str = "") -> str:
    """Run a tool in a namespace and return what it prints. Raises LabError if it fails."""

    def work() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            argv, input=input, capture_output=True, text=True, timeout=SECONDS, check=False
        )

    try:
        result = kernel.inside(netns, work)
    except FileNotFoundError as failure:
        raise LabError(f"the lab needs `{argv[0]}`; `make setup` installs it ({failure})") from None
    if result.returncode != 0:
        raise LabError(f"{' '.join(argv)} failed in {netns.name}: {result.stderr.strip()}")
    return result.stdout
