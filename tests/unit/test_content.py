# SPDX-License-Identifier: Apache-2.0
"""Content, its digest and deltas: what the controller signs is what an agent arrives at."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import content
from agent.core.content import DeltaRefused, Entries, Key, Section, apply, difference, digest

_NUMBERS = st.dictionaries(st.integers(1, 12), st.binary(min_size=1, max_size=3), max_size=8)
_ADDRESS = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)


@st.composite
def contents(draw: st.DrawFn) -> Entries:
    entries: dict[Section, Mapping[Key, bytes]] = {}
    for section in Section:
        if section is Section.MANAGED:
            entries[section] = {address: address for address in draw(st.sets(_ADDRESS, max_size=6))}
        elif section is Section.SETTINGS:
            entries[section] = {content.SETTINGS_KEY: draw(st.binary(min_size=1, max_size=3))}
        else:
            entries[section] = dict(draw(_NUMBERS).items())
    return entries


@given(contents(), contents())
def test_a_difference_leads_from_one_content_to_the_other(old: Entries, new: Entries) -> None:
    assert apply(old, *difference(old, new)) == new


@given(contents())
def test_a_content_is_a_difference_from_nothing(new: Entries) -> None:
    assert apply(content.EMPTY, *difference(content.EMPTY, new)) == new
    assert difference(new, new) == ({}, {})


@given(contents(), contents())
def test_digests_are_equal_exactly_where_contents_are(one: Entries, other: Entries) -> None:
    assert (digest(one) == digest(other)) == (one == other)


@given(contents(), contents())
def test_hashes_that_were_kept_change_no_digest(one: Entries, other: Entries) -> None:
    known: dict[bytes, bytes] = {}
    assert digest(one, known) == digest(one)
    assert digest(other, known) == digest(other)


@given(contents())
def test_order_of_entries_changes_no_digest(entries: Entries) -> None:
    turned = {
        s: dict(reversed(list(items.items()))) for s, items in reversed(list(entries.items()))
    }
    assert digest(turned) == digest(entries)


def test_the_digest_is_what_the_contract_says() -> None:
    def sha(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    entries: Entries = {
        Section.RULES: {7: b"seven", 2: b"two"},
        Section.MANAGED: {bytes(16): bytes(16), b"\xc0\0\2\1": b"\xc0\0\2\1"},
        Section.SETTINGS: {0: b"s"},
    }
    said = b"cordon content v1\n"
    said += b"\1\0\0\0\0" + b"\2\0\0\0\2" + sha(b"two") + sha(b"seven")
    said += b"".join(bytes([number, 0, 0, 0, 0]) for number in (3, 4, 5, 6))
    said += b"\7\0\0\0\2" + sha(b"\xc0\0\2\1") + sha(bytes(16))
    said += b"\10\0\0\0\1" + sha(b"s")
    assert digest(entries) == sha(said)


HELD: Entries = {Section.RULES: {1: b"one", 2: b"two"}}


def test_what_is_held_stays_as_it_is() -> None:
    apply(HELD, {Section.RULES: [1]}, {Section.RULES: {3: b"three"}})
    assert HELD == {Section.RULES: {1: b"one", 2: b"two"}}


def test_removing_what_is_not_there_is_refused() -> None:
    with pytest.raises(DeltaRefused, match="rules: 3 is to be removed and is not there"):
        apply(HELD, {Section.RULES: [3]}, {})
    with pytest.raises(DeltaRefused, match="1 is to be removed and is not there"):
        apply(HELD, {Section.RULES: [1, 1]}, {})


def test_removing_and_putting_the_same_is_refused() -> None:
    with pytest.raises(DeltaRefused, match="rules: 1 is both removed and put"):
        apply(HELD, {Section.RULES: [1]}, {Section.RULES: {1: b"new"}})


def test_settings_are_one_entry() -> None:
    with pytest.raises(DeltaRefused, match="settings: 2 entries are more than 1"):
        apply({Section.SETTINGS: {0: b"s"}}, {}, {Section.SETTINGS: {1: b"t"}})
