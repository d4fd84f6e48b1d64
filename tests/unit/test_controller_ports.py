# SPDX-License-Identifier: Apache-2.0
"""The grammar of ports."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.model import PortRange, Protocol
from controller import ports

PORT = st.integers(1, 65535)
RANGES = st.builds(
    lambda protocol, a, b: PortRange(protocol, min(a, b), max(a, b)),
    st.sampled_from([Protocol.TCP, Protocol.UDP]),
    PORT,
    PORT,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("any", ()),
        ("tcp/443", (PortRange(Protocol.TCP, 443, 443),)),
        ("udp/8000-8010", (PortRange(Protocol.UDP, 8000, 8010),)),
        ("tcp/*", (PortRange(Protocol.TCP),)),
        ("icmp/*", (PortRange(Protocol.ICMP), PortRange(Protocol.ICMPV6))),
        ("icmp/echo-request",
         (PortRange(Protocol.ICMP, 8, 8), PortRange(Protocol.ICMPV6, 128, 128))),
        ("icmp/13", (PortRange(Protocol.ICMP, 13, 13),)),
        ("icmpv6/128", (PortRange(Protocol.ICMPV6, 128, 128),)),
    ],
)  # fmt: skip
def test_parse_reads_the_grammar(text: str, expected: tuple[PortRange, ...]) -> None:
    assert ports.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("443", "expected a port such as tcp/443"),
        ("tcp/", "expected a port such as tcp/443"),
        ("sctp/1", "there is no protocol 'sctp' here"),
        ("tcp/0", "expected a port from 1 to 65535"),
        ("tcp/65536", "expected a port from 1 to 65535"),
        ("tcp/080", "expected a port from 1 to 65535 as a decimal number"),
        ("tcp/443-80", "expected the lower port first: tcp/80-443"),
        ("tcp/1-", "expected a port from 1 to 65535"),
        ("tcp/\u0661", "expected a port from 1 to 65535"),
        ("icmp/256", "expected an ICMP type from 0 to 255"),
        ("icmp/ping", "expected an ICMP type: a number from 0 to 255, * or one of echo-reply"),
        ("icmpv6/timestamp-reply", "expected an ICMP type"),
    ],
)
def test_parse_refuses_with_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=r"^expected") as caught:
        ports.parse(text)
    assert expected in str(caught.value)


@given(RANGES)
def test_text_of_is_what_parse_reads(item: PortRange) -> None:
    assert ports.parse(ports.text_of(item)) == (item,)


@given(st.text(max_size=30))
def test_parse_answers_or_refuses_with_a_sentence(text: str) -> None:
    sentence = "expected"
    try:
        ports.parse(text)
    except ValueError as error:
        sentence = str(error)
    assert sentence.startswith("expected")


@given(st.lists(RANGES, max_size=8), st.sampled_from([Protocol.TCP, Protocol.UDP]), PORT)
def test_merge_covers_the_same_ports(items: list[PortRange], protocol: Protocol, port: int) -> None:
    def covered(ranges: tuple[PortRange, ...] | list[PortRange]) -> bool:
        return any(r.protocol is protocol and r.first <= port <= r.last for r in ranges)

    merged = ports.merge(items)
    assert covered(items) == covered(merged)
    assert all(a.protocol is not b.protocol or a.last + 1 < b.first for a, b in pairwise(merged))


def test_any_beside_others_is_any() -> None:
    assert ports.parse_all(["tcp/1", "any"]) == ()
