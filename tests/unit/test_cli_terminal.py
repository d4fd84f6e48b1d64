# SPDX-License-Identifier: Apache-2.0
"""What `cordonctl` writes on a terminal: fits its width, honours its wishes, never steers it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest

from agent.cli.output import Exit, printable
from tests.unit.cordonctl import CORDONCTL, END_SECONDS, ROOT, run
from tests.unit.local_agent import FLOW, LocalAgent
from tests.unit.terminal import on_terminal


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢", "plain é 漢"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\u202egnp", r"\u202egnp"),
        ("\udcff", r"\udcff"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_command_cannot_clear_the_screen(agent: LocalAgent) -> None:
    assert r"43   sh\x1b[2J  host" in run(agent, "ps").stdout
    assert "\x1b" not in run(agent, "ps", "--output", "json").stdout


def test_a_name_cannot_break_the_line_of_a_flow(agent: LocalAgent) -> None:
    agent.add(replace(FLOW, local_workload="a/b\nfake line"))
    result = run(agent, "observe", "--last", "1", "--no-follow")
    assert len(result.stdout.splitlines()) == 1


def test_a_wide_terminal_gets_a_table_with_a_bold_head(agent: LocalAgent) -> None:
    shown = on_terminal([*CORDONCTL, "ps", "--socket", str(agent.socket)], columns=120)
    assert "\x1b[1mEVIDENCE" in shown
    assert "300       enforce  attested  1.5s  unit=web.service user=web" in shown


def test_no_color_means_no_escape_sequence(agent: LocalAgent) -> None:
    for command in ("ps", "status"):
        argv = [*CORDONCTL, command, "--socket", str(agent.socket)]
        assert "\x1b" not in on_terminal(argv, columns=120, env={"NO_COLOR": "1"})
        assert "\x1b" not in on_terminal(argv, columns=120, env={"TERM": "dumb"})


@pytest.mark.parametrize("command", ["status", "ps", "sockets"])
def test_a_terminal_of_20_columns_loses_nothing(agent: LocalAgent, command: str) -> None:
    argv = [*CORDONCTL, command, "--socket", str(agent.socket)]
    lines = on_terminal(argv, columns=20, env={"NO_COLOR": "1"}).splitlines()
    assert max(map(len, lines)) <= 20
    folded = "".join(line[10:].strip() for line in lines)
    wanted = {"status": "13 of 13", "ps": "unit=web.service", "sockets": "192.0.2.1:40000"}
    assert wanted[command].replace(" ", "") in folded.replace(" ", "")


def test_the_c_locale_is_enough(agent: LocalAgent) -> None:
    agent.add(replace(FLOW, local_workload="front/é"))
    argv = [*CORDONCTL, "observe", "--last", "1", "--no-follow", "--socket", str(agent.socket)]
    for extra in ({"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}):
        done = subprocess.run(
            argv, cwd=ROOT, env={**os.environ, **extra}, capture_output=True, timeout=END_SECONDS
        )
        assert done.returncode == Exit.OK, done.stderr
        assert "front/é" in done.stdout.decode() or rb"front/\xe9" in done.stdout
