# SPDX-License-Identifier: Apache-2.0
"""When two alternatives could be the same process's."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.model import Selector
from controller.overlap import bucket, globs_meet, may_tie


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Selector(exe="/a"), Selector(exe="/b")),
        (Selector(exe="/a", user="x"), Selector(exe="/a", user="y")),
        (Selector(sha256="a" * 64), Selector(sha256="b" * 64)),
        (Selector(unit="a.service"), Selector(unit="b.service")),
        (Selector(unit="a@*.service"), Selector(unit="b@*.service")),
        (Selector(unit="a.slice"), Selector(unit="b.slice")),
        (Selector(unit="user-1000.slice"), Selector(unit="a.service")),
        (Selector(unit="*.slice"), Selector(unit="a*")),
        (Selector(unit="machine.slice"), Selector(container="web")),
        (Selector(cgroup="/a/*"), Selector(cgroup="/b/*")),
        (Selector(user="1"), Selector(user="2")),
        (Selector(user="0"), Selector(user="nobody")),
        (Selector(user="root"), Selector(user="7")),
        (Selector(group="x"), Selector(group="y")),
        (Selector(container="web"), Selector(container="db")),
        (Selector(container="image=nginx:*"), Selector(container="image=redis:*")),
        (Selector(container="a" * 64), Selector(container="b" * 12)),
        (Selector(exe="/a", user="x"), Selector(exe="/a")),
        (Selector(unit="a.service"), Selector(cgroup="*")),
    ],
)
def test_told_apart(one: Selector, other: Selector) -> None:
    assert not may_tie(one, other)
    assert not may_tie(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Selector(exe="/a"), Selector(exe="/a")),
        (Selector(exe="/a", user="x"), Selector(exe="/a", group="y")),
        (Selector(unit="a*.service"), Selector(unit="*b.service")),
        (Selector(unit="s*"), Selector(unit="a.service")),
        (Selector(unit="system.slice"), Selector(unit="system-a.slice")),
        (Selector(unit="a.service"), Selector(container="web")),
        (Selector(user="root"), Selector(user="0")),
        (Selector(user="nobody"), Selector(user="7")),
        (Selector(user="x"), Selector(group="y")),
        (Selector(cgroup="/a/*"), Selector(cgroup="/*/b")),
        (Selector(container="web"), Selector(container="a" * 64)),
        (Selector(container="web"), Selector(container="image=nginx")),
        (Selector(container="a" * 64), Selector(container="a" * 12)),
        (Selector(container="name=web"), Selector(container="we*")),
    ],
)
def test_may_tie(one: Selector, other: Selector) -> None:
    assert may_tie(one, other)
    assert may_tie(other, one)
    assert None in (bucket(one), bucket(other)) or bucket(one) == bucket(other)


PATTERN = st.text("ab*?[]!-", max_size=6)


@given(PATTERN, PATTERN, st.text("ab[]!-*", max_size=6))
def test_patterns_that_match_one_text_meet(one: str, other: str, text: str) -> None:
    if fnmatchcase(text, one) and fnmatchcase(text, other):
        assert globs_meet(one, other)


@given(PATTERN)
def test_pattern_meets_itself_if_it_matches_anything(pattern: str) -> None:
    texts = ["", *(a + b + c for a in "ab[]!-" for b in "ab[]!-" for c in ("", "a", "b"))]
    if any(fnmatchcase(text, pattern) for text in texts):
        assert globs_meet(pattern, pattern)


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("a*b", "ab", True),
        ("a*b", "a", False),
        ("a?c", "a[bx]c", True),
        ("a[0-4]", "a[5-9]", False),
        ("a[!b]", "ab", False),
        ("[[]x", "[x", True),
        ("**", "", True),
        ("a[", "a[", True),
    ],
)
def test_globs(one: str, other: str, meet: bool) -> None:
    assert globs_meet(one, other) is meet
    assert globs_meet(other, one) is meet
