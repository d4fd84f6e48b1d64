# SPDX-License-Identifier: Apache-2.0
"""Log lines for people, entries for the journal."""

import pytest

from agent.edge import logs


def test_line_stays_one_line_whatever_a_value_holds() -> None:
    line = logs.format_line("info", "state", [("a", 1), ("b", "x y"), ("c", 'q"\n')])
    assert line == 'info state a=1 b="x y" c="q\\"\\x0a"'


def test_journal_entry_has_each_field_under_a_name_of_ours() -> None:
    entry = logs.journal_entry("warning", "snapshot refused", [("reason", "x"), ("policy-v", 3)])
    assert entry.decode().splitlines() == [
        "MESSAGE=snapshot refused reason=x policy-v=3",
        "PRIORITY=4",
        "SYSLOG_IDENTIFIER=cordon-agent",
        "CORDON_EVENT=snapshot refused",
        "CORDON_REASON=x",
        "CORDON_POLICY_V=3",
    ]


def test_a_value_with_line_ends_cannot_forge_a_field() -> None:
    entry = logs.journal_entry("error", "crash", [("trace", "a\n_UID=0")])
    assert entry.endswith(b"CORDON_TRACE\n" + (8).to_bytes(8, "little") + b"a\n_UID=0\n")


def test_stderr_that_was_redirected_is_written_to(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    logs.write("info", "hello")
    assert capfd.readouterr().err == "info hello\n"
