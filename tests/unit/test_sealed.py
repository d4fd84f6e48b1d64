# SPDX-License-Identifier: Apache-2.0
"""Sealed secrets open under their key, in their place, unchanged; and not otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.store.sealed import SealBroken, seal, unseal

MASTER = bytes(range(32))
SEALED = seal(MASTER, "authority", "1", b"secret")


@given(st.binary(max_size=5000))
def test_a_seal_opens_to_what_was_sealed(plain: bytes) -> None:
    assert unseal(MASTER, "root", "1", seal(MASTER, "root", "1", plain)) == plain


def test_no_two_seals_are_alike() -> None:
    assert seal(MASTER, "authority", "1", b"secret") != SEALED
    assert b"secret" not in SEALED


@pytest.mark.parametrize(
    ("master", "kind", "id_"),
    [
        (bytes(32), "authority", "1"),
        (MASTER, "root", "1"),
        (MASTER, "authority", "2"),
        (MASTER, "authorit", "y1"),
    ],
)
def test_elsewhere_it_does_not_open(master: bytes, kind: str, id_: str) -> None:
    with pytest.raises(SealBroken, match="the master key does not open it"):
        unseal(master, kind, id_, SEALED)


@pytest.mark.parametrize("position", range(0, len(SEALED), 3))
def test_changed_anywhere_it_does_not_open(position: int) -> None:
    changed = bytearray(SEALED)
    changed[position] ^= 1
    with pytest.raises(SealBroken):
        unseal(MASTER, "authority", "1", bytes(changed))


@pytest.mark.parametrize("length", range(0, 30, 7))
def test_cut_off_it_does_not_open(length: int) -> None:
    with pytest.raises(SealBroken):
        unseal(MASTER, "authority", "1", SEALED[:length])
