# SPDX-License-Identifier: Apache-2.0
"""Would it pass, and why: the oracle asked for both ends of a connection. Pure.

Each end sees the other as its kernel would: by identity where the other can prove it (its host
writes tags and has a key for this one), else by address. Every pair of hosts and addresses on which
the two parties may meet is asked; equal answers are given once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.core import policy
from agent.core.allow import Document, allow_document
from agent.core.model import (
    Decision,
    Direction,
    Identity,
    IPAddress,
    Mode,
    Peer,
    PortRange,
    Protocol,
    Reason,
    Rule,
    Snapshot,
    Verdict,
)
from controller import ports
from controller.parties import Party, Snapshots, UnknownParty, find_party
from controller.selectors import covers

MAX_HOSTS = 32
"""Of each party's hosts at most so many are looked at: the same rules hold on the others."""

_FAMILY = {Protocol.ICMP: 4, Protocol.ICMPV6: 6}


@dataclass(frozen=True, slots=True)
class End:
    """One host's answer.

    peer: the other side as this host sees it. rule: what decided, if a rule did.
    missing: the smallest Allow document that is not there, if that is the reason.
    """

    host: str
    direction: Direction
    peer: str
    mode: Mode
    decision: Decision
    rule: Rule | None
    missing: Document | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """ends: each different answer once, from the first host that gives it."""

    ends: tuple[End, ...]
    notes: tuple[str, ...]

    @property
    def result(self) -> str:
        """`refused` if some host refuses, `audited` if some host in enforce mode would."""
        verdicts = {end.decision.verdict for end in self.ends}
        if Verdict.REFUSE in verdicts:
            return "refused"
        return "audited" if Verdict.AUDIT in verdicts else "allowed"

    @property
    def missing(self) -> tuple[Document, ...]:
        """The Allow documents that are not there, each once."""
        found = {str(end.missing): end.missing for end in self.ends if end.missing is not None}
        return tuple(found.values())


@dataclass(frozen=True, slots=True)
class _Site:
    """One place where a party can be: host None where nobody manages it."""

    host: str | None
    address: IPAddress | None


@dataclass(frozen=True, slots=True)
class _View:
    """The question as one host gets it."""

    snapshot: Snapshot
    direction: Direction
    local: Party
    remote: Party
    site: _Site


def explain(snapshots: Snapshots, source: str, target: str, port: str) -> Explanation:
    """Raises UnknownParty, or ValueError for the port, with a sentence."""
    one, other = find_party(snapshots, source), find_party(snapshots, target)
    if not one.judges and not other.judges:
        raise UnknownParty(
            f"neither {source} nor {target} is a process of a managed host, so no host judges it: "
            "name a workload or host:NAME on one side"
        )
    ends: dict[object, End] = {}
    for wanted in _single_ports(port):
        for view in _views(snapshots, one, other, _FAMILY.get(wanted.protocol)):
            end = _ask(snapshots, view, wanted, port)
            key = (end.direction, end.decision, end.mode, end.peer, str(end.missing))
            ends.setdefault(key, end)
    if not ends:
        raise UnknownParty(
            f"{source} and {target} share no address family, or the snapshots of their hosts "
            "are not among those given"
        )
    return Explanation(tuple(ends.values()), tuple(_notes(snapshots, one, other)))


def _single_ports(text: str) -> tuple[PortRange, ...]:
    ranges = ports.parse(text)
    if not ranges or any(r.first != r.last for r in ranges):
        raise ValueError(f"expected one port such as tcp/5432 or icmp/echo-request, got {text!r}")
    return ranges


def _views(
    snapshots: Snapshots, source: Party, target: Party, family: int | None
) -> Iterator[_View]:
    for here in _sites(snapshots, source):
        for there in _sites(snapshots, target):
            versions = {a.version for a in (here.address, there.address) if a is not None}
            if len(versions) > 1 or (family is not None and versions - {family}):
                continue
            egress, ingress = snapshots.get(here.host or ""), snapshots.get(there.host or "")
            if source.judges and egress:
                yield _View(egress, Direction.EGRESS, source, target, there)
            if target.judges and ingress:
                yield _View(ingress, Direction.INGRESS, target, source, here)


def _sites(snapshots: Snapshots, party: Party) -> list[_Site]:
    if party.network is not None:
        host = party.hosts[0] if party.hosts else None
        return [_Site(host, party.network.network_address)]
    if not party.hosts:
        return [_Site(None, None)]
    known = {peer.name: peer.addresses for s in snapshots.values() for peer in s.peers}
    return [_Site(host, a) for host in party.hosts[:MAX_HOSTS] for a in known.get(host, ())]


