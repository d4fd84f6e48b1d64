# SPDX-License-Identifier: Apache-2.0
"""The fleet's commands of `cordonctl`, by their help, their options and what they refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from agent.cli import credentials
from agent.cli.ctl import COMMANDS, FLEET, LazyGroup, cordonctl
from agent.cli.output import Exit


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is logged in."""
    monkeypatch.setenv(credentials.FOLDER_VARIABLE, str(tmp_path / "config"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cordonctl, arguments)


def fleet_commands() -> Iterator[tuple[str, click.Command]]:
    """Each command of the fleet with its words, those of groups too."""
    group = cordonctl
    assert isinstance(group, LazyGroup)
    for name, entry in COMMANDS.items():
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if entry.section != FLEET:
            continue
        if isinstance(command, click.Group):
            yield from ((f"{name} {below}", one) for below, one in command.commands.items())
        else:
            yield name, command


FOUND = dict(fleet_commands())


@pytest.mark.parametrize("name", sorted(FOUND))
def test_every_help_has_an_example_of_that_command(name: str) -> None:
    result = run(*name.split(), "--help")
    assert result.exit_code == 0
    assert re.search(rf"Examples?:\n(.*\n)*?\s+cordonctl {name}\b", result.stdout), result.stdout


@pytest.mark.parametrize("name", sorted(FOUND))
def test_every_option_says_what_it_is_for(name: str) -> None:
    options = [one for one in FOUND[name].params if isinstance(one, click.Option)]
    assert [one.name for one in options if not one.help] == []


@pytest.mark.parametrize("name", sorted(set(FOUND) - {"logout"}))
def test_every_command_answers_programs_in_json(name: str) -> None:
    options = {text for one in FOUND[name].params for text in one.opts}
    assert {"-o", "--output", "--json"} <= options
    assert name == "login" or "--controller" in options


CHANGES = {
    "apply": ["-f", "."],
    "delete": ["allow", "x"],
    "rollback": ["1"],
    "hosts revoke": ["web-1"],
    "admins revoke": ["erika"],
    "quarantine host": ["web-1", "--until", "1h"],
    "quarantine workload": ["web", "--until", "1h"],
    "quarantine lift": ["host", "web-1"],
    "settings set": ["lease=1h"],
}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_change_without_a_reason_is_refused_before_anybody_is_asked(name: str) -> None:
    result = run(*name.split(), *CHANGES[name])
    assert result.exit_code == Exit.BAD_INPUT
    assert "-m" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["token", "create"], "expected one of --host NAME and --admin NAME"),
        (["token", "create", "--host", "a", "--admin", "b"], "expected one of --host NAME"),
        (["token", "create", "--host", "a", "--role", "editor"], "--role does not go with --host"),
        (["token", "create", "--admin", "a", "--labels", "a=b"], "--labels does not go with"),
        (["token", "create", "--admin", "a"], "expected --role with --admin: viewer, editor"),
        (["token", "create", "--host", "a", "--ttl", "2d"], "expected a duration from 1m to 1d"),
        (["token", "create", "--host", "a", "--labels", "x"], "expected labels such as role=web"),
        (["hosts", "label", "a", "b"], "expected labels such as role=web"),
        (["hosts", "set", "a"], "expected something to change"),
        (["hosts", "set", "a", "--network", "::/0", "--any-network"], "expected only one of"),
        (["hosts", "list", "--state", "dead"], "'dead' is not one of 'enrolled', 'connected'"),
        (["get", "pods"], "expected a kind: Workload, Segment"),
        (["delete", "pods", "x", "-m", "y"], "expected a kind: Workload, Segment"),
        (["quarantine", "host", "a", "--until", "never", "-m", "x"], "expected a duration such as"),
        (["settings", "set", "leese=1h", "-m", "x"], "expected NAME=VALUE with one of epoch"),
        (["explain", "--fleet", "--last"], "expected with --fleet only --from, --to and --port"),
        (["explain", "--fleet", "--from", "a"], "all of --from, --to and --port"),
        (["explain", "--fleet", "--from", "a", "--to", "b", "--port", "tcp/1", "--policy", "p"],
         "expected with --fleet only --from, --to and --port"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_status_2_and_says_what_was_expected(
    arguments: list[str], sentence: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == Exit.BAD_INPUT
    assert sentence in " ".join(result.stderr.split())


def test_the_page_names_every_command_of_the_fleet_and_every_status() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cordonctl.md").read_text()
    for name in FOUND:
        first, _, second = name.partition(" ")
        assert re.search(rf"\b{first}\b", page), name
        assert not second or re.search(rf"\b{first}\b[^\n]*\b{second}\b", page), name
    statuses = {int(number) for number in re.findall(r"^\| ([0-9]) \|", page, re.MULTILINE)}
    assert statuses == set(Exit)
