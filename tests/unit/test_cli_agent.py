# SPDX-License-Identifier: Apache-2.0
"""`cordon-agent` as a service manager and an operator meet it: statuses and sentences."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.cli.agent import BAD_INPUT, FAILED, cordon_agent
from agent.edge import cgroups
from tests.unit.users import somebody

COMMANDS = sorted(cordon_agent.commands.keys() - {"metrics-user"})  # which reads none
NEEDED = {"join": ("--controller", "ctl.example.org:7441", "--token", "t")}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cordon_agent, arguments)


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """`run` sets it for its process, which here is the tests'."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def config(folder: Path) -> Path:
    path = folder / "agent.toml"
    lines = {
        "host_name": "a",
        "instance": "a",
        "snapshot": folder / "a.snapshot",
        "policy_key": folder / "policy.pub",
        "cgroup_root": cgroups.mount_point(),
        "bpffs": folder / "bpf",
        "state_dir": folder / "state",
        "run_dir": folder / "run",
    }
    path.write_text("".join(f'{name} = "{value}"\n' for name, value in lines.items()))
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_missing_configuration_is_status_2(command: str) -> None:
    result = run(command, "--config", "/nowhere/agent.toml", *NEEDED.get(command, ()))
    assert result.exit_code == BAD_INPUT
    assert result.stderr == (
        "cordon-agent: /nowhere/agent.toml: cannot be read: No such file or directory\n"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_configuration_is_status_2(command: str, config: Path) -> None:
    config.write_text(config.read_text().replace("snapshot", "snapshots"))
    result = run(command, "--config", str(config), *NEEDED.get(command, ()))
    assert result.exit_code == BAD_INPUT
    assert f"{config}: unknown key 'snapshots', expected one of" in result.stderr


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "does not exist"),
        ("no key", "expected an Ed25519 public key as PEM"),
    ],
)
def test_policy_key_that_is_none_is_status_2(
    config: Path, content: str | None, sentence: str
) -> None:
    key = config.parent / "policy.pub"
    if content is not None:
        key.write_text(content)
    result = run("run", "--config", str(config))
    assert result.exit_code == BAD_INPUT
    assert result.stderr.startswith(f"cordon-agent: {config}: policy_key: {key}")
    assert sentence in result.stderr


@pytest.mark.parametrize("command", ["resume"])
def test_cgroup_root_elsewhere_is_status_2(command: str, config: Path) -> None:
    text = config.read_text().replace(f'"{cgroups.mount_point()}"', '"/tmp"')
    config.write_text(text)
    result = run(command, "--config", str(config))
    assert result.exit_code == BAD_INPUT
    assert "/tmp is not below the cgroup v2 mount" in result.stderr


def test_nothing_loaded_is_told(config: Path) -> None:
    assert run("suspend", "--config", str(config)).stdout.startswith("Detached 0 hooks")
    assert run("uninstall", "--config", str(config)).stdout.startswith("Detached and removed 0")
    result = run("resume", "--config", str(config))
    assert result.exit_code == FAILED
    assert "the instance a is not loaded: start it with `cordon-agent run`" in result.stderr


@pytest.mark.parametrize("command", ["resume", "suspend", "uninstall"])
def test_other_users_are_told_to_be_root(command: str, config: Path) -> None:
    run("suspend", "--config", str(config))  # what is imported is imported as who we are
    run("resume", "--config", str(config))
    closed = config.parent / "bpf/cordon/a"
    (closed / "links").mkdir(parents=True)
    (closed / "links" / "cordon_egress").touch()
    (config.parent / "bpf").chmod(0)
    with somebody():
        result = run(command, "--config", str(config))
    (config.parent / "bpf").chmod(0o700)
    assert result.exit_code == FAILED
    assert result.stderr.startswith("cordon-agent: ")
    assert result.stderr.endswith(": Permission denied, run this as root\n")
