# SPDX-License-Identifier: Apache-2.0
"""What is kept of serialised contents and deltas."""

from __future__ import annotations

from controller.memo import Memo

A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


def never() -> bytes:
    raise AssertionError("it was made before")


def test_what_was_made_is_not_made_again() -> None:
    memo = Memo(100)
    assert memo.made((A, B), lambda: b"delta") == b"delta"
    assert memo.made((A, B), never) == b"delta"
    assert memo.made((B, A), lambda: b"") == b""
    assert memo.made((B, A), never) == b""


def test_ways_from_and_to_a_forgotten_content_go_with_it() -> None:
    memo = Memo(100)
    for way in ((A, B), (B, C), (b"", B), (A, C)):
        memo.made(way, lambda: b"x")
    memo.forget(B)
    assert len(memo) == 1
    assert memo.made((A, C), never) == b"x"
    assert memo.made((A, B), lambda: b"anew") == b"anew"
    memo.forget(b"unknown")


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    memo = Memo(10)
    memo.made((b"", A), lambda: b"12345")
    memo.made((b"", B), lambda: b"12345")
    memo.made((b"", A), never)
    memo.made((b"", C), lambda: b"1")
    assert memo.made((b"", A), never) == b"12345"
    assert memo.made((b"", B), lambda: b"anew") == b"anew"
    memo.forget(b"")
    assert len(memo) == 0


def test_one_that_is_larger_than_all_may_be_is_kept_alone() -> None:
    memo = Memo(1)
    memo.made((b"", A), lambda: b"large")
    memo.made((b"", B), lambda: b"larger")
    assert len(memo) == 1
    assert memo.made((b"", B), never) == b"larger"
