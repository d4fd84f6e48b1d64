# SPDX-License-Identifier: Apache-2.0
"""Which agent `cordonctl` asks, and what it says where there is none to ask."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from agent.cli.output import Exit
from tests.unit.cordonctl import invoke, run
from tests.unit.local_agent import LocalAgent, local_agent
from tests.unit.users import somebody


def test_config_says_which_socket(agent: LocalAgent, tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        f'host_name = "a"\nsnapshot = "/x"\npolicy_key = "/y"\ninstance = "a"\n'
        f'run_dir = "{agent.socket.parent}"\n'
    )
    assert invoke("status", "--config", str(config)).exit_code == Exit.OK


def test_instance_is_looked_for_in_run(monkeypatch: pytest.MonkeyPatch, agent: LocalAgent) -> None:
    monkeypatch.setattr("agent.cli.connection.RUN_DIR", agent.socket.parent)
    assert invoke("status", "--instance", "a").exit_code == Exit.OK
    missing = invoke("status")
    assert missing.exit_code == Exit.REFUSED
    assert f"there is no agent at {agent.socket.parent}/default.sock" in missing.stderr
    assert f"(in {agent.socket.parent}: a)" in missing.stderr


def test_a_path_with_a_percent_sign_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "a %41b"
    folder.mkdir()
    with local_agent(folder) as agent:
        assert agent.socket.is_socket()
        assert run(agent, "status").exit_code == Exit.OK


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--socket", "/x", "--instance", "a"], "only one of --instance, --config and --socket"),
        (["--config", "/nowhere.toml"], "/nowhere.toml: cannot be read: No such file"),
        (["--socket", "/tmp/" + "a" * 103], "a socket's path has at most 107 bytes"),
    ],
)
def test_bad_question_is_status_2(arguments: list[str], sentence: str) -> None:
    result = invoke("status", *arguments)
    assert result.exit_code == Exit.BAD_INPUT
    assert sentence in result.stderr


def test_an_agent_that_has_ended_is_told_from_one_that_never_was(tmp_path: Path) -> None:
    left = tmp_path / "a.sock"
    left.touch()
    result = invoke("status", "--socket", str(left))
    assert result.exit_code == Exit.REFUSED
    assert f"no agent answers at {left}: it has ended" in result.stderr
    assert "the kernel goes on enforcing" in result.stderr


@pytest.mark.parametrize(
    ("folder_mode", "socket_mode", "sentence"),
    [
        (0o000, 0o666, "cannot be reached (Permission denied)"),
        (0o755, 0o000, "cannot be used (Permission denied)"),
    ],
)
def test_wrong_user_is_told_to_be_root(folder_mode: int, socket_mode: int, sentence: str) -> None:
    invoke("status", "--help")  # what is imported is imported as who we are
    with tempfile.TemporaryDirectory() as name, local_agent(Path(name)) as agent:
        agent.socket.chmod(socket_mode)
        Path(name).chmod(folder_mode)
        with somebody():
            result = run(agent, "status")
        Path(name).chmod(0o700)
    assert result.exit_code == Exit.REFUSED
    assert f"{agent.socket} {sentence}: it is root's alone, run this as root" in result.stderr
