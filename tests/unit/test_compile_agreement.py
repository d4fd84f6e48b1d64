# SPDX-License-Identifier: Apache-2.0
"""The kernel's look-up over the compiled entries gives what the oracle gives, for any policy."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import policy
from agent.core.compile import compile_policy
from agent.core.model import Action, Direction, Protocol, Rule, Snapshot
from agent.core.policy import Query
from tests.unit import snapshots
from tests.unit.kernel_lookup import ADDRESSES, OUT, Kernel
from tests.unit.snapshots import API, DB, FAR, WEB, rule, snapshot


@st.composite
def queries(draw: st.DrawFn, policy_: Snapshot) -> Query:
    networks = [network.identity for network in policy_.networks]
    peers = [1, 2, 3, 4, 6, WEB, API, DB, FAR, 401, 402, *networks]
    protocol = draw(st.sampled_from(Protocol))
    port = draw(snapshots.PORTS | st.integers(0, 65535))
    return Query(
        direction=draw(st.sampled_from(Direction)),
        protocol=protocol,
        local=draw(st.sampled_from([1, 6, WEB, API, DB, 999])),
        peer=draw(st.sampled_from(peers)),
        port={Protocol.OTHER: 0, Protocol.TCP: port, Protocol.UDP: port}.get(protocol, port % 256),
        address=draw(st.none() | st.sampled_from(ADDRESSES)),
        same_host=draw(st.booleans()),
    )


@given(st.data())
@settings(max_examples=400)
def test_the_kernel_agrees_with_the_oracle(data: st.DataObject) -> None:
    policy_ = data.draw(snapshots.snapshots())
    kernel = Kernel(compile_policy(policy_))
    for query in data.draw(st.lists(queries(policy_), min_size=1, max_size=12)):
        assert kernel.decide(query) == policy.verdict(policy_, query), query
        assert kernel.staged(query) == policy.staged(policy_, query), query


@given(st.data())
@settings(max_examples=300)
def test_the_kernel_agrees_on_what_connect_may_assume(data: st.DataObject) -> None:
    policy_ = data.draw(snapshots.snapshots())
    kernel = Kernel(compile_policy(policy_))
    for query in data.draw(st.lists(queries(policy_), min_size=1, max_size=12)):
        asked = (query.local, query.protocol, query.port)
        assert kernel.provisional(*asked) == policy.provisional(policy_, *asked), asked


def edges(rules: list[Rule]) -> set[tuple[Protocol, int]]:
    """Each port where some rule begins or ends, and its neighbours."""
    return {
        (ports.protocol, port)
        for rule_ in rules
        for ports in rule_.ports
        for port in (ports.first - 1, ports.first, ports.last, ports.last + 1)
        if 0 <= port <= 65535
    }


@st.composite
def crowded(draw: st.DrawFn) -> Snapshot:
    """Egress rules of one workload that meet at few peers: one, all that could answer, any."""
    everybody = set(policy.answerers(snapshot()))
    rules = [
        rule(
            number,
            draw(st.sampled_from([Action.ALLOW, Action.DENY])),
            locals_={WEB},
            peers=draw(st.sampled_from([None, {FAR}, {FAR, API}, everybody, everybody - {FAR}])),
            ports=tuple(draw(st.lists(snapshots.port_ranges(), max_size=3))),
        )
        for number in range(1, draw(st.integers(2, 7)))
    ]
    return snapshot(*rules)


@given(crowded())
@settings(max_examples=400)
def test_the_kernel_agrees_at_every_edge_of_every_range(policy_: Snapshot) -> None:
    kernel = Kernel(compile_policy(policy_))
    for protocol, port in edges(list(policy_.rules)):
        query = Query(OUT, protocol, WEB, FAR, port)
        assert kernel.decide(query) == policy.verdict(policy_, query), query
        found = kernel.provisional(WEB, protocol, port)
        assert found == policy.provisional(policy_, WEB, protocol, port), query
