# SPDX-License-Identifier: Apache-2.0
"""The load program (`bench/fleet_agents`, in Go): built from what Debian has, driven by lines."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tests.vm.errors import VmError
from tests.vm.making import install

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "golang-go",
    "golang-google-grpc-dev",
    "golang-google-protobuf-dev",
    "golang-github-golang-protobuf-1-5-dev",
    "golang-golang-x-sys-dev",
    "protoc-gen-go",
)
SOURCES = ("policy", "signed", "snapshot")
"""Of the contract, what an agent speaks on its stream."""
WAIT_SECONDS = 900.0
"""For all agents; a run that takes longer has failed."""

_GOPATH = "/usr/share/gocode"
_BUILD_SECONDS = 600.0


def build() -> Path:
    """The program. Raises click.ClickException with what the tool that failed said."""
    try:
        install(PACKAGES)
    except VmError as error:
        raise click.ClickException(str(error)) from None
    made = ROOT / "build" / "go"
    (made / "src").mkdir(parents=True, exist_ok=True)
    names = [f"cordon/v1/{name}.proto" for name in SOURCES]
    place = ",".join(f"M{name}=cordon/v1" for name in names)
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-Iproto", f"--go_out={made / 'src'}"]
    _run([*protoc, f"--go_opt={place}", *names])
    program = made / "fleet-agents"
    _run(["go", "build", "-o", str(program), "./bench/fleet_agents"], GO111MODULE="off",
         GOPATH=f"{made}:{_GOPATH}", GOCACHE=str(made / "cache"))  # fmt: skip
    return program


def _run(command: Sequence[str], **variables: str) -> None:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **variables},
        stderr=subprocess.PIPE,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise click.ClickException(f"`{' '.join(command)}` failed:\n{done.stderr}")


class Load:
    """The program, running."""

    def __init__(self, program: Path, identities: Path) -> None:
        self._process = subprocess.Popen(
            [str(program), str(identities)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, until: Sequence[str], **command: Any) -> None:
        """To be followed by `answers`. until: kinds of messages."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"until": until, **command}).encode() + b"\n")
        self._process.stdin.flush()

    def answers(self) -> list[list[float]]:
        """For each kind, when every agent had it: seconds of the machine's steady clock."""
        stream = self._process.stdout
        assert stream is not None
        with selectors.DefaultSelector() as ready:
            ready.register(stream, selectors.EVENT_READ)
            if not ready.select(WAIT_SECONDS):
                raise click.ClickException(f"no answer of the load program in {WAIT_SECONDS:.0f} s")
        line = stream.readline()
        if not line:
            raise click.ClickException("the load program has ended; see its error above")
        found: list[list[float]] = json.loads(line)
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
