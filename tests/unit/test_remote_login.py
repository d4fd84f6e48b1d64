# SPDX-License-Identifier: Apache-2.0
"""`cordonctl` before a controller answers: login on disk, tokens, and nobody there."""

from __future__ import annotations

import json
import socket
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.cli import credentials
from agent.cli.credentials import Login, NotLoggedIn
from agent.cli.ctl import cordonctl
from agent.cli.output import Exit
from agent.edge import identity_files
from controller import ca
from controller.files import StateError

TOKEN = f"cordon1.{'a' * 16}.{'S' * 43}.{'P' * 42}A"
HOUR = 3600


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    chosen = tmp_path / "config"
    monkeypatch.setenv(credentials.FOLDER_VARIABLE, str(chosen))
    monkeypatch.delenv("CORDON_CONTROLLER", raising=False)
    monkeypatch.delenv("CORDON_TOKEN", raising=False)
    return chosen


@pytest.fixture
def login(folder: Path) -> Login:
    """Of somebody whose authority is real; saved."""
    now = int(time.time())
    authority = ca.new_authority("example.org", now, 1)
    made = Login(
        name="olga",
        role="operator",
        trust_domain="example.org",
        controllers=(f"127.0.0.1:{closed_port()}",),
        expires=now + HOUR,
        renew_after=now + HOUR // 2,
        chain=authority.pem,
        roots=authority.pem,
        key=identity_files.new_key(),
    )
    credentials.save(made)
    return made


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(cordonctl, arguments, input=stdin)


# On disk.


def test_a_login_comes_back_as_it_was_saved_and_is_ours_alone(folder: Path, login: Login) -> None:
    assert credentials.load() == login
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert modes == {"login.json": 0o600}
    assert login.key.decode() not in repr(login)


def test_the_folder_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(credentials.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert credentials.folder() == tmp_path / "xdg" / "cordon"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert credentials.folder() == tmp_path / ".config" / "cordon"


def test_a_folder_that_others_may_enter_is_refused_and_left_as_it_is(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    with pytest.raises(StateError, match="expected mode 0700, got 0755: run chmod 700 on it"):
        credentials.pending_key()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_login_that_others_may_read_is_refused(folder: Path, login: Login) -> None:
    (folder / credentials.FILE).chmod(0o640)
    with pytest.raises(StateError, match="expected mode 0600, got 0640"):
        credentials.load()
    assert run("whoami").exit_code == Exit.NOT_PERMITTED


def test_who_is_not_logged_in_is_told_how(folder: Path) -> None:
    with pytest.raises(NotLoggedIn, match="run `cordonctl login --controller HOST:PORT`"):
        credentials.load()


@pytest.mark.parametrize("name", ["name", "controllers", "expires", "key"])
def test_a_login_that_is_torn_is_told(folder: Path, login: Login, name: str) -> None:
    path = folder / credentials.FILE
    table = json.loads(path.read_text())
    for torn in ({k: v for k, v in table.items() if k != name}, {**table, name: []}, "{"):
        path.write_text(torn if isinstance(torn, str) else json.dumps(torn))
        with pytest.raises(NotLoggedIn, match="run `cordonctl login`"):
            credentials.load()


def test_a_key_waits_for_the_answer_that_was_lost(folder: Path) -> None:
    key = credentials.pending_key()
    assert credentials.pending_key() == key
    assert stat.S_IMODE((folder / credentials.PENDING_KEY).stat().st_mode) == 0o600
    assert credentials.forget(credentials.PENDING_KEY)
    assert credentials.pending_key() != key


def test_logout_leaves_nothing(folder: Path, login: Login) -> None:
    credentials.pending_key()
    result = run("logout")
    assert (result.exit_code, result.stdout) == (0, "logged out, olga of example.org\n")
    assert list(folder.iterdir()) == []
    assert run("logout").stdout == "there was no login\n"


# Tokens.


def test_without_a_token_the_ways_to_give_one_are_named(folder: Path) -> None:
    result = run("login", "--controller", "localhost:7441")
    assert result.exit_code == Exit.BAD_INPUT
    assert "--token-file" in result.stderr
    assert "CORDON_TOKEN" in result.stderr


def test_what_is_no_token_is_refused_and_not_repeated(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORDON_TOKEN", "cordon1.very-secret")
    for arguments in ([], ["--token", "cordon1.very-secret"]):
        result = run("login", "--controller", "localhost:7441", *arguments)
        assert result.exit_code == Exit.BAD_INPUT
        assert "this is no token: expected cordon1.ID.SECRET.PIN" in result.stderr
        assert "very-secret" not in result.output
    assert not folder.exists()


def test_a_token_comes_from_one_place(folder: Path, tmp_path: Path) -> None:
    result = run("login", "--controller", "x:1", "--token", TOKEN, "--token-file", str(tmp_path))
    assert result.exit_code == Exit.BAD_INPUT
    assert "expected only one of --token and --token-file" in result.stderr


def test_a_token_without_its_pin_needs_roots(folder: Path) -> None:
    short = TOKEN.rpartition(".")[0]
    result = run("login", "--controller", "x:1", "--token-file", "-", stdin=short)
    assert result.exit_code == Exit.BAD_INPUT
    assert "the token has no PIN: expected --roots" in result.stderr


def test_a_login_where_nobody_listens_is_status_3_and_names_each_controller(folder: Path) -> None:
    ports = [closed_port(), closed_port()]
    named = [word for port in ports for word in ("--controller", f"127.0.0.1:{port}")]
    result = run("login", *named, "--token-file", "-", stdin=f"{TOKEN}\n")
    assert result.exit_code == Exit.UNREACHABLE
    for port in ports:
        assert f"controller 127.0.0.1:{port} cannot be reached" in result.stderr
    assert "SSSS" not in result.output
    assert not (folder / credentials.FILE).exists()


@pytest.mark.parametrize("command", ["login", "whoami"])
def test_what_is_no_controller_is_refused(folder: Path, login: Login, command: str) -> None:
    token = ["--token", TOKEN] if command == "login" else []
    result = run(command, "--controller", "localhost", *token)
    assert result.exit_code == Exit.BAD_INPUT
    assert "'localhost' is no controller: expected HOST:PORT" in result.stderr


# Nobody there.


def test_a_controller_that_is_not_there_is_status_3_with_the_reason(login: Login) -> None:
    result = run("whoami")
    assert result.exit_code == Exit.UNREACHABLE
    assert f"no controller can be reached: {login.controllers[0]} (Connection" in result.stderr


def test_the_environment_names_controllers_in_order(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = [closed_port(), closed_port()]
    monkeypatch.setenv("CORDON_CONTROLLER", " ".join(f"127.0.0.1:{port}" for port in ports))
    message = run("whoami").stderr
    assert message.index(str(ports[0])) < message.index(str(ports[1]))
    assert login.controllers[0] not in message


def test_somebody_who_is_no_controller_is_told_apart(login: Login) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        mute.listen()
        named = f"127.0.0.1:{port}"

        def hang_up() -> None:
            for _ in range(2):
                mute.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        result = run("whoami", "--controller", named)
        thread.join(30)
    assert result.exit_code == Exit.UNREACHABLE
    assert f"{named} (answers, but completes no handshake" in result.stderr


def test_a_certificate_that_ended_asks_nobody(login: Login) -> None:
    credentials.save(replace(login, expires=int(time.time()) - 1))
    result = run("hosts", "list")
    assert result.exit_code == Exit.NOT_PERMITTED
    assert "your certificate ended at" in result.stderr
    assert "`cordonctl login`" in result.stderr
