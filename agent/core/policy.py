# SPDX-License-Identifier: Apache-2.0
"""What a snapshot means: the slow, obvious oracle.

`verdict` is the definition. The kernel, its entries (agent.core.compile), `explain` and `simulate`
must agree with it, and tests hold random policies against it. It reads rules one after the other on
purpose: whoever doubts an answer can follow it with a finger. Proof of identity is not judged here;
the caller says who the peer is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from agent.core.model import (
    FIRST_NETWORK_IDENTITY,
    FIRST_WORKLOAD_IDENTITY,
    Action,
    Decision,
    Direction,
    Identity,
    IPAddress,
    Mode,
    PortRange,
    Protocol,
    Reason,
    Rule,
    Snapshot,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class Query:
    """One question.

    local: identity of this host's side. peer: identity of the other side, as it was proved.
    port: the service's port, for ICMP the type.
    address: the other side's address, by which lifelines are judged; None: in no named network.
    same_host: the other side is a process of this host.
    """

    direction: Direction
    protocol: Protocol
    local: int
    peer: int
    port: int
    address: IPAddress | None = None
    same_host: bool = False


def verdict(snapshot: Snapshot, query: Query) -> Decision:
    """Lifeline, then mode off, then Deny, then Allow, then the workload itself, then the mode."""
    early = _before_rules(snapshot, query)
    if early is not None:
        return early
    judged = as_judged(snapshot, query)
    deny = first_match(snapshot, Action.DENY, judged)
    if deny is not None:
        return _refusal(snapshot, query.local, Reason.RULE_DENY, deny.number)
    allow = first_match(snapshot, Action.ALLOW, judged)
    if allow is not None:
        return Decision(Verdict.ALLOW, Reason.RULE_ALLOW, allow.number)
    if query.same_host and query.local == query.peer:
        return Decision(Verdict.ALLOW, Reason.SELF)
    return _refusal(snapshot, query.local, Reason.NO_RULE, 0)


def provisional(
    snapshot: Snapshot,
    local: int,
    protocol: Protocol,
    port: int,
    address: IPAddress | None = None,
) -> Decision:
    """What `connect` may assume of a managed host before it has said who answers.

    Allowed if some identity that could answer would be. Otherwise the reason is the Deny from
    any peer that says so to all of them, or that there is no rule.
    """
    query = Query(Direction.EGRESS, protocol, local, Identity.MANAGED, port, address)
    early = _before_rules(snapshot, query)
    if early is not None:
        return early
    query = as_judged(snapshot, query)
    if any(_rules_allow(snapshot, replace(query, peer=p)) for p in answerers(snapshot)):
        return Decision(Verdict.ALLOW, Reason.PROVISIONAL)
    deny = first_match(snapshot, Action.DENY, query)
    if deny is not None:
        return _refusal(snapshot, query.local, Reason.RULE_DENY, deny.number)
    return _refusal(snapshot, query.local, Reason.NO_RULE, 0)


def staged(snapshot: Snapshot, query: Query) -> tuple[int, Action] | None:
    """The staged rule that would turn the rules' answer, and what it says; None if none would.

    Staged rules are judged beside the ones in force: a staged Deny turns an Allow, a staged Allow
    turns no rule at all unless a staged Deny forbids the same. Only rules are compared: that a
    workload reaches itself is left out.
    """
    if _before_rules(snapshot, query) is not None:
        return None
    query = as_judged(snapshot, query)
    if first_match(snapshot, Action.DENY, query) is not None:
        return None
    allowed = first_match(snapshot, Action.ALLOW, query) is not None
    deny = first_match(snapshot, Action.DENY, query, staged=True)
    if deny is not None:
        return (deny.number, Action.DENY) if allowed else None
    allow = first_match(snapshot, Action.ALLOW, query, staged=True)
    return (allow.number, Action.ALLOW) if allow is not None and not allowed else None


def matches(rule: Rule, query: Query) -> bool:
    """Whether the rule speaks of the query; `query.local` as `as_judged` gives it."""
    return (
        rule.direction == query.direction
        and (rule.locals is None or query.local in rule.locals)
        and (rule.peers is None or query.peer in rule.peers)
        and covers(rule.ports, query.protocol, query.port)
    )


def covers(ports: Iterable[PortRange], protocol: Protocol, port: int) -> bool:
    """No ports at all is every port; protocols without ports are covered as a whole."""
    listed = False
    for item in ports:
        listed = True
        if item.protocol != protocol:
            continue
        if protocol is Protocol.OTHER or item.first <= port <= item.last:
            return True
    return not listed


def first_match(
    snapshot: Snapshot, action: Action, query: Query, *, staged: bool = False
) -> Rule | None:
    """The rule of the smallest number that says `action` about the query."""
    found = matching(snapshot, action, query, staged=staged)
    return min(found, key=lambda rule: rule.number, default=None)


def matching(
    snapshot: Snapshot, action: Action, query: Query, *, staged: bool = False
) -> Iterator[Rule]:
    for rule in snapshot.rules:
        if rule.action is action and rule.staged == staged and matches(rule, query):
            yield rule


def mode_of(snapshot: Snapshot, local: int) -> Mode:
    return snapshot.modes.get(judged_local(snapshot, local), Mode.AUDIT)


def judged_local(snapshot: Snapshot, local: int) -> int:
    """An identity that this host does not know is judged as `host`."""
    return local if local in snapshot.modes else Identity.HOST


def as_judged(snapshot: Snapshot, query: Query) -> Query:
    return replace(query, local=judged_local(snapshot, query.local))


def network_identity(snapshot: Snapshot, address: IPAddress | None) -> int:
    """The identity of the longest prefix that holds the address, or `world`."""
    if address is None:
        return Identity.WORLD
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    holding = [network for network in snapshot.networks if address in network.cidr]
    longest = max(holding, key=lambda network: network.cidr.prefixlen, default=None)
    return Identity.WORLD if longest is None else longest.identity


def answerers(snapshot: Snapshot) -> frozenset[int]:
    """Who could answer from a managed host: residents, named workloads, and the reserved ones.

    Networks are not among them: no tag carries one.
    """
    named = (rule.peers for rule in snapshot.rules if rule.peers is not None)
    living = (peer.residents for peer in snapshot.peers)
    found = frozenset[int]().union(*named, *living)
    workloads = {i for i in found if FIRST_WORKLOAD_IDENTITY <= i < FIRST_NETWORK_IDENTITY}
    reserved = (Identity.HOST, Identity.UNPROVEN, Identity.CONTROLLER, Identity.AGENT)
    return frozenset(workloads.union(reserved))


def lifeline(snapshot: Snapshot, query: Query) -> Rule | None:
    """Lifelines go by address, whoever is there and whatever its identity."""
    by_address = replace(query, peer=network_identity(snapshot, query.address))
    return first_match(snapshot, Action.LIFELINE, by_address)


def _before_rules(snapshot: Snapshot, query: Query) -> Decision | None:
    open_ = lifeline(snapshot, query)
    if open_ is not None:
        return Decision(Verdict.ALLOW, Reason.LIFELINE, open_.number)
    if mode_of(snapshot, query.local) is Mode.OFF:
        return Decision(Verdict.ALLOW, Reason.MODE_OFF)
    return None


def _rules_allow(snapshot: Snapshot, query: Query) -> bool:
    return (
        first_match(snapshot, Action.DENY, query) is None
        and first_match(snapshot, Action.ALLOW, query) is not None
    )


def _refusal(snapshot: Snapshot, local: int, reason: Reason, rule: int) -> Decision:
    enforced = mode_of(snapshot, local) is Mode.ENFORCE
    return Decision(Verdict.REFUSE if enforced else Verdict.AUDIT, reason, rule)
