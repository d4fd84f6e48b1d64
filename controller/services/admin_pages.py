# SPDX-License-Identifier: Apache-2.0
"""Answers that would be larger than a message may be, made smaller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

M = TypeVar("M")

MAX_BYTES = 4 * 1024 * 1024 - 64 * 1024
"""Of a message, with room for what stands around it."""


async def shrunk(size: int, answer: Callable[[int], Awaitable[M]]) -> M:
    """A page of at most `size` rows: half as many, and again, until it fits."""
    made: Any = await answer(size)
    while size > 1 and made.ByteSize() > MAX_BYTES:
        size //= 2
        made = await answer(size)
    return made


def fitting(messages: Iterable[Any], limit: int, most_bytes: int) -> Iterator[Any]:
    """The first of them, as many as there is room for."""
    left = most_bytes
    for index, message in enumerate(messages):
        left -= message.ByteSize() + 8  # tag and length
        if index >= limit or left < 0:
            return
        yield message
