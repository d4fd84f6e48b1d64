# SPDX-License-Identifier: Apache-2.0
"""Users of a machine: what they run under their own service manager is theirs, by any name."""

from __future__ import annotations

import pytest

from tests.systemd.machine import Machine
from tests.systemd.pair import Pair

USER, UID = "kim", 1000
RUNTIME = f"/run/user/{UID}"
START_SECONDS = 90.0


LOGIN = {
    f"/run/systemd/system/user-runtime-dir@{UID}.service": "[Service]\nExecStart=/bin/true\n",
    f"/run/systemd/system/user@{UID}.service.d/login.conf": (
        f"[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR={RUNTIME}\n"
    ),
}
"""What logind would do, which needs seats and consoles that these machines have not."""


@pytest.fixture(scope="module")
def kim(pair: Pair) -> Machine:
    """The client's machine, with a user there whose service manager runs."""
    web = pair.web
    web.run("useradd", "--uid", str(UID), "--create-home", USER)
    web.run("install", "-d", "-m", "755", f"/run/systemd/system/user@{UID}.service.d")
    web.run("install", "-d", "-m", "755", "/run/user")
    web.run("install", "-d", "-m", "700", "-o", USER, RUNTIME)
    for name, content in LOGIN.items():
        web.write(name, content)
    web.run("systemctl", "daemon-reload")
    web.run("systemctl", "start", f"user@{UID}.service", timeout=START_SECONDS)
    return web


def run_unit(machine: Machine, name: str, command: str) -> int:
    """The exit status of a command as a unit of the user's own manager."""
    folder = f"/home/{USER}/.config/systemd/user"
    machine.run("runuser", "-u", USER, "--", "mkdir", "-p", folder)
    machine.write(f"{folder}/{name}", f"[Service]\nType=oneshot\nExecStart={command}\n")
    manager = ("runuser", "-u", USER, "--", "env", f"XDG_RUNTIME_DIR={RUNTIME}", "systemctl", "-q")
    machine.run(*manager, "--user", "daemon-reload")
    machine.run(*manager, "--user", "start", name, check=False, timeout=START_SECONDS)
    shown = machine.run(*manager, "--user", "show", "--value", "-p", "ExecMainStatus", name)
    return int(shown.stdout)


def test_unit_of_a_user_is_the_user_s_and_not_what_it_calls_itself(
    pair: Pair, kim: Machine
) -> None:
    """Policy lets shop.service reach nginx and redis, and all of kim's slice redis alone."""
    redis = f"/usr/bin/timeout 5 /usr/bin/redis-cli -h {pair.db.host.v4} ping"
    page = f"/usr/bin/curl -s -o /dev/null -m 3 http://{pair.db.host.v4}/"
    assert run_unit(kim, "mine.service", redis) == 0
    assert run_unit(kim, "shop.service", redis) == 0
    assert run_unit(kim, "shop.service", page) != 0, "the name is of the user's choice"
    assert pair.curl("shop") == 0, "the machine's own unit of that name is what it was"


def test_scope_in_the_user_s_slice_is_the_user_s(pair: Pair, kim: Machine) -> None:
    """As a session is: systemd's own manager makes it, in the slice."""
    scope = ("systemd-run", "--quiet", "--scope", "--slice", f"user-{UID}.slice", "--uid", USER)
    ping = ("timeout", "5", "redis-cli", "-h", pair.db.host.v4, "ping")
    page = ("curl", "-s", "-o", "/dev/null", "-m", "3", f"http://{pair.db.host.v4}/")
    assert kim.run(*scope, "--unit", "session-1.scope", *ping, check=False).returncode == 0
    assert kim.run(*scope, "--unit", "session-2.scope", *page, check=False).returncode != 0
