# SPDX-License-Identifier: Apache-2.0
"""Tokens: their text, and which of them are good."""

from __future__ import annotations

import hmac
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import tokens
from controller.access_records import HostGrant, TokenRow, TokenState

NOW = 1_700_000_000
RANDOM = bytes(range(tokens.RANDOM_BYTES))
PIN = b"\xff" * 32
TEXT, ID, HASH = tokens.new_token(RANDOM, PIN)
ROW = TokenRow(
    ID, HASH, HostGrant("web-1", {}), TokenState.ACTIVE, NOW, "olga", NOW + 900, 0, "", b""
)


def _parts(text: str = TEXT) -> tokens.TokenParts:
    parts = tokens.parse(text)
    assert parts is not None
    return parts


def test_a_token_reads_what_it_writes() -> None:
    parts = _parts()
    assert (parts.id, parts.secret, parts.pin) == (ID, RANDOM[10:], PIN)
    assert tokens.secret_hash(parts.secret) == HASH
    assert re.fullmatch(r"cordon1\.[a-z2-7]{16}\.[\w-]{43}\.[\w-]{43}", TEXT)
    assert len(TEXT) <= tokens.MAX_BYTES


def test_the_pin_may_be_left_out() -> None:
    parts = _parts(TEXT.rpartition(".")[0])
    assert (parts.secret, parts.pin) == (RANDOM[10:], b"")


def test_the_secret_is_in_no_repr() -> None:
    assert repr(RANDOM[10:]) not in repr(_parts())


@given(st.binary(min_size=42, max_size=42), st.binary(min_size=32, max_size=32))
def test_any_random_bytes_make_a_token(random: bytes, pin: bytes) -> None:
    text, id_, secret_hash = tokens.new_token(random, pin)
    parts = _parts(text)
    assert (parts.id, parts.pin) == (id_, pin)
    assert tokens.secret_hash(parts.secret) == secret_hash


@given(st.text(max_size=300))
def test_any_text_is_a_token_or_none(text: str) -> None:
    assert tokens.parse(text) is None or text.startswith("cordon1.")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cordon1",
        "cordon2" + TEXT[7:],
        TEXT + "\n",
        " " + TEXT,
        TEXT + ".x",
        TEXT.upper(),
        TEXT.replace("cordon1.", "cordon1.é"),
        TEXT + "x" * 300,
    ],
)
def test_other_texts_are_none(text: str) -> None:
    assert tokens.parse(text) is None


@given(st.binary(min_size=tokens.RANDOM_BYTES, max_size=tokens.RANDOM_BYTES))
def test_the_last_letters_spare_bits_make_no_second_text_of_a_token(random: bytes) -> None:
    """43 letters of base64 have two bits more than 32 bytes."""
    text, _, _ = tokens.new_token(random, PIN)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    bare = text.rpartition(".")[0]
    same = [a for a in alphabet if (p := tokens.parse(bare[:-1] + a)) and p == _parts(bare)]
    assert same == [bare[-1]]


def test_a_good_token_matches_until_it_ends() -> None:
    assert tokens.matches(_parts(), ROW, NOW)
    assert tokens.matches(_parts(), ROW, NOW + 899)
    assert not tokens.matches(_parts(), ROW, NOW + 900)


def test_a_spent_token_matches_for_the_store_decides_by_its_key() -> None:
    assert tokens.matches(_parts(), replace(ROW, state=TokenState.SPENT), NOW)


@pytest.mark.parametrize("state", [TokenState.EXPIRED, TokenState.REVOKED])
def test_a_token_that_was_ended_does_not_match(state: TokenState) -> None:
    assert not tokens.matches(_parts(), replace(ROW, state=state), NOW)


def test_a_guessed_secret_and_an_unknown_id_do_not_match() -> None:
    guessed, _, _ = tokens.new_token(RANDOM[:10] + bytes(32), PIN)
    assert not tokens.matches(_parts(guessed), ROW, NOW)
    assert not tokens.matches(_parts(), None, NOW)


def test_secrets_are_compared_in_constant_time_also_for_an_unknown_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[int] = []

    def compare(a: Any, b: Any) -> bool:
        compared.append(len(a) + len(b))
        return original(a, b)

    original = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    for row in (ROW, None, replace(ROW, state=TokenState.REVOKED)):
        tokens.matches(_parts(), row, NOW)
    assert compared == [64, 64, 64]
