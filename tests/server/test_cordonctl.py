# SPDX-License-Identifier: Apache-2.0
"""`cordonctl` against a real controller: what a role may not do, tokens and the hosts that join by
them, and a controller in trouble.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli import remote
from agent.cli.output import Exit
from agent.pb import enrolment_pb2
from controller.access_records import Role
from controller.store import SqlStorage
from tests.lab.waiting import wait_until
from tests.server import client
from tests.server.administering import PATIENCE, POLICY, Hosts
from tests.server.commanding import OTHER, Ctl, following, logged_in, pair
from tests.server.served import Served, Site


@pytest.fixture
def operator(served: Served, storage: SqlStorage, tmp_path: Path) -> Ctl:
    return logged_in(served, storage, tmp_path, Role.OPERATOR)


@pytest.fixture
def hosts(served: Served, storage: SqlStorage) -> Iterator[Hosts]:
    with following(served, storage) as made:
        yield made


# Roles.


@pytest.mark.parametrize(
    ("role", "needed", "arguments"),
    [
        (Role.VIEWER, "editor", ["apply", "-f", "-", "-m", "x"]),
        (Role.EDITOR, "operator", ["token", "create", "--host", "web-9"]),
        (Role.EDITOR, "operator", ["token", "list"]),
        (Role.EDITOR, "operator", ["hosts", "revoke", "web-9", "-m", "x"]),
    ],
)
def test_what_a_role_may_not_is_status_4_and_names_the_one_that_it_takes(
    served: Served,
    storage: SqlStorage,
    tmp_path: Path,
    role: Role,
    needed: str,
    arguments: list[str],
) -> None:
    ctl = logged_in(served, storage, tmp_path, role)
    message = ctl.refused(Exit.NOT_PERMITTED, *arguments, stdin=POLICY)
    assert message.endswith(f"; ask an operator for a login token of the role {needed}\n")
    assert f"is {role.name.lower()}" in message


# Tokens and hosts.


def test_a_token_stands_alone_on_stdout_and_a_host_joins_with_it(
    served: Served, storage: SqlStorage, operator: Ctl, hosts: Hosts
) -> None:
    result = operator("token", "create", "--host", "new-1", "--labels", "role=web,zone=a")
    assert result.exit_code == Exit.OK
    (token,) = result.stdout.split()
    assert "for `cordon-agent join` of new-1, once, until " in result.stderr
    request = enrolment_pb2.EnrolRequest(
        token=token.rpartition(".")[0], csr=client.csr(client.new_key())
    )
    assert client.enrol(served, client.roots(storage), request).host_name == "new-1"
    (host,) = operator.json("hosts", "list", "--label", "zone=a")
    assert (host["name"], host["labels"], host["state"]) == (
        "new-1", {"role": "web", "zone": "a"}, "enrolled",
    )  # fmt: skip
    assert operator.json("hosts", "list", "--label", "zone=b") == []
    assert operator.json("hosts", "list", "--state", "lost") == []
    shown = operator.good("hosts", "show", "new-1")
    assert "labels       role=web,zone=a\n" in shown
    assert "by a token of operator" in shown
    assert "no-1" in operator.refused(Exit.REFUSED, "hosts", "show", "no-1")
    states = {one["id"]: one["state"] for one in operator.json("token", "list")}
    assert states[token.split(".")[1]] == "spent"
    assert token.split(".")[2] not in operator.good("token", "list")


def test_a_token_that_is_revoked_lets_nobody_in(
    served: Served, storage: SqlStorage, operator: Ctl
) -> None:
    made = operator.json("token", "create", "--admin", "erika", "--role", "editor", "--ttl", "2m")
    assert made["info"]["administrator"] == {
        "name": "erika", "role": "editor", "certificate_seconds": 28_800,
    }  # fmt: skip
    assert 100 < made["info"]["expires"] - made["info"]["created"] <= 120
    message = operator.good("token", "revoke", made["token"], "-m", "sent to nobody")
    assert message == f"token {made['info']['id']} is revoked\n"
    ctl = Ctl(served, operator.folder.parent / "erika")
    assert ctl.login(made["token"]).exit_code == Exit.NOT_PERMITTED
    unknown = operator.refused(Exit.REFUSED, "token", "revoke", "a" * 16)
    assert "a" * 16 in unknown


# A controller in trouble.


def test_a_controller_that_hangs_is_status_3(
    served: Served, operator: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "CONNECT_SECONDS", 1.0)
    served.process.send_signal(signal.SIGSTOP)
    try:
        message = operator.refused(Exit.UNREACHABLE, "whoami")
    finally:
        served.process.send_signal(signal.SIGCONT)
    assert f"localhost:{served.main} (answers, but completes no handshake" in message
    wait_until(lambda: operator("whoami").exit_code == Exit.OK, "it to go on", PATIENCE)


def test_a_controller_that_dies_meanwhile_is_status_3(tmp_path: Path) -> None:
    site = Site(tmp_path / "site")
    site.folder.mkdir()
    site.write()
    site.init()
    with Served(site) as served, site.store() as storage, Hosts(served, storage) as hosts:
        ctl = logged_in(served, storage, tmp_path, Role.OPERATOR)
        _, db = pair(hosts)
        ctl.good("apply", "-f", "-", "-m", "x", "--wait", stdin=POLICY)
        hosts.mute(db)
        ctl.good("apply", "-f", "-", "-m", "x", stdin=OTHER)
        child = ctl.start("rollout", storage.fleet().head.version, "--watch")
        assert child.stderr is not None
        assert "1 on its way" in child.stderr.readline()
        served.process.kill()
        _, said = child.communicate(timeout=PATIENCE)
        assert child.returncode == Exit.UNREACHABLE
        assert f"controller localhost:{served.main} ended the connection before it" in said
        assert "it goes on without you" in said
        served.process.wait(PATIENCE)
        message = ctl.refused(Exit.UNREACHABLE, "apply", "-f", "-", "-m", "x", stdin=POLICY)
        assert f"no controller can be reached: localhost:{served.main} (Connection" in message


def test_an_enrolment_port_is_told_apart(served: Served, operator: Ctl) -> None:
    named = f"localhost:{served.enrolment}"
    message = operator.refused(Exit.REFUSED, "whoami", "--controller", named)
    assert f"controller {named} does not know Whoami" in message
    assert "the port is not its main one" in message
