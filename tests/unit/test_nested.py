# SPDX-License-Identifier: Apache-2.0
"""Which networks lie within another, held against asking each of them."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from agent.core.model import IPNetwork, Network
from controller.nested import Nested
from controller.selectors import covers


def networks() -> st.SearchStrategy[IPNetwork]:
    """Few addresses, so that many lie within others; both families, whose numbers overlap."""
    v4 = st.builds(
        lambda address, length: ipaddress.IPv4Network((address << 28, length), strict=False),
        st.integers(0, 15),
        st.integers(0, 32),
    )
    v6 = st.builds(
        lambda address, length: ipaddress.IPv6Network((address << 28, length), strict=False),
        st.integers(0, 15),
        st.integers(90, 128),
    )
    return v4 | v6


@given(st.sets(networks(), max_size=30), networks())
def test_those_within_are_those_that_it_covers(cidrs: set[IPNetwork], wide: IPNetwork) -> None:
    known = [Network(number, cidr) for number, cidr in enumerate(cidrs)]
    found = Nested(known).within(wide)
    assert set(found) == {network for network in known if covers(wide, network.cidr)}
    assert len(found) == len(set(found))
