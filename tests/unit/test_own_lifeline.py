# SPDX-License-Identifier: Apache-2.0
"""The way to the controllers that the agent keeps open, and nothing besides."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from agent.core import own_lifeline
from agent.core.model import (
    Action,
    Direction,
    Identity,
    Mode,
    Network,
    Protocol,
    Reason,
    Snapshot,
    Verdict,
)
from agent.core.policy import Query, network_identity, verdict
from agent.core.soundness import check_content
from tests.unit import snapshots

CONTROLLER = ipaddress.ip_address("203.0.113.9")
WIDE = Network(0x800000 + 77, ipaddress.ip_network("203.0.113.0/24"))


def closed() -> Snapshot:
    made = snapshots.snapshot()
    return replace(made, modes=dict.fromkeys(made.modes, Mode.ENFORCE), rules=())


def ask(made: Snapshot, port: int, protocol: Protocol = Protocol.TCP) -> Verdict:
    peer = network_identity(made, CONTROLLER)
    query = Query(Direction.EGRESS, protocol, Identity.HOST, peer, port, CONTROLLER)
    return verdict(made, query).verdict


def test_the_controllers_port_is_open_and_no_other() -> None:
    made = own_lifeline.add(closed(), [(CONTROLLER, 7440)])
    assert check_content(made) is None
    assert ask(made, 7440) is Verdict.ALLOW
    assert ask(made, 7441) is Verdict.REFUSE
    assert ask(made, 7440, Protocol.UDP) is Verdict.REFUSE
    assert ask(closed(), 7440) is Verdict.REFUSE


def test_policy_says_about_the_address_what_it_said_before() -> None:
    rule = replace(
        snapshots.rule(1),
        action=Action.ALLOW,
        direction=Direction.EGRESS,
        locals=frozenset({Identity.HOST}),
        peers=frozenset({WIDE.identity}),
        ports=(),
    )
    before = replace(closed(), networks=(WIDE,), rules=(rule,))
    after = own_lifeline.add(before, [(CONTROLLER, 7440)])
    assert check_content(after) is None
    assert ask(before, 80) is ask(after, 80) is Verdict.ALLOW


def test_each_controller_has_a_rule_and_each_address_one_network() -> None:
    other = ipaddress.ip_address("2001:db8::9")
    targets = [(CONTROLLER, 7440), (CONTROLLER, 7442), (other, 7440), (other, 7440)]
    made = own_lifeline.add(closed(), targets)
    assert check_content(made) is None
    numbers = [rule.number for rule in made.rules]
    assert len(set(numbers)) == len(numbers) == 3
    assert len(made.networks) == len(closed().networks) + 2


def test_opened_refuses_nothing() -> None:
    made = own_lifeline.opened(closed())
    assert check_content(made) is None
    query = Query(Direction.EGRESS, Protocol.TCP, Identity.HOST, Identity.WORLD, 1, CONTROLLER)
    assert verdict(made, query).reason is Reason.MODE_OFF
