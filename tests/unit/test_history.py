# SPDX-License-Identifier: Apache-2.0
"""The checker of recorded runs finds what is wrong, and nothing in what is right.

Host a's revisions open port 1 if they are odd and port 2 if they are even; b lets all in but in
revision 9. Time is told in numbers of the test's own.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.history_check import EPERM, OK, TIMEOUT, Answer, Attempt, Pair, Party, Record, check
from tests.lab.monotone import Claim, contradictions

REVISIONS = {1: 0.0, 2: 10.0, 3: 20.0, 9: 90.0}
PAIRS = {port: Pair(Party("a", "web"), Party("b", "db"), "192.0.2.2", port, "") for port in (1, 2)}


def decide(host: str, revision: int, pair: Pair) -> Answer:
    if host == "b":
        return Answer(True, revision != 9)
    right = revision % 2 == pair.port % 2
    return Answer(right, right)


def record(*attempts: tuple[int, float, float, str]) -> Record:
    """Port, began, ended, outcome."""
    made = Record()
    for host in ("a", "b"):
        made.published[host].update(REVISIONS)
    for number, (port, began, ended, outcome) in enumerate(attempts):
        made.attempts.append(Attempt(PAIRS[port], 40000 + number, began, ended, outcome))
    return made


RIGHT = {
    "each under its own": [(1, 1, 2, OK), (2, 3, 4, EPERM), (1, 21, 22, OK)],
    "the old one goes on for a while": [(1, 11, 12, OK), (2, 11, 12, EPERM)],
    "the switch lies in both": [(1, 11, 14, OK), (2, 12, 15, OK)],
    "one revision was never in force": [(1, 1, 2, OK), (1, 25, 26, OK), (2, 26, 27, EPERM)],
    "an impatient time-out says nothing": [(1, 1, 1.1, TIMEOUT)],
    "refused at the server": [(1, 91, 92, TIMEOUT)],
}
WRONG = {
    "both open at one time": [(2, 11, 12, OK), (1, 13, 14, OK), (2, 15, 16, OK)],
    "both shut at one time": [(2, 11, 12, OK), (2, 13, 14, EPERM), (2, 15, 16, OK)],
    "before it was published": [(2, 1, 2, OK)],
    "back to the old one": [(2, 11, 12, OK), (1, 13, 14, OK)],
    "refused by nobody": [(1, 1, 2, TIMEOUT)],
    "an outcome of nobody's": [(1, 1, 2, "ECONNREFUSED")],
}


@pytest.mark.parametrize("attempts", RIGHT.values(), ids=RIGHT.keys())
def test_what_can_be_is_no_fault(attempts: list[tuple[int, float, float, str]]) -> None:
    assert check(record(*attempts), decide) == []


@pytest.mark.parametrize("attempts", WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_is_a_fault(attempts: list[tuple[int, float, float, str]]) -> None:
    assert check(record(*attempts), decide) != []


def test_an_agent_that_says_less_than_before_is_a_fault() -> None:
    made = record()
    made.sights["a"] += [(11, 12, 2), (13, 14, 1)]
    assert any("goes from 2 back to 1" in sentence for sentence in check(made, decide))


def test_what_an_agent_said_holds_from_then_on() -> None:
    made = record((1, 13, 14, OK))
    made.sights["a"].append((11, 12, 2))
    assert len(check(made, decide)) == 1, "port 1 is shut in 2, and 3 was not published"


def test_who_was_accepted_must_have_been_let_through() -> None:
    made = record((1, 1, 2, OK), (2, 3, 4, EPERM))
    made.accepted["b"] += [(1, 40000, 2.5)]
    assert check(made, decide) == []
    made.accepted["b"] += [(2, 40001, 3.5), (1, 40000, 50.0)]
    assert len(check(made, decide)) == 2


def test_a_host_without_an_agent_says_nothing() -> None:
    made = record((1, 1, 2, OK))
    del made.published["b"]
    assert check(made, decide) == []


def possible(claims: list[Claim]) -> bool:
    """By trying all there is: each claim at one of its ticks, with one of its values."""
    ticks = [range(int(claim.began), int(claim.ended) + 1) for claim in claims]
    for moments in itertools.product(*ticks):
        for values in itertools.product(*(claim.values for claim in claims)):
            points = sorted(zip(moments, values, strict=True))
            # Of the same tick any order will do, so sorted values are the best one.
            if all(one[1] <= two[1] for one, two in itertools.pairwise(points)):
                return True
    return False


CLAIMS = st.builds(
    lambda began, length, values: Claim(began, began + length, tuple(sorted(values)), "x"),
    st.integers(0, 5),
    st.integers(0, 2),
    st.sets(st.integers(1, 4), min_size=1, max_size=3),
)


@given(st.lists(CLAIMS, max_size=4))
def test_contradictions_are_found_where_trying_everything_finds_no_way(claims: list[Claim]) -> None:
    assert (contradictions(claims) == []) == possible(claims)
