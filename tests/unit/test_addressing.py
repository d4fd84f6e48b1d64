# SPDX-License-Identifier: Apache-2.0
"""Which addresses a host may have: attack list, "agent claims another host's"."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from agent.core.model import IPAddress
from controller import addressing
from controller.records import HostRow, Seen

HOST = HostRow(
    name="web-1",
    number=1,
    labels={},
    addresses=(),
    networks=(),
    fixed=False,
    tags=True,
    nat=False,
    lost=False,
    revoked=False,
    record_serial=1,
    record_at=0,
    enrolled_at=0,
    enrolled_by="",
    certificate_expires=0,
    seen=Seen(),
)


def _ips(*texts: str) -> tuple[IPAddress, ...]:
    return tuple(ipaddress.ip_address(text) for text in texts)


def test_reported_addresses_are_taken_once_and_in_order() -> None:
    claimed = addressing.claim(HOST, _ips("2001:db8::1", "192.0.2.9", "192.0.2.7", "192.0.2.9"), {})
    assert claimed == addressing.Claimed(_ips("192.0.2.7", "192.0.2.9", "2001:db8::1"), ())


def test_an_address_of_another_host_is_refused_by_name() -> None:
    (mine, other) = _ips("192.0.2.7", "192.0.2.8")
    claimed = addressing.claim(HOST, (mine, other), {mine: "web-1", other: "db-1"})
    assert claimed == addressing.Claimed((mine,), ("192.0.2.8: is of host db-1",))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.1.2.3",
        "::1",
        "169.254.1.1",
        "fe80::1",
        "224.0.0.1",
        "ff02::1",
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "::ffff:192.0.2.7",
    ],
)
def test_addresses_that_nobody_is_reached_by_are_refused(address: str) -> None:
    claimed = addressing.claim(HOST, _ips(address), {})
    assert claimed.addresses == ()
    assert claimed.refused[0].startswith(f"{ipaddress.ip_address(address)}: is ")


def test_networks_bound_what_is_taken() -> None:
    host = replace(HOST, networks=(ipaddress.ip_network("10.0.0.0/8"),))
    claimed = addressing.claim(host, _ips("10.1.2.3", "192.0.2.7", "2001:db8::1"), {})
    assert claimed.addresses == _ips("10.1.2.3")
    assert len(claimed.refused) == 2
    assert "none of the host's networks" in claimed.refused[0]


def test_what_an_operator_gave_no_report_changes() -> None:
    host = replace(HOST, fixed=True, addresses=_ips("192.0.2.7"))
    claimed = addressing.claim(host, _ips("192.0.2.7", "192.0.2.8"), {})
    assert claimed.addresses == _ips("192.0.2.7")
    assert claimed.refused == ("192.0.2.8: an operator gave this host its addresses",)


def test_there_is_a_bound() -> None:
    many = [ipaddress.ip_address((10 << 24) + number) for number in range(1, 70)]
    claimed = addressing.claim(HOST, many, {})
    assert len(claimed.addresses) == addressing.MAX_ADDRESSES
    assert len(claimed.refused) == 69 - addressing.MAX_ADDRESSES
