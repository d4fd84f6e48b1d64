# SPDX-License-Identifier: Apache-2.0
"""`cordonctl` as an operator runs it, and a connection for it to look at."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.cli.output import Exit
from tests.kernel.world import PORT, World
from tests.lab.cordon import CordonHost

CORDONCTL = Path(sys.executable).with_name("cordonctl")
END_SECONDS = 30.0
"""A bound for one command on a busy machine: mostly the interpreter's start."""

Json = dict[str, Any]


def ctl(host: CordonHost, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CORDONCTL, *arguments, "--config", str(host.config)],
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
    )


def ask(host: CordonHost, *arguments: str) -> Any:
    done = ctl(host, *arguments, "--output", "json")
    assert (done.returncode, done.stderr) == (Exit.OK, "")
    return json.loads(done.stdout)


@contextlib.contextmanager
def connection(world: World) -> Iterator[int]:
    """From web to db, for as long as it lasts; gives the client's port."""
    listener = world.listen()
    client = world.web.connect(world.b.v4, PORT)
    assert client.ok, client
    server = world.db.accept(listener.handle)
    yield client.port
    world.web.close(client.handle, reset=True)
    world.db.close(server.handle)
