# SPDX-License-Identifier: Apache-2.0
"""The demo's own honesty: what does not hold, or cannot be looked at, is never counted as held."""

from __future__ import annotations

import pytest

from tests.lab.demo.report import WIDTH, Evidence, Report

HELD = Evidence("exit 0", "allow", held=True)
NOT_HELD = Evidence("exit 0", "allow", held=False)


def evidence_of(failure: Exception) -> Evidence:
    raise failure


def test_last_line_counts_checks_and_those_that_held(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    report.check("one", "a$ b", lambda: HELD)
    report.check("two", "a$ c", lambda: HELD)
    report.summary()
    assert capsys.readouterr().out.splitlines()[-1] == "demo: 2 checks, 2 held"
    assert report.all_held


def test_one_check_that_does_not_hold_spoils_the_whole() -> None:
    report = Report()
    report.check("one", "a$ b", lambda: HELD)
    report.check("two", "a$ c", lambda: NOT_HELD)
    assert (len(report.checks), report.held, report.all_held) == (2, 1, False)


@pytest.mark.parametrize("failure", [AssertionError("waited 5 s"), OSError("gone")])
def test_check_that_cannot_be_made_did_not_hold(
    failure: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report()
    report.check("one", "a$ b", lambda: evidence_of(failure))
    assert (len(report.checks), report.held) == (1, 0)
    assert str(failure) in capsys.readouterr().out


def test_failure_between_two_checks_is_a_check_that_did_not_hold() -> None:
    report = Report()
    report.check("one", "a$ b", lambda: HELD)
    report.broke(AssertionError("the agent did not start"))
    assert (len(report.checks), report.held, report.all_held) == (2, 1, False)


def test_nothing_checked_is_nothing_held() -> None:
    assert not Report().all_held


def test_fault_of_the_demo_itself_is_not_swallowed() -> None:
    with pytest.raises(KeyError):
        Report().check("one", "a$ b", lambda: evidence_of(KeyError("x")))


def test_output_fits_and_has_no_colour_away_from_terminals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    report = Report()
    long = Evidence("seen " * 60, "kernel_" * 40, held=True, lines=[("back", "allow " * 40)])
    report.step("Title", "idea " * 50)
    report.check("long", "tried " * 50, lambda: long)
    report.table()
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= WIDTH
    assert "\x1b" not in out
    assert all(line == line.rstrip() for line in out.splitlines())
