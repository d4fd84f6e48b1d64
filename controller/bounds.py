# SPDX-License-Identifier: Apache-2.0
"""What requests of administrators may hold: each field read, or refused with a sentence. Pure.

The numbers are the contract's, `cordon/v1/admin.proto`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from agent.core.model import IPAddress, IPNetwork
from controller.fields import (
    MAX_TEXT,
    NAME_EXPECTED,
    is_name,
    parse_host_address,
    parse_network,
)
from controller.records import Labels, Page
from controller.yamlfile import describe

T = TypeVar("T")

MAX_WHY = 1000
MAX_PAGE = 1000
DEFAULT_PAGE = 100
MAX_LIST = 64
MAX_NUMBER = (1 << 63) - 1
"""What the store can count to."""
_PAGE_TOKEN = re.compile(r"[0-9]{1,18}|[0-9]{1,18} [a-z2-7]{16}|[a-z0-9-]{1,63} [0-9]{1,18}")


class OutOfBounds(ValueError):
    """The sentence says what was expected and what came."""


def why(text: str, *, required: bool = True) -> str:
    """Typed by a person."""
    if required and not text:
        raise OutOfBounds("expected why this is done, got nothing")
    if len(text.encode()) > MAX_WHY:
        raise OutOfBounds(f"expected a why of at most {MAX_WHY} bytes, got {len(text.encode())}")
    if text and not text.isprintable():
        raise OutOfBounds("expected a why without control characters")
    return text


def name(value: str, what: str) -> str:
    if not is_name(value):
        raise OutOfBounds(f"{what}: {NAME_EXPECTED}, got {describe(value)}")
    return value


def number(value: int, low: int, high: int, what: str) -> int:
    if not low <= value <= high:
        raise OutOfBounds(f"{what}: expected {low} to {high}, got {value}")
    return value


def page(size: int, token: str) -> Page:
    if size > MAX_PAGE:
        raise OutOfBounds(f"page_size: expected at most {MAX_PAGE}, got {size}")
    if token and not _PAGE_TOKEN.fullmatch(token):
        raise OutOfBounds("page_token: expected that of the answer before")
    return Page(size or DEFAULT_PAGE, token)


def labels(given: Mapping[str, str]) -> Labels:
    """As documents write them."""
    _few(len(given), "labels")
    for key, value in given.items():
        name(key, "a label's key")
        if not (value.isascii() and value.isprintable() and 0 < len(value) <= MAX_TEXT):
            raise OutOfBounds(
                f"label {key}: expected 1 to {MAX_TEXT} printable ASCII characters, "
                f"got {describe(value)}"
            )
    return dict(given)


def names(given: Iterable[str], what: str) -> tuple[str, ...]:
    listed = tuple(given)
    _few(len(listed), what)
    return tuple(name(one, what) for one in listed)


def networks(given: Iterable[str]) -> tuple[IPNetwork, ...]:
    return _parsed(given, parse_network, "networks")


def addresses(given: Iterable[str]) -> tuple[IPAddress, ...]:
    return _parsed(given, parse_host_address, "addresses")


def _parsed(given: Iterable[str], parse: Callable[[str], T], what: str) -> tuple[T, ...]:
    listed = list(given)
    _few(len(listed), what)
    try:
        return tuple(dict.fromkeys(map(parse, listed)))
    except ValueError as error:
        raise OutOfBounds(f"{what}: {error}") from error


def _few(count: int, what: str) -> None:
    if count > MAX_LIST:
        raise OutOfBounds(f"{what}: expected at most {MAX_LIST}, got {count}")
