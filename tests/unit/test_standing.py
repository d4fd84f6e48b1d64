# SPDX-License-Identifier: Apache-2.0
"""How the agent stands: every state from what is known, and a true sentence for each."""

from __future__ import annotations

import pytest

from agent.core.standing import Stage, Standing, State

ONE, TWO, THREE = b"1", b"2", b"3"


def standing(*, version: int | None = None, at: float = 5.0) -> Standing:
    made = Standing(stage=Stage.RUNNING, at=at)
    if version is not None:
        made.in_force(version, expires=10, digest=ONE)
    return made


def state(made: Standing) -> str:
    return made.state.value


def test_before_it_runs_it_says_how_far_it_is() -> None:
    made = Standing()
    assert state(made) == "starting"
    made.stage = Stage.LOADING
    assert (state(made), made.summary) == ("loading", "The datapath is being loaded.")


def test_without_a_policy_it_is_syncing() -> None:
    made = standing()
    assert state(made) == "syncing"
    made.file_is_good(ONE)
    assert state(made) == "syncing", "good is not yet in force"
    assert made.summary == "No policy has been in force since the agent started."


def test_an_earlier_runs_policy_is_not_called_none() -> None:
    made = standing()
    made.inherited = True
    made.file_is_refused("it is forged")
    assert made.summary == (
        "What the last run of the agent left in force is enforced, its cache is lost; "
        "the snapshot file is not: it is forged"
    )


def test_the_cache_alone_is_cached_until_the_file_has_been_good() -> None:
    made = standing(version=1)
    assert state(made) == "cached"
    assert made.summary == "Policy version 1 is in force; there is no snapshot file."
    made.file_is_refused("it is forged")
    assert state(made) == "cached"
    made.file_is_good(ONE)
    assert state(made) == "in_sync"
    assert made.summary == "Policy version 1 is in force."


def test_a_newer_file_is_not_in_sync_before_it_is_in_force() -> None:
    made = standing(version=1)
    made.file_is_good(TWO)
    assert state(made) == "cached", "of the cache, and the file's has not been in force"
    made.in_force(2, expires=10, digest=TWO)
    assert state(made) == "in_sync"
    made.file_is_good(THREE)
    assert (state(made), made.pending) == ("stale", True)
    assert made.summary == "Policy version 2 is in force; the snapshot file's is on its way."
    made.in_force(3, expires=10, digest=THREE)
    assert (state(made), made.pending) == ("in_sync", False)


def test_a_good_file_that_never_came_into_force_leaves_what_was_stale() -> None:
    made = standing(version=1)
    made.file_is_good(TWO)
    made.file_is_refused("the map is full")
    assert (state(made), made.pending) == ("stale", False)


@pytest.mark.parametrize("trouble", ["missing", "refused"])
def test_a_file_that_is_good_no_more_is_stale(trouble: str) -> None:
    made = standing(version=1)
    made.file_is_good(ONE)
    if trouble == "missing":
        made.file_is_missing()
    else:
        made.file_is_refused("it is forged")
    assert state(made) == "stale"
    made.file_is_good(ONE)
    assert state(made) == "in_sync"


@pytest.mark.parametrize("good", [True, False])
def test_expiry_is_told_whatever_the_file_is(good: bool) -> None:
    made = standing(version=1, at=9.9)
    if good:
        made.file_is_good(ONE)
    assert state(made) != "expired"
    made.at = 10.0
    assert state(made) == "expired"
    assert "it has expired and goes on being enforced" in made.summary


def test_a_missing_file_has_no_reason_of_the_one_before() -> None:
    made = standing(version=1)
    made.file_is_refused("it is forged")
    made.file_is_missing()
    assert (made.refused, made.summary) == (
        "", "Policy version 1 is in force; there is no snapshot file.",
    )  # fmt: skip


def test_it_knows_which_content_the_file_has() -> None:
    made = standing()
    assert not made.is_of_file(ONE)
    made.file_is_good(ONE)
    assert made.is_of_file(ONE)
    made.file_is_good(TWO)
    assert not made.is_of_file(ONE)
    made.file_is_refused("it is forged")
    assert not made.is_of_file(TWO)


def test_states_that_an_operator_should_look_at() -> None:
    assert {state for state in State if not state.good} == {
        State.SYNCING, State.STALE, State.EXPIRED, State.SUSPENDED,
    }  # fmt: skip
