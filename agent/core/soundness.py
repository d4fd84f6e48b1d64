# SPDX-License-Identifier: Apache-2.0
"""Whether a snapshot is sound in itself, whoever it is for and whenever: what a compiler of
snapshots must produce.

Each check yields whole sentences; the first one is the answer. What the rules mean is
agent.core.policy's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.core.abi import EPOCH_SLOTS
from agent.core.model import (
    FIRST_NETWORK_IDENTITY,
    FIRST_WORKLOAD_IDENTITY,
    IDENTITY_MAX,
    STRANGER,
    Action,
    EpochKey,
    Identity,
    IPAddress,
    Peer,
    PortRange,
    Protocol,
    Rule,
    Selector,
    Snapshot,
)

KEY_BYTES = 16
MAX_HASH_LIMIT_MIB = 1 << 20

_NUMBER_MAX = 0xFFFFFFFF
_HOST_MAX = STRANGER - 1
_RESERVED_LOCALS = frozenset({Identity.HOST, Identity.CONTROLLER, Identity.AGENT})
_RESERVED_PEERS = _RESERVED_LOCALS | {Identity.WORLD, Identity.UNPROVEN}
_ICMP = (Protocol.ICMP, Protocol.ICMPV6)


def check_content(snapshot: Snapshot) -> str | None:
    """The sentence that refuses what needs neither clock nor host to be judged, or None."""
    return next(content_sentences(snapshot), None)


def is_workload_identity(identity: int) -> bool:
    return FIRST_WORKLOAD_IDENTITY <= identity < FIRST_NETWORK_IDENTITY


def content_sentences(snapshot: Snapshot) -> Iterator[str]:
    """All that is wrong with it."""
    yield from _head_sentences(snapshot)
    yield from _workload_sentences(snapshot)
    yield from _mode_sentences(snapshot)
    yield from _network_sentences(snapshot)
    yield from _rule_sentences(snapshot)
    yield from _peer_sentences(snapshot)
    yield from _managed_sentences(snapshot)
    yield from _key_sentences(snapshot.receive_secrets, "the receive secrets")


def _head_sentences(snapshot: Snapshot) -> Iterator[str]:
    if not 1 <= snapshot.host <= _HOST_MAX:
        yield f"host number {snapshot.host} is not between 1 and {_HOST_MAX}"
    if not snapshot.host_name:
        yield "it names no host"
    if snapshot.version < 1:
        yield "it has no revision number; the first revision is 1"
    if snapshot.issued >= snapshot.expires:
        yield f"it expires ({snapshot.expires}) before it is issued ({snapshot.issued})"
    if not 1 <= snapshot.settings.epoch_seconds <= _NUMBER_MAX:
        yield f"a key epoch of {snapshot.settings.epoch_seconds} seconds is not possible"
    if not 0 <= snapshot.settings.hold_limit_ms <= _NUMBER_MAX:
        yield f"a hold limit of {snapshot.settings.hold_limit_ms} ms is not possible"
    if not 0 <= snapshot.settings.refusal_events_per_second <= _NUMBER_MAX:
        yield "refusal_events_per_second must be between 0 and 4294967295"
    if not 0 <= snapshot.settings.hash_limit_mib <= MAX_HASH_LIMIT_MIB:
        yield f"hash_limit_mib must be between 0 and {MAX_HASH_LIMIT_MIB}"
    if not 0 <= snapshot.settings.adoption_grace_seconds <= _NUMBER_MAX:
        yield "adoption_grace_seconds must be between 0 and 4294967295"


def _workload_sentences(snapshot: Snapshot) -> Iterator[str]:
    names: dict[int, str] = {}
    selectors: dict[Selector, str] = {}
    for workload in snapshot.workloads:
        name = f"{workload.segment}/{workload.name}"
        if not workload.segment or not workload.name:
            yield f"workload {workload.identity} lacks a name or a segment"
        if not is_workload_identity(workload.identity):
            yield f"workload {name} has identity {workload.identity}, not one of 256 to 8388607"
        if workload.identity in names:
            yield f"workloads {names[workload.identity]} and {name} share one identity"
        if not workload.match:
            yield f"workload {name} matches no process: it has no selector"
        names[workload.identity] = name
        for selector in workload.match:
            other = selectors.setdefault(selector, name)
            if other != name:
                yield f"workloads {other} and {name} match the same processes: {_show(selector)}"


def _show(selector: Selector) -> str:
    facts = ((name, getattr(selector, name)) for name in Selector.__slots__)
    return ", ".join(f"{name}={value}" for name, value in facts if value is not None) or "all"


def _mode_sentences(snapshot: Snapshot) -> Iterator[str]:
    known = _known_locals(snapshot)
    if Identity.HOST not in snapshot.modes:
        yield "it has no mode for processes that match no workload (identity 1)"
    for identity in snapshot.modes:
        if identity not in known:
            yield f"it has a mode for identity {identity}, which is no workload of this host"
    for workload in snapshot.workloads:
        if workload.identity not in snapshot.modes:
            yield f"workload {workload.segment}/{workload.name} has no mode"


def _known_locals(snapshot: Snapshot) -> frozenset[int]:
    return _RESERVED_LOCALS | {workload.identity for workload in snapshot.workloads}


def _network_sentences(snapshot: Snapshot) -> Iterator[str]:
    seen = set()
    for network in snapshot.networks:
        if not FIRST_NETWORK_IDENTITY <= network.identity <= IDENTITY_MAX:
            yield f"network {network.cidr} has identity {network.identity}, not a network's"
        if network.cidr in seen:
            yield f"network {network.cidr} is listed twice"
        if network.cidr.version == 6 and _is_mapped(network.cidr.network_address):
            yield f"network {network.cidr} must be written as IPv4"
        seen.add(network.cidr)


def _is_mapped(address: IPAddress) -> bool:
    return address.version == 6 and address.ipv4_mapped is not None


def _rule_sentences(snapshot: Snapshot) -> Iterator[str]:
    locals_ = _known_locals(snapshot)
    networks = frozenset(network.identity for network in snapshot.networks)
    documents: dict[int, tuple[str, Action, bool]] = {}
    for rule in snapshot.rules:
        who = f"rule {rule.number} ({rule.name})"
        document = (rule.name, rule.action, rule.staged)
        if not 1 <= rule.number <= _NUMBER_MAX:
            yield f"{who} has a number that is not between 1 and {_NUMBER_MAX}"
        if documents.setdefault(rule.number, document) != document:
            yield f"{who} has the number of another rule ({documents[rule.number][0]})"
        if rule.locals is not None and not rule.locals <= locals_:
            yield f"{who} is for {_some(rule.locals - locals_)}, not on this host"
        if rule.action is Action.LIFELINE:
            yield from _lifeline_sentences(rule, who)
        yield from _rule_peer_sentences(rule, who, networks)
        for ports in rule.ports:
            yield from _port_sentences(ports, who)


def _some(identities: Iterable[int]) -> str:
    """The smallest one, so that the sentence stays one."""
    return f"identity {min(identities)}"


def _lifeline_sentences(rule: Rule, who: str) -> Iterator[str]:
    if rule.locals is not None:
        yield f"{who} is a lifeline for some identities only; a lifeline is for the whole host"
    if rule.staged:
        yield f"{who} is a staged lifeline; a lifeline is either open or not there"
    named = [p for p in rule.peers or () if p != Identity.WORLD and p < FIRST_NETWORK_IDENTITY]
    if named:
        yield f"{who} names {_some(named)}; a lifeline goes by address: name networks"


def _rule_peer_sentences(rule: Rule, who: str, networks: frozenset[int]) -> Iterator[str]:
    for peer in rule.peers or ():
        if is_workload_identity(peer) or peer in _RESERVED_PEERS:
            continue
        if peer not in networks:
            yield f"{who} names identity {peer}, which is neither workload nor known network"


def _port_sentences(ports: PortRange, who: str) -> Iterator[str]:
    shown = f"{ports.protocol.name} {ports.first} to {ports.last}"
    if not 0 <= ports.first <= ports.last <= 65535:
        yield f"{who} covers {shown}, which is no range of ports"
    if ports.protocol is Protocol.OTHER and not ports.whole:
        yield f"{who} covers {shown}; other protocols have no ports"
    if ports.protocol in _ICMP and not ports.whole and ports.last > 255:
        yield f"{who} covers {shown}; types of ICMP end at 255"


def _peer_sentences(snapshot: Snapshot) -> Iterator[str]:
    hosts: set[int] = set()
    owners: dict[IPAddress, str] = {}
    for peer in snapshot.peers:
        who = f"peer {peer.name} ({peer.host})"
        if not 1 <= peer.host <= _HOST_MAX:
            yield f"{who} has a number that is not between 1 and {_HOST_MAX}"
        if peer.host in hosts:
            yield f"{who} has the number of another peer"
        hosts.add(peer.host)
        yield from _peer_address_sentences(peer, who, owners)
        yield from _key_sentences(peer.keys, f"the keys of {who}")
        strange = [i for i in peer.residents if not is_workload_identity(i)]
        if strange:
            yield f"{who} is said to run {_some(strange)}, which is no workload"
    if snapshot.host not in hosts:
        yield f"this host ({snapshot.host}) is not among its own peers"


def _peer_address_sentences(peer: Peer, who: str, owners: dict[IPAddress, str]) -> Iterator[str]:
    for address in peer.addresses:
        if owners.setdefault(address, who) != who:
            yield f"{who} has address {address}, as has {owners[address]}"
        yield from _address_sentences(address, who)


def _managed_sentences(snapshot: Snapshot) -> Iterator[str]:
    for address in snapshot.managed:
        yield from _address_sentences(address, "a managed host")


def _address_sentences(address: IPAddress, who: str) -> Iterator[str]:
    if _is_mapped(address):
        yield f"{who} has address {address}, which must be written as IPv4"
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        yield f"{who} has address {address}, which is no host's own"


def _key_sentences(keys: Iterable[EpochKey], whose: str) -> Iterator[str]:
    epochs: set[int] = set()
    for key in keys:
        if len(key.key) != KEY_BYTES:
            yield f"{whose}: the one of epoch {key.epoch} has {len(key.key)} bytes, not {KEY_BYTES}"
        if key.epoch < 1:
            yield f"{whose}: epoch {key.epoch} is not possible"
        if key.epoch in epochs:
            yield f"{whose}: epoch {key.epoch} is there twice"
        epochs.add(key.epoch)
    if epochs and max(epochs) - min(epochs) >= EPOCH_SLOTS:
        yield f"{whose}: epochs {min(epochs)} to {max(epochs)} are more than {EPOCH_SLOTS}"