def _ask(snapshots: Snapshots, view: _View, wanted: PortRange, port: str) -> End:
    snapshot, site = view.snapshot, view.site
    same_host = site.host == snapshot.host_name
    peer = _seen_as(snapshots, view, wanted.protocol)
    query = policy.Query(
        direction=view.direction,
        protocol=wanted.protocol,
        local=view.local.identity,
        peer=peer,
        port=wanted.first,
        address=site.address,
        same_host=same_host,
    )
    decision = policy.verdict(snapshot, query)
    absent = decision.reason is Reason.NO_RULE
    return End(
        host=snapshot.host_name,
        direction=view.direction,
        peer=snapshot.names.get(peer, view.remote.text),
        mode=policy.mode_of(snapshot, view.local.identity),
        decision=decision,
        rule=next((r for r in snapshot.rules if r.number == decision.rule), None),
        missing=_missing(view, peer, wanted.protocol, port) if absent else None,
    )


def _seen_as(snapshots: Snapshots, view: _View, protocol: Protocol) -> int:
    """The other side's identity as this host gets to know it."""
    snapshot, remote = view.snapshot, view.remote
    entry = next((peer for peer in snapshot.peers if peer.name == view.site.host), None)
    if entry is None:
        stranger = view.site.address is not None and view.site.address in snapshot.managed
        if stranger:
            return Identity.UNPROVEN
        if remote.network is None:  # by its host's address, which a network of rules may hold
            return policy.network_identity(snapshot, view.site.address)
        return _network_of(snapshot, remote)
    if remote.judges and _proves(snapshots, snapshot, entry, protocol):
        return remote.identity
    if entry.tags_off:
        return policy.network_identity(snapshot, view.site.address)
    return Identity.UNPROVEN


def _network_of(snapshot: Snapshot, remote: Party) -> int:
    """The narrowest network that holds all of the party's addresses, or the world."""
    if remote.network is None:
        return Identity.WORLD
    wide = [network for network in snapshot.networks if covers(network.cidr, remote.network)]
    narrowest = max(wide, key=lambda network: network.cidr.prefixlen, default=None)
    return Identity.WORLD if narrowest is None else narrowest.identity


def _proves(snapshots: Snapshots, snapshot: Snapshot, entry: Peer, protocol: Protocol) -> bool:
    """Whether who speaks on that host reaches this one: on the same host, or by TCP's tag."""
    if entry.host == snapshot.host:
        return True
    if protocol is not Protocol.TCP or entry.tags_off:
        return False
    other = snapshots.get(entry.name)
    if other is None:  # its snapshot is not here; keys go to both hosts of a pair or to neither
        return bool(entry.keys)
    return any(peer.host == snapshot.host and peer.keys for peer in other.peers)


def _missing(view: _View, peer: int, protocol: Protocol, port: str) -> Document:
    """The smallest Allow that this end lacks."""
    remote = view.remote.selector
    if protocol is not Protocol.TCP and peer == Identity.UNPROVEN:
        remote = {"unproven": True}  # naming the workload would not help: nothing proves it yet
    local = view.local.selector
    egress = view.direction is Direction.EGRESS
    source, target = (local, remote) if egress else (remote, local)
    return allow_document(source, target, port)


def _notes(snapshots: Snapshots, *parties: Party) -> Iterator[str]:
    for party in parties:
        if len(party.hosts) > MAX_HOSTS:
            yield f"{party.text} may run on {len(party.hosts)} hosts; {MAX_HOSTS} were looked at"
        if party.identity == Identity.UNPROVEN:
            host = party.hosts[0] if party.hosts else "NAME"
            known = f"the managed host {host}" if party.hosts else "a managed host"
            yield (
                f"{party.text} is an address of {known}, taken without proof of identity; "
                f"ask for a workload or host:{host} otherwise"
            )
        if party.network is not None and party.network.num_addresses > 1:
            yield from _narrower(snapshots, party)


def _narrower(snapshots: Snapshots, party: Party) -> Iterator[str]:
    assert party.network is not None, "asked of a party without a network"
    known = {network.cidr for s in snapshots.values() for network in s.networks}
    inside = sorted(str(c) for c in known if c != party.network and covers(party.network, c))
    if inside:
        yield f"within {party.text}, these are judged by rules of their own: {', '.join(inside)}"
    peers = (peer for snapshot in snapshots.values() for peer in snapshot.peers)
    managed = {p.name for p in peers if any(a in party.network for a in p.addresses)}
    if managed:
        names = ", ".join(sorted(managed))
        yield f"within {party.text}, these hosts are judged by identity: {names}"
