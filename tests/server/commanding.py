# SPDX-License-Identifier: Apache-2.0
"""`cordonctl` of one administrator against a running controller, through its real command line."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from agent.cli.ctl import cordonctl
from agent.cli.output import Exit
from controller import ca
from controller.access_records import Role
from controller.storage import Storage
from tests.server import client
from tests.server.administering import Follower, Hosts
from tests.server.served import ROOT, Served
from tests.unit.policies import WEB_TO_DB

OTHER = WEB_TO_DB.replace("6379", "6380").replace("web-to-db", "web-to-db-2")
"""A rule that the base policy has not."""


@dataclass(frozen=True)
class Ctl:
    """Each with a folder of its own."""

    served: Served
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The controller took a free port and could not advertise it."""
        return {
            "CORDON_CONFIG_DIR": str(self.folder),
            "CORDON_CONTROLLER": f"localhost:{self.served.main}",
        }

    def __call__(self, *arguments: object, stdin: str | None = None) -> Result:
        words = [str(one) for one in arguments]
        return CliRunner().invoke(cordonctl, words, input=stdin, env=self.environment)

    def good(self, *arguments: object, stdin: str | None = None) -> str:
        """What it says on stdout, having ended well."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == Exit.OK, (result.stderr, result.exception)
        return result.stdout

    def json(self, *arguments: object, status: Exit = Exit.OK, stdin: str | None = None) -> Any:
        result = self(*arguments, "-o", "json", stdin=stdin)
        assert result.exit_code == status, (result.stderr, result.exception)
        return json.loads(result.stdout)

    def refused(self, status: Exit, *arguments: object, stdin: str | None = None) -> str:
        """What it says on stderr, having ended so."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == status, (result.stdout, result.stderr, result.exception)
        return result.stderr

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """As a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "agent.cli.ctl", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def login(self, token: str, *more: str) -> Result:
        named = ["--controller", f"localhost:{self.served.enrolment}"]
        return self("login", *(more or named), "--token-file", "-", stdin=token)


@contextlib.contextmanager
def following(served: Served, storage: Storage) -> Iterator[Hosts]:
    """Hosts for one test: an agent of these that hears nothing for long hangs up."""
    with Hosts(served, storage) as made:
        yield made
    for row in storage.fleet().hosts:
        if not row.revoked:
            storage.revoke_host(row.name, client.OPERATOR, "its test is over", int(time.time()))


def pair(hosts: Hosts, *, refuses: bool = False) -> tuple[Follower, Follower]:
    """a is web and b is db. refuses: b does."""
    one = hosts.follow(hosts.enrol("a", "192.0.2.1", {"role": "web"}))
    other = hosts.follow(hosts.enrol("b", "192.0.2.2", {"role": "db"}), refuses=refuses)
    return one, other


def login_token(storage: Storage, name: str, role: Role) -> str:
    """With the right pin."""
    sent = client.login_token(storage, name, role, int(time.time()))
    pin = ca.spki_pin(client.authority(storage).certificate)
    return f"{sent}.{base64.urlsafe_b64encode(pin).decode().rstrip('=')}"


def logged_in(served: Served, storage: Storage, folder: Path, role: Role, name: str = "") -> Ctl:
    name = name or role.name.lower()
    ctl = Ctl(served, folder / name)
    result = ctl.login(login_token(storage, name, role))
    assert result.exit_code == Exit.OK, result.stderr
    return ctl
