# SPDX-License-Identifier: Apache-2.0
"""`cordonctl` as tests call it: in the test's own process, or as one of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from agent.cli.ctl import cordonctl
from tests.unit.local_agent import LocalAgent

ROOT = Path(__file__).resolve().parents[2]
CORDONCTL = [sys.executable, "-m", "agent.cli.ctl"]
END_SECONDS = 20.0


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cordonctl, arguments)


def run(agent: LocalAgent, *arguments: str) -> Result:
    return CliRunner().invoke(cordonctl, [*arguments, "--socket", str(agent.socket)])


def start(
    agent: LocalAgent, *arguments: str, stdout: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    """The command as a process of its own."""
    return subprocess.Popen(
        [*CORDONCTL, *arguments, "--socket", str(agent.socket)],
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )
