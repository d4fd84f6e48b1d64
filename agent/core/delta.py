# SPDX-License-Identifier: Apache-2.0
"""Desired against actual -> what to put and what to delete, and in which order. Pure.

A kernel map is a cache of what core wants; this says how to bring it in step with the fewest
writes. Puts come before deletes: while a plan is carried out, an entry may be old, but one that is
wanted before and after is never missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Delta(Generic[K, V]):
    """To be carried out in this order: all puts, then all deletes."""

    puts: Mapping[K, V]
    deletes: tuple[K, ...]

    @property
    def empty(self) -> bool:
        return not self.puts and not self.deletes


def plan(
    desired: Mapping[K, V],
    actual: Mapping[K, V],
    same: Callable[[V, V], bool] | None = None,
) -> Delta[K, V]:
    """What makes `actual` equal to `desired`; `same` says which entries need no write."""
    agree = same or _equal
    puts = {
        key: value
        for key, value in desired.items()
        if key not in actual or not agree(value, actual[key])
    }
    return Delta(puts, tuple(key for key in actual if key not in desired))


def _equal(one: V, other: V) -> bool:
    return one == other
