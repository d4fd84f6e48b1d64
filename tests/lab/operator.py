# SPDX-License-Identifier: Apache-2.0
"""Somebody who steers the lab's fleet as people do: by `cordonctl`, from the controller's host."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.cordon import ROOT
from tests.lab.host import LabHost

CTL = [sys.executable, "-m", "agent.cli.ctl"]
UNIT = "operator.service"
COMMAND_SECONDS = 90.0
"""Python itself takes long to begin on a machine that is busy with something else."""


@dataclass(frozen=True)
class Operator:
    """desk: where the commands run. folder: what `login` leaves."""

    desk: LabHost
    folder: Path

    def ctl(self, *words: str, stdin: str = "") -> str:
        """What a command says on stdout. Raises AssertionError if it does not end well."""
        environment = {"PYTHONPATH": str(ROOT), "CORDON_CONFIG_DIR": str(self.folder)}
        done = self.desk.run(
            [*CTL, *words], UNIT, env=environment, input=stdin, timeout=COMMAND_SECONDS
        )
        assert done.returncode == 0, f"cordonctl {' '.join(words)}: {done.stderr or done.stdout}"
        return done.stdout

    def json(self, *words: str, stdin: str = "") -> Any:
        return json.loads(self.ctl(*words, "-o", "json", stdin=stdin))

    def login(self, enrolment: str, token: str) -> None:
        self.ctl("login", "--controller", enrolment, "--token-file", "-", stdin=token)

    def token(self, host: LabHost, labels: Mapping[str, str]) -> str:
        """With which this host may join."""
        text = ",".join(f"{key}={value}" for key, value in labels.items())
        addresses = [word for address in (host.v4, host.v6) for word in ("--address", address)]
        return self.ctl("token", "create", "--host", host.name, "--labels", text, *addresses)

    def apply(self, policy: str, *options: str) -> int:
        """Put these documents. Returns the version, new or not.

        By force, for the lab's hosts have no sshd that a policy could cut off.
        """
        why = ["--force", "-m", "the lab asks for it"]
        answer = self.json("apply", "-f", "-", *why, *options, stdin=policy)
        return int(answer["version"])
