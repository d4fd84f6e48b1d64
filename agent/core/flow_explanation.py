# SPDX-License-Identifier: Apache-2.0
"""Why one judgement of the kernel is what it is, and what would have to be said to turn it. Pure.

The kernel's own words (verdict, reason, rule) are explained, never guessed at again; beside them
stands what `agent.core.policy`, the definition, says of the same question under the policy in
force. A test holds both, the counters and the oracle together.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.core import policy
from agent.core.allow import Document, allow_document, party
from agent.core.flows import Flow, enum_name
from agent.core.model import (
    FIRST_NETWORK_IDENTITY,
    FIRST_WORKLOAD_IDENTITY,
    Decision,
    Direction,
    Identity,
    IPAddress,
    Mode,
    Peer,
    Protocol,
    Reason,
    Snapshot,
    Verdict,
)

_FAILED_TAG = range(Reason.TAG_FORGED, Reason.TAG_IDENTITY + 1)
_ASKED_OF_RULES = (
    Reason.RULE_ALLOW, Reason.LIFELINE, Reason.MODE_OFF, Reason.RULE_DENY, Reason.NO_RULE,
    Reason.SELF,
)  # fmt: skip

BECAUSE = {
    Reason.RULE_ALLOW: "the rule allows it",
    Reason.LIFELINE: "a lifeline is always open",
    Reason.MODE_OFF: "the segment of the process here is in mode off",
    Reason.RULE_DENY: "the rule forbids it, whatever is allowed",
    Reason.NO_RULE: "no rule allows it",
    Reason.TAG_FORGED: "the tag's MAC is not the one that the host which it names would have made",
    Reason.TAG_MALFORMED: "the segment carries a tag that no honest kernel writes",
    Reason.TAG_REPLAYED: "the same tag was taken before, for another connection",
    Reason.TAG_EPOCH: "the tag is of a key epoch that is not live: a clock is wrong, a policy old",
    Reason.TAG_HOST: "the tag names a host that this host's policy does not know",
    Reason.TAG_IDENTITY: "the tag names an identity that cannot live on the host that sent it",
    Reason.PENDING: "the process was not attested yet; the packet came again",
    Reason.CONTROL: "ICMP errors, neighbour discovery and the kernel's own answers always pass",
    Reason.ADOPTED: "the socket is older than the agent",
    Reason.SELF: "a workload reaches itself on its own host",
    Reason.NO_POLICY: "no policy has come yet, so everything passes",
    Reason.REPLY: "it answers an exchange that was allowed in the other direction",
    Reason.PROVISIONAL: "some workload there may be reached; who answers decides",
    Reason.PACKET_MALFORMED: "the headers cannot be read",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """id: of one judgement. one, other: address and port of its ends, in either order.

    What is empty or zero is anything; if all is, it is the newest refusal that is asked for.
    """

    id: int = 0
    protocol: str = ""
    one: tuple[str, int] = ("", 0)
    other: tuple[str, int] = ("", 0)


def wanted(asked: Asked) -> Callable[[Flow], bool]:
    """Whether a flow is the one."""
    if asked == Asked():
        return lambda flow: flow.verdict in ("refuse", "audit")
    if asked.id:
        return lambda flow: flow.id == asked.id

    def is_it(flow: Flow) -> bool:
        local = (flow.local_address, flow.local_port)
        remote = (flow.remote_address, flow.remote_port)
        ends = ((local, remote), (remote, local))
        return asked.protocol in ("", flow.protocol) and any(
            _fits(asked.one, one) and _fits(asked.other, other) for one, other in ends
        )

    return is_it


def _fits(asked: tuple[str, int], end: tuple[str, int]) -> bool:
    """At connect a socket may have no address or port of its own yet: these fit any."""
    address, port = asked
    unset = end[0] in ("0.0.0.0", "::")
    return (not address or address == end[0] or unset) and port in (0, end[1] or port)


@dataclass(frozen=True, slots=True)
class Explanation:
    """now: by the policy in force; None where the question is not one for rules."""

    mode: Mode
    proof: str
    because: str
    now: Decision | None
    allow: Document | None
    notes: tuple[str, ...]


def explain(flow: Flow, snapshot: Snapshot) -> Explanation:
    """snapshot: the policy in force, which need not be the one that judged."""
    peer = _peer_now(flow, snapshot)
    now = _ask(flow, snapshot, peer)
    return Explanation(
        mode=policy.mode_of(snapshot, flow.local_identity),
        proof=_proof(flow, snapshot),
        because=because(flow),
        now=now,
        allow=_allow(flow, snapshot, peer) if now and now.reason is Reason.NO_RULE else None,
        notes=tuple(_notes(flow, snapshot, peer, now)),
    )


def because(flow: Flow) -> str:
    """A reason that we do not know is of a newer datapath; it is shown as it is."""
    return BECAUSE.get(_reason(flow), flow.reason)


def _reason(flow: Flow) -> Reason:
    return Reason.__members__.get(flow.reason.upper(), Reason.NONE)


def _protocol(flow: Flow) -> Protocol:
    return Protocol.__members__.get(flow.protocol.upper(), Protocol.OTHER)


def _peer_now(flow: Flow, snapshot: Snapshot) -> int:
    """A proven identity stays what it is; an address is classified by the policy in force."""
    if flow.proof != "address":
        return flow.peer_identity
    address = ipaddress.ip_address(flow.remote_address)
    host = _host_of(flow, snapshot)
    if (host is not None and not host.tags_off) or address.is_loopback or address.is_unspecified:
        return Identity.UNPROVEN
    return policy.network_identity(snapshot, address)


def _host_of(flow: Flow, snapshot: Snapshot) -> Peer | None:
    """The managed host that the remote address is of."""
    address: IPAddress = ipaddress.ip_address(flow.remote_address)
    return next((peer for peer in snapshot.peers if address in peer.addresses), None)


def _ask(flow: Flow, snapshot: Snapshot, peer: int) -> Decision | None:
    reason, protocol = _reason(flow), _protocol(flow)
    if reason in _FAILED_TAG:
        enforced = policy.mode_of(snapshot, flow.local_identity) is Mode.ENFORCE
        return Decision(Verdict.REFUSE if enforced else Verdict.AUDIT, reason)
    if reason not in _ASKED_OF_RULES or protocol in (Protocol.ICMP, Protocol.ICMPV6):
        return None  # an event of ICMP does not say which type it was
    egress = flow.direction == "egress"
    query = policy.Query(
        direction=Direction.EGRESS if egress else Direction.INGRESS,
        protocol=protocol,
        local=flow.local_identity,
        peer=peer,
        port=_service_port(flow),
        address=ipaddress.ip_address(flow.remote_address),
        same_host=flow.peer_host == snapshot.host,
    )
    if _at_connect(flow) and peer == Identity.UNPROVEN:
        return policy.provisional(snapshot, query.local, protocol, query.port, query.address)
    return policy.verdict(snapshot, query)


def _service_port(flow: Flow) -> int:
    return flow.remote_port if flow.direction == "egress" else flow.local_port


def _at_connect(flow: Flow) -> bool:
    """Before a SYN, when the socket has no port of its own and nobody has answered."""
    return flow.protocol == "tcp" and flow.direction == "egress" and not flow.local_port


def _proof(flow: Flow, snapshot: Snapshot) -> str:
    host = _host_of(flow, snapshot)
    name = host.name if host is not None else ""
    sender = next((p.name for p in snapshot.peers if p.host == flow.peer_host), name)
    if flow.proof == "tag":
        return (
            f"by its tag, verified: host {sender}'s MAC over this very segment, a live key epoch, "
            "not seen before, and the identity may live there"
        )
    if flow.proof == "record":
        return "by the record that its socket on this host left"
    if _reason(flow) in _FAILED_TAG:
        return f"not at all: it carried a tag, and {because(flow)}"
    if _at_connect(flow) and host is not None:
        return f"not yet: connect asks before anybody on host {name} has answered"
    if host is not None and not host.tags_off and flow.protocol == "tcp":
        return f"not at all: {flow.remote_address} is host {name}'s, and no tag was seen"
    if host is not None and not host.tags_off:
        return f"not at all: {flow.remote_address} is host {name}'s, and only TCP carries tags"
    return f"by its address, {flow.remote_address}"


def _allow(flow: Flow, snapshot: Snapshot, peer: int) -> Document | None:
    local = _party(flow.local_identity, snapshot)
    remote = _party(_only_answerer(flow, snapshot, peer), snapshot)
    if local is None or remote is None:
        return None
    source, target = (local, remote) if flow.direction == "egress" else (remote, local)
    ports = [f"{flow.protocol}/{_service_port(flow)}"]
    return allow_document(source, target, ports[0])


def _only_answerer(flow: Flow, snapshot: Snapshot, peer: int) -> int:
    """At connect the one workload that lives on the other host stands for it."""
    host = _host_of(flow, snapshot)
    if peer == Identity.UNPROVEN and _at_connect(flow) and host and len(host.residents) == 1:
        return next(iter(host.residents))
    return peer


def _party(identity: int, snapshot: Snapshot) -> Document | None:
    if identity >= FIRST_NETWORK_IDENTITY:
        found = [network.cidr for network in snapshot.networks if network.identity == identity]
        return party(str(found[0])) if found else None
    if identity >= FIRST_WORKLOAD_IDENTITY:
        return party(snapshot.names.get(identity, ""))
    return party(enum_name(Identity, identity))


def _notes(flow: Flow, snapshot: Snapshot, peer: int, now: Decision | None) -> Iterator[str]:
    if flow.policy_version and flow.policy_version != snapshot.version:
        yield f"policy {flow.policy_version} judged; {snapshot.version} is in force now"
    if now is not None and now.reason is Reason.NO_RULE and peer == Identity.UNPROVEN:
        yield from _unproven_notes(flow, snapshot)
    if now is not None and peer == Identity.WORLD and now.reason is Reason.NO_RULE:
        yield f"`world` is everybody; for {flow.remote_address} alone write a cidr"
    if flow.suppressed:
        yield f"{flow.suppressed} more refusals before this one were not told one by one"


def _unproven_notes(flow: Flow, snapshot: Snapshot) -> Iterator[str]:
    host = _host_of(flow, snapshot)
    if host is None:
        return
    if _at_connect(flow):
        names = sorted(snapshot.names.get(identity, str(identity)) for identity in host.residents)
        if len(names) != 1:
            listed = ", ".join(names) or "no workload"
            yield f"on host {host.name} live {listed}: name the one that is meant in an Allow"
        return
    yield (
        f"no Allow that names a workload can help while host {host.name} does not prove who "
        f"speaks: is its agent running, does the path keep TCP options? An Allow with "
        "`unproven: true` would open it to whatever runs there"
    )
