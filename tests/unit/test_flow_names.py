# SPDX-License-Identifier: Apache-2.0
"""A flow event is told in the words of the policy that judged it, not of the newest one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from agent.core.agent import Agent
from agent.core.events import PolicyApplied
from agent.edge.local_view import LocalView
from agent.edge.procfs import ProcessReader
from tests.unit.snapshots import LAN, NETWORKS, WEB, rule, snapshot


def in_force(agent: Agent, version: int, *, names: dict[int, str], network: str) -> None:
    """As core leaves it once the kernel has switched; the generation is ten times the version."""
    made = snapshot(rule(version), version=version)
    agent.policy.snapshot = replace(made, names=names | {LAN: network})
    agent.policy.applied = PolicyApplied(version, version * 10, 1, 0.0)


def test_judgements_before_and_after_a_switch_keep_their_own_names() -> None:
    agent = Agent()
    view = LocalView("a", "a", agent, ProcessReader(Path("/"), Path("/")))
    in_force(agent, 1, names={WEB: "front/web"}, network="192.0.2.0/24")
    assert view.names.version == 1
    in_force(agent, 2, names={WEB: "front/web"}, network="198.51.100.0/24")
    assert (view.names_under(20).version, view.names_under(20).rule(2)) == (2, "rule-2")
    assert (view.names_under(10).version, view.names_under(10).rule(1)) == (1, "rule-1")
    assert view.names_under(10).identity(LAN) == "192.0.2.0/24"
    assert view.names_under(20).identity(LAN) == "198.51.100.0/24"


def test_unknown_generation_has_no_version_and_no_networks() -> None:
    """The kernel has switched, core has not been told yet."""
    agent = Agent()
    view = LocalView("a", "a", agent, ProcessReader(Path("/"), Path("/")))
    in_force(agent, 1, names={WEB: "front/web"}, network=str(NETWORKS[0].cidr))
    ahead = view.names_under(20)
    assert ahead.version == 0
    assert ahead.identity(WEB) == "front/web"
    assert ahead.identity(LAN) == str(LAN)
