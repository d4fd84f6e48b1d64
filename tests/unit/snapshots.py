# SPDX-License-Identifier: Apache-2.0
"""Snapshots for tests: a small sound one, and Hypothesis strategies for random ones."""

import ipaddress
from collections.abc import Mapping

from hypothesis import strategies as st

from agent.core.model import (
    Action,
    Direction,
    EpochKey,
    Identity,
    IPAddress,
    IPNetwork,
    Mode,
    Network,
    Peer,
    PortRange,
    Protocol,
    Rule,
    Selector,
    Settings,
    Snapshot,
    Workload,
)

NOW = 1_800_000_000
EPOCH = NOW // 600
WEB, API, DB, FAR = 300, 301, 302, 400
LAN, WIDE, NARROW, NET6 = 0x800000, 0x800001, 0x800002, 0x800003
NETWORKS = (
    Network(LAN, ipaddress.ip_network("192.0.2.0/24")),
    Network(WIDE, ipaddress.ip_network("198.51.0.0/16")),
    Network(NARROW, ipaddress.ip_network("198.51.100.7/32")),
    Network(NET6, ipaddress.ip_network("2001:db8::/32")),
)


def keys(seed: int) -> tuple[EpochKey, ...]:
    return tuple(EpochKey(EPOCH + i, bytes([seed, i % 256] * 8)) for i in (-1, 0, 1))


def rule(
    number: int,
    action: Action = Action.ALLOW,
    direction: Direction = Direction.EGRESS,
    *,
    locals_: set[int] | None = None,
    peers: set[int] | None = None,
    ports: tuple[PortRange, ...] = (),
    staged: bool = False,
) -> Rule:
    return Rule(
        number=number,
        name=f"rule-{number}",
        action=action,
        direction=direction,
        locals=None if locals_ is None else frozenset(locals_),
        peers=None if peers is None else frozenset(peers),
        ports=ports,
        staged=staged,
    )


def tcp(first: int, last: int | None = None) -> PortRange:
    return PortRange(Protocol.TCP, first, first if last is None else last)


def snapshot(
    *rules: Rule,
    modes: Mapping[int, Mode] | None = None,
    networks: tuple[Network, ...] = NETWORKS,
    version: int = 7,
    managed: frozenset[IPAddress] = frozenset(),
) -> Snapshot:
    """Host 1 (`a`) with web, api and db; host 2 (`b`) with `far`."""
    enforced = dict.fromkeys((Identity.HOST, WEB, API, DB), Mode.ENFORCE)
    return Snapshot(
        host=1,
        host_name="a",
        version=version,
        issued=NOW - 60,
        expires=NOW + 3600,
        trust_domain="example.org",
        workloads=tuple(
            Workload(i, f"w{i}", "seg", (Selector(exe=f"/bin/w{i}"),)) for i in (WEB, API, DB)
        ),
        rules=rules,
        peers=(
            Peer(1, "a", (ipaddress.ip_address("192.0.2.1"),), keys(1), frozenset({WEB, API, DB})),
            Peer(
                2,
                "b",
                (ipaddress.ip_address("192.0.2.2"), ipaddress.ip_address("fd00::2")),
                keys(2),
                frozenset({FAR}),
            ),
        ),
        networks=networks,
        receive_secrets=keys(9),
        modes=enforced if modes is None else modes,
        names={WEB: "seg/w300"},
        settings=Settings(),
        managed=managed,
    )


_LOCALS = st.sampled_from([int(Identity.HOST), WEB, API, DB])
_PEERS = st.sampled_from(
    [int(Identity.HOST), int(Identity.WORLD), int(Identity.UNPROVEN), WEB, API, FAR, 401]
    + [network.identity for network in NETWORKS]
)
_ADDRESS_PEERS = st.sampled_from([int(Identity.WORLD), LAN, WIDE, NARROW, NET6])
STRANGERS: list[IPAddress] = [
    ipaddress.ip_address(text)
    for text in ("192.0.2.2", "192.0.2.77", "198.51.100.7", "203.0.113.1", "2001:db8::5", "fd00::9")
]
"""One of them is a peer's; some are in networks."""
PORTS = st.sampled_from([0, 1, 2, 3, 21, 22, 23, 79, 80, 81, 255, 256, 8000, 8009, 65534, 65535])


@st.composite
def port_ranges(draw: st.DrawFn) -> PortRange:
    protocol = draw(st.sampled_from(Protocol))
    if protocol is Protocol.OTHER or draw(st.integers(0, 5)) == 0:
        return PortRange(protocol)
    top = 255 if protocol in (Protocol.ICMP, Protocol.ICMPV6) else 65535
    first = min(draw(PORTS), top)
    if draw(st.booleans()):
        return PortRange(protocol, first, first)
    first, last = sorted((first, min(draw(PORTS), top)))
    return PortRange(protocol, first, last)


@st.composite
def rules(draw: st.DrawFn, number: int) -> Rule:
    action = draw(st.sampled_from([Action.ALLOW, Action.ALLOW, Action.DENY, Action.LIFELINE]))
    lifeline = action is Action.LIFELINE
    any_ = st.none()
    return Rule(
        number=number,
        name=f"rule-{number}",
        action=action,
        direction=draw(st.sampled_from(Direction)),
        locals=None if lifeline else draw(any_ | st.frozensets(_LOCALS, min_size=1, max_size=3)),
        peers=draw(any_ | st.frozensets(_ADDRESS_PEERS if lifeline else _PEERS, max_size=4)),
        ports=tuple(draw(st.lists(port_ranges(), max_size=3))),
        staged=not lifeline and draw(st.integers(0, 3)) == 0,
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    numbers = draw(st.lists(st.integers(1, 40), max_size=7, unique=True))
    modes = {
        i: draw(st.sampled_from([Mode.ENFORCE, Mode.ENFORCE, Mode.AUDIT, Mode.OFF]))
        for i in (int(Identity.HOST), WEB, API, DB)
    }
    cidrs: list[IPNetwork] = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    extra = tuple(
        Network(0x800010 + i, cidr) for i, cidr in enumerate(cidrs) if draw(st.integers(0, 3)) == 0
    )
    return snapshot(
        *(draw(rules(number)) for number in numbers),
        modes=modes,
        networks=NETWORKS + extra,
        managed=draw(st.frozensets(st.sampled_from(STRANGERS), max_size=3)),
    )
