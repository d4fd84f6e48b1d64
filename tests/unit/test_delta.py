# SPDX-License-Identifier: Apache-2.0
"""Desired against actual."""

import itertools

from agent.core.delta import plan

STATES: tuple[dict[str, int], ...] = ({}, {"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 2, "c": 3})


def test_carrying_out_a_plan_leads_from_any_state_to_any_other() -> None:
    for actual, desired in itertools.product(STATES, repeat=2):
        found = plan(desired, actual)
        after = {**actual, **found.puts}
        for key in found.deletes:
            del after[key]
        assert after == desired
        assert found.empty == (actual == desired)


def test_entry_that_is_the_same_is_not_written() -> None:
    assert plan({"a": 1, "b": 2}, {"a": 1, "b": 1}).puts == {"b": 2}


def test_caller_says_what_is_the_same() -> None:
    assert plan({"a": 13}, {"a": 3}, lambda one, other: one % 10 == other % 10).empty
