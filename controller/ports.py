# SPDX-License-Identifier: Apache-2.0
"""The grammar of ports: `tcp/443`, `tcp/8000-8010`, `udp/*`, `icmp/echo-request`, `any`.

Text to `PortRange`s and back. Not how the kernel stores them: ranges become prefixes there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from agent.core.model import PortRange, Protocol

EXPECTED = (
    "expected a port such as tcp/443, tcp/8000-8010, udp/53, tcp/*, icmp/echo-request, icmp/8, "
    "icmp/* or any"
)
PATTERN = (
    r"^(any|(tcp|udp)/(\*|[0-9]{1,5}(-[0-9]{1,5})?)"
    r"|icmp(v6)?/(\*|[0-9]{1,3}|[a-z][a-z-]{1,30}))$"
)
"""For the published schema; the parser says more."""

_TRANSPORT = {"tcp": Protocol.TCP, "udp": Protocol.UDP}
_ICMP = {"icmp": (Protocol.ICMP, Protocol.ICMPV6), "icmpv6": (Protocol.ICMPV6,)}
_ICMP_TYPES: dict[str, dict[Protocol, int]] = {
    "echo-request": {Protocol.ICMP: 8, Protocol.ICMPV6: 128},
    "echo-reply": {Protocol.ICMP: 0, Protocol.ICMPV6: 129},
    "timestamp-request": {Protocol.ICMP: 13},
    "timestamp-reply": {Protocol.ICMP: 14},
}
"""RFC 792 and RFC 4443. Errors and neighbour discovery are not here: they always pass."""
_NUMBER = re.compile(r"(0|[1-9][0-9]*)\Z", re.ASCII)
_LAST_PORT = 65535
_LAST_TYPE = 255


def parse(text: str) -> tuple[PortRange, ...]:
    """One item of a `ports` list; empty for `any`. Raises ValueError with a sentence."""
    if text == "any":
        return ()
    protocol, slash, rest = text.partition("/")
    if not slash or not rest:
        raise ValueError(EXPECTED)
    if protocol in _TRANSPORT:
        return (_transport(_TRANSPORT[protocol], text, rest),)
    if protocol in _ICMP:
        return _icmp(protocol, rest)
    raise ValueError(f"{EXPECTED}; there is no protocol {protocol[:20]!r} here")


def _transport(protocol: Protocol, text: str, rest: str) -> PortRange:
    if rest == "*":
        return PortRange(protocol)
    first, dash, last = rest.partition("-")
    low = _number(first, 1, _LAST_PORT, "a port")
    high = _number(last, 1, _LAST_PORT, "a port") if dash else low
    if low > high:
        name = text.partition("/")[0]
        raise ValueError(f"expected the lower port first: {name}/{high}-{low}")
    return PortRange(protocol, low, high)


def _icmp(family: str, rest: str) -> tuple[PortRange, ...]:
    if rest == "*":
        return tuple(PortRange(protocol) for protocol in _ICMP[family])
    if rest in _ICMP_TYPES:
        numbers = _ICMP_TYPES[rest]
        ranges = tuple(PortRange(p, numbers[p], numbers[p]) for p in _ICMP[family] if p in numbers)
        if ranges:
            return ranges
    if not _NUMBER.match(rest):
        raise ValueError(
            f"expected an ICMP type: a number from 0 to {_LAST_TYPE}, * or one of "
            f"{', '.join(sorted(_ICMP_TYPES))}"
        )
    # A type's number means different things in ICMP and ICMPv6: `icmp/8` is IPv4's alone.
    number = _number(rest, 0, _LAST_TYPE, "an ICMP type")
    return (PortRange(_ICMP[family][0], number, number),)


def _number(text: str, low: int, high: int, what: str) -> int:
    if not _NUMBER.match(text) or len(text) > len(str(high)) or not low <= int(text) <= high:
        raise ValueError(f"expected {what} from {low} to {high} as a decimal number")
    return int(text)


def merge(ranges: Iterable[PortRange]) -> tuple[PortRange, ...]:
    """The same ports as sorted ranges that neither touch nor overlap."""
    merged: list[PortRange] = []
    for protocol, group in groupby(sorted(ranges), key=lambda r: r.protocol):
        for item in group:
            top = merged[-1] if merged else None
            if top and top.protocol is protocol and item.first <= top.last + 1:
                merged[-1] = PortRange(protocol, top.first, max(top.last, item.last))
            else:
                merged.append(item)
    return tuple(merged)


def parse_all(texts: Sequence[str]) -> tuple[PortRange, ...]:
    """A whole `ports` list; empty if it says `any`. Raises ValueError."""
    parsed = [parse(text) for text in texts]
    return () if () in parsed else merge(r for ranges in parsed for r in ranges)


def text_of(ports: PortRange) -> str:
    """A range as the grammar writes it, for output."""
    name = ports.protocol.name.lower()
    if ports.whole:
        return f"{name}/*"
    return f"{name}/{ports.first}" + (f"-{ports.last}" if ports.last != ports.first else "")
