# SPDX-License-Identifier: Apache-2.0
"""Compiled addresses and networks: whose an address is to the kernel's look-up."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import policy
from agent.core.compile import compile_policy
from agent.core.model import Action, Identity, IPAddress, Network, Reason, Snapshot, Verdict
from tests.unit import snapshots
from tests.unit.kernel_lookup import ADDRESSES, IN, Kernel, ask, compiled
from tests.unit.snapshots import LAN, NARROW, WIDE, rule, snapshot, tcp


@given(st.sampled_from(ADDRESSES), snapshots.snapshots())
@settings(max_examples=150)
def test_addresses_have_the_identity_of_their_longest_prefix(
    address: IPAddress, policy_: Snapshot
) -> None:
    kernel = Kernel(compile_policy(policy_))
    assert kernel.classify(address).identity == policy.network_identity(policy_, address)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("192.0.2.1", 1),
        ("192.0.2.2", 2),
        ("fd00::2", 2),
        ("127.0.0.1", 1),
        ("127.9.9.9", 1),
        ("::1", 1),
        ("0.0.0.0", 1),
        ("192.0.2.3", 0),
        ("203.0.113.1", 0),
    ],
)
def test_addresses_have_their_managed_host(address: str, host: int) -> None:
    assert compiled().classify(ipaddress.ip_address(address)).host == host


@pytest.mark.parametrize("address", ["192.0.2.77", "203.0.113.1", "fd00::9"])
def test_a_managed_address_without_a_peer_is_unproven(address: str) -> None:
    stranger = ipaddress.ip_address(address)
    kernel = Kernel(compile_policy(snapshot(managed=frozenset({stranger}))))
    assert kernel.by_address(stranger) == Identity.UNPROVEN
    assert kernel.by_address(ipaddress.ip_address("203.0.113.2")) == Identity.WORLD


def test_a_managed_address_of_a_peer_is_the_peers() -> None:
    address = ipaddress.ip_address("192.0.2.2")
    kernel = Kernel(compile_policy(snapshot(managed=frozenset({address}))))
    assert kernel.classify(address).host == 2


def test_a_lifeline_for_a_network_is_open_to_a_stranger_in_it() -> None:
    line = rule(2, Action.LIFELINE, IN, peers={LAN}, ports=(tcp(22),))
    stranger = ipaddress.ip_address("192.0.2.77")
    kernel = Kernel(compile_policy(snapshot(line, managed=frozenset({stranger}))))
    asked = ask(kernel, 22, direction=IN, peer=Identity.UNPROVEN, address=str(stranger))
    assert asked == (Verdict.ALLOW, Reason.LIFELINE, 2)


def test_a_narrow_network_stands_before_the_wide_one_around_it() -> None:
    kernel = compiled()
    assert kernel.classify(ipaddress.ip_address("198.51.100.7")).identity == NARROW
    assert kernel.classify(ipaddress.ip_address("198.51.100.8")).identity == WIDE


def test_networks_that_begin_alike_keep_their_identities() -> None:
    wide = Network(0x800010, ipaddress.ip_network("10.0.0.0/8"))
    narrow = Network(0x800011, ipaddress.ip_network("10.0.0.0/24"))
    kernel = Kernel(compile_policy(snapshot(networks=(wide, narrow))))
    assert kernel.classify(ipaddress.ip_address("10.0.0.9")).identity == 0x800011
    assert kernel.classify(ipaddress.ip_address("10.0.1.9")).identity == 0x800010


def test_an_ipv6_prefix_does_not_answer_for_ipv4() -> None:
    everything = Network(0x800009, ipaddress.ip_network("::/0"))
    kernel = Kernel(compile_policy(snapshot(networks=(everything,))))
    assert kernel.classify(ipaddress.ip_address("203.0.113.1")).identity == Identity.WORLD
    assert kernel.classify(ipaddress.ip_address("2001::1")).identity == 0x800009
