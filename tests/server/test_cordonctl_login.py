# SPDX-License-Identifier: Apache-2.0
"""`cordonctl login` against a real controller: one use of a token, and a certificate kept fresh."""

from __future__ import annotations

import json
import socket
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from agent.cli import credentials
from agent.cli.credentials import FILE, PENDING_KEY
from agent.cli.output import Exit
from controller.access_records import Role
from controller.store import SqlStorage
from tests.server import client
from tests.server.commanding import Ctl, logged_in, login_token
from tests.server.served import Served


@pytest.fixture
def operator(served: Served, storage: SqlStorage, tmp_path: Path) -> Ctl:
    return logged_in(served, storage, tmp_path, Role.OPERATOR)


def test_a_login_is_private_and_tells_the_role(
    served: Served, storage: SqlStorage, tmp_path: Path
) -> None:
    ctl = Ctl(served, tmp_path / "config" / "cordon")
    token = login_token(storage, "erika", Role.EDITOR)
    result = ctl.login(f"{token}\n")
    assert result.exit_code == Exit.OK, result.stderr
    assert result.stdout.startswith("logged in as erika, editor, of example.org; ")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in ctl.folder.iterdir()}
    assert modes == {FILE: 0o600}
    assert stat.S_IMODE(ctl.folder.stat().st_mode) == 0o700
    assert token.split(".")[2] not in (ctl.folder / FILE).read_text() + served.text
    who = ctl.json("whoami")
    assert (who["name"], who["role"], who["controller"]) == ("erika", "editor", "ctl-1")
    assert "role         editor\n" in ctl.good("whoami")


def test_a_token_is_good_once_and_again_for_the_key_that_waits(
    served: Served, storage: SqlStorage, tmp_path: Path
) -> None:
    ctl, other = Ctl(served, tmp_path / "a"), Ctl(served, tmp_path / "b")
    token = login_token(storage, "karl", Role.VIEWER)
    assert ctl.login(token).exit_code == Exit.OK
    key = json.loads((ctl.folder / FILE).read_text())["key"]
    (ctl.folder / FILE).rename(ctl.folder / PENDING_KEY)  # as if the answer had been lost
    (ctl.folder / PENDING_KEY).write_text(key)
    assert ctl.login(token).exit_code == Exit.OK
    again = other.login(token)
    assert again.exit_code == Exit.NOT_PERMITTED
    assert "ask an operator for another one" in again.stderr
    assert not (other.folder / FILE).exists()


def test_controllers_are_tried_in_order_until_one_answers(
    served: Served, storage: SqlStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = f"127.0.0.1:{taken.getsockname()[1]}"
    ctl = Ctl(served, tmp_path / "config")
    token = login_token(storage, "karl", Role.VIEWER)
    named = ["--controller", closed, "--controller", f"localhost:{served.enrolment}"]
    assert ctl.login(token, *named).exit_code == Exit.OK
    mains = ["--controller", closed, "--controller", f"localhost:{served.main}"]
    assert ctl.json("whoami", *mains)["name"] == "karl"


def test_a_controller_of_another_fleet_is_not_sent_the_token(
    served: Served, storage: SqlStorage, tmp_path: Path
) -> None:
    ctl = Ctl(served, tmp_path / "config")
    token = login_token(storage, "karl", Role.VIEWER)
    strange = ctl.login(token.rpartition(".")[0] + "." + "A" * 43)
    assert strange.exit_code == Exit.UNREACHABLE
    assert "the token was not sent" in strange.stderr
    assert ctl.login(token).exit_code == Exit.OK, "it was not spent"


def test_roots_from_a_file_take_the_place_of_the_pin(
    served: Served, storage: SqlStorage, tmp_path: Path
) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_bytes(client.roots(storage))
    ctl = Ctl(served, tmp_path / "config")
    token = login_token(storage, "karl", Role.VIEWER).rpartition(".")[0]
    named = ["--controller", f"localhost:{served.enrolment}", "--roots", str(roots)]
    assert ctl.login(token, *named).exit_code == Exit.OK


def _held(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> credentials.Login:
    monkeypatch.setenv(credentials.FOLDER_VARIABLE, str(ctl.folder))
    return credentials.load()


def test_a_certificate_past_its_half_is_renewed_by_the_next_command(
    operator: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _held(operator, monkeypatch)
    operator.good("whoami")
    assert _held(operator, monkeypatch) == before, "it is not due"
    credentials.save(replace(before, renew_after=int(time.time()) - 1))
    assert operator.json("whoami")["name"] == "operator"
    after = _held(operator, monkeypatch)
    assert (after.key != before.key, after.chain != before.chain) == (True, True)
    assert after.renew_after > time.time()
    assert operator.json("whoami")["name"] == "operator", "the new one is good"


def test_a_renewal_that_is_too_many_is_left_out_without_a_word(
    operator: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _held(operator, monkeypatch)
    for _ in range(12):  # 10 are let through at once
        credentials.save(replace(before, renew_after=0))
        result = operator("whoami")
        assert (result.exit_code, result.stderr) == (Exit.OK, "")
    assert _held(operator, monkeypatch) == replace(before, renew_after=0)


def test_who_was_revoked_is_told_so_also_by_a_renewal(
    served: Served, storage: SqlStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctl = logged_in(served, storage, tmp_path, Role.VIEWER, "gone")
    held = _held(ctl, monkeypatch)
    storage.revoke_administrator("gone", client.OPERATOR, "left", int(time.time()))
    assert "was revoked" in ctl.refused(Exit.NOT_PERMITTED, "whoami")
    credentials.save(replace(held, renew_after=0))
    message = ctl.refused(Exit.NOT_PERMITTED, "whoami")
    assert "the certificate was not renewed" in message
    assert "`cordonctl login`" in message
