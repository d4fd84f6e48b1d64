# SPDX-License-Identifier: Apache-2.0
"""Log lines: names that stay, fields that the journal understands, a bound on how many."""

from __future__ import annotations

import ast
import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.log_events import EVENTS, event_name
from agent.edge import logs
from agent.edge.logs import LINES, Limiter, Logger, journal_entry

ROOT = Path(__file__).resolve().parents[2]
_LOGGING = {"log": 1, "Log": 1, "write": 1, "record": 1, "_give_up": 0, "trace": 0}
"""Function -> which of its arguments is the message."""


def messages(source: Path) -> Iterator[str]:
    """Every message that a file logs; a name stands for the texts that are assigned to it."""
    tree = ast.parse(source.read_text())
    texts: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                    texts[target.id] = node.value.value
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if isinstance(node.func, ast.Name):
            name = node.func.id
        if isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if not (isinstance(owner, ast.Name) and owner.id == "logs"):
                continue
        place = _LOGGING.get(name)
        if place is None or len(node.args) <= place:
            continue
        argument = node.args[place]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value
        elif isinstance(argument, ast.Name) and argument.id in texts:
            yield texts[argument.id]


def test_every_message_that_is_logged_has_a_name() -> None:
    sources = [*(ROOT / "agent").rglob("*.py")]
    found = {message for source in sources for message in messages(source)}
    assert len(found) > 15
    assert found - set(EVENTS) == set()


def test_names_are_documented_and_no_other() -> None:
    text = (ROOT / "docs" / "logs.md").read_text()
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", text, re.M))
    assert documented == set(EVENTS.values())


def test_message_without_a_name_gets_one_of_its_words() -> None:
    assert event_name("Something new, and odd!") == "something_new_and_odd"


def test_line_on_stderr_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Logger().write("warning", "identity conflict", [("reason", 'a "b"\nc'), ("pid", 3)])
    assert capsys.readouterr().err == (
        'warning identity conflict reason="a \\"b\\"\\x0ac" pid=3 event=identity_conflict\n'
    )


def test_levels_below_the_set_one_are_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    logger = Logger("warning")
    logger.write("info", "loaded")
    logger.write("debug", "told")
    logger.write("error", "loaded")
    assert capsys.readouterr().err == "error loaded event=loaded\n"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_flood_of_one_event_is_cut_and_counted_and_others_are_told() -> None:
    clock = Clock()
    limiter = Limiter(clock)
    told = [limiter.suppressed("conflict", LINES) for _ in range(LINES + 30)]
    assert told == [0] * LINES + [None] * 30
    assert limiter.suppressed("state", LINES) == 0
    clock.now = logs.WINDOW_SECONDS
    assert limiter.suppressed("conflict", LINES) == 30
    assert limiter.suppressed("conflict", LINES) == 0


def test_limiter_does_not_grow_without_bound() -> None:
    limiter = Limiter()
    for number in range(10 * logs.MAX_EVENTS):
        limiter.suppressed(str(number), LINES)
    assert len(limiter._told) <= logs.MAX_EVENTS


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd-journald listens on."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as made:
        made.bind(str(tmp_path / "journal"))
        made.settimeout(5.0)
        yield made


def read_entry(data: bytes) -> dict[str, str]:
    """As journald reads it."""
    fields: dict[str, str] = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, data = rest[8 : 8 + size], rest[8 + size + 1 :]
        else:
            data = rest
        fields[name.decode()] = value.decode()
    return fields


def test_journal_gets_the_fields_as_fields(
    journal: socket.socket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.closing(Logger("info", "inst", tmp_path / "journal")) as logger:
        logger.write("error", "policy not applied, what was in force stays",
                     [("version", 9), ("reason", "too\nlarge")])  # fmt: skip
    assert read_entry(journal.recv(1 << 16)) == {
        "MESSAGE": 'policy not applied, what was in force stays version=9 reason="too\\x0alarge"',
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "cordon-agent",
        "CORDON_EVENT": "policy_not_applied",
        "CORDON_INSTANCE": "inst",
        "CORDON_VERSION": "9",
        "CORDON_REASON": "too\nlarge",
    }
    assert capsys.readouterr().err == ""


def test_long_value_is_cut_and_still_goes_to_the_journal(
    journal: socket.socket, tmp_path: Path
) -> None:
    with contextlib.closing(Logger("info", "", tmp_path / "journal")) as logger:
        logger.write("info", "loaded", [("x", "a" * 10_000_000)])
    entry = read_entry(journal.recv(1 << 16))
    assert len(entry["CORDON_X"]) == logs.MAX_VALUE + 3


def test_journal_that_has_gone_does_not_lose_the_line(
    journal: socket.socket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.closing(Logger("info", "", tmp_path / "journal")) as logger:
        journal.close()
        logger.write("info", "loaded")
    assert capsys.readouterr().err == "info loaded event=loaded\n"


def test_no_journal_is_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Logger("info", "", tmp_path / "nowhere").write("info", "loaded")
    assert capsys.readouterr().err == "info loaded event=loaded\n"


def test_value_cannot_make_a_field_of_its_own() -> None:
    fields = read_entry(journal_entry("error", "loaded", [("reason", "x\nCORDON_EVENT=forged")]))
    assert fields["CORDON_EVENT"] == "loaded"
    assert fields["CORDON_REASON"] == "x\nCORDON_EVENT=forged"


def test_field_has_a_name_that_the_journal_takes() -> None:
    assert "CORDON_POLICY_V" in read_entry(journal_entry("info", "loaded", [("policy-v", 3)]))


def test_record_without_a_journal_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(logs, "JOURNAL", tmp_path / "nowhere")
    assert not logs.record("info", "loaded")


def test_record_goes_to_the_journal_wherever_stderr_goes(
    monkeypatch: pytest.MonkeyPatch, journal: socket.socket, tmp_path: Path
) -> None:
    monkeypatch.setattr(logs, "JOURNAL", tmp_path / "journal")
    assert logs.record("warning", "loaded", [("by", "root")])
    assert read_entry(journal.recv(1 << 16))["CORDON_BY"] == "root"
