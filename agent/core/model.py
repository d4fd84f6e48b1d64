# SPDX-License-Identifier: Apache-2.0
"""The nouns of Cordon: identities, workloads, rules, peers, snapshots, verdicts.

Everything here is a value: frozen, comparable, free of I/O. The controller compiles policy into a
`Snapshot`, the agent turns the snapshot into kernel maps, and `agent.core.policy.verdict` says what
it means. Numbers that the kernel shares (identities, verdicts, reasons, proofs, modes) have their
one C twin in `bpf/abi.h`; a test holds the two equal.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

IDENTITY_MAX = 0xFFFFFF
"""Identities travel as 24 bits."""
FIRST_WORKLOAD_IDENTITY = 256
"""Numbers below are reserved for ever."""
FIRST_NETWORK_IDENTITY = 0x800000
"""Identities from here on name networks of one snapshot; they never travel in a tag."""
STRANGER = 0xFFFFFFFF
"""Stands for every managed host that is no peer; no host ever has this number."""


class Identity(IntEnum):
    """Reserved identities. A workload's number is any from 256 to 0x7FFFFF."""

    NONE = 0
    """No identity. As a rule's peer in the kernel's map: any peer."""
    HOST = 1
    """A process that matches no workload."""
    WORLD = 2
    """An address that nobody manages."""
    UNPROVEN = 3
    """A managed host's address without a valid tag."""
    CONTROLLER = 4
    PENDING = 5
    """Not attested yet."""
    AGENT = 6
    MANAGED = 7
    """Not a peer: the question "any managed workload at all?" that `connect` asks."""
    LIFELINE = 8
    """Not a process: the local side of lifeline entries in the kernel's map."""


class Mode(IntEnum):
    """What the local workload's segment wants done with a verdict."""

    OFF = 0
    AUDIT = 1
    ENFORCE = 2


class Direction(IntEnum):
    INGRESS = 0
    EGRESS = 1


class Protocol(IntEnum):
    """IP protocol numbers that policy can name. Every other protocol is OTHER, without ports."""

    OTHER = 0
    ICMP = 1
    TCP = 6
    UDP = 17
    ICMPV6 = 58


class Verdict(IntEnum):
    """What happened to the packet."""

    NONE = 0
    """Not judged yet."""
    ALLOW = 1
    REFUSE = 2
    AUDIT = 3
    """Passed; enforce mode would have refused, for the same reason and rule."""
    HELD = 4
    """Dropped once so that it comes again when its process is attested."""


class Reason(IntEnum):
    """Why. Numbers are never reused: they go to counters, events and the operator's scripts."""

    NONE = 0
    RULE_ALLOW = 1
    LIFELINE = 2
    MODE_OFF = 3
    RULE_DENY = 4
    NO_RULE = 5
    TAG_FORGED = 6
    """The MAC is not the one that the claimed sender would have made for this segment."""
    TAG_MALFORMED = 7
    TAG_REPLAYED = 8
    """The same tag was accepted before, for another connection or for this one when it was new."""
    TAG_EPOCH = 9
    """The key epoch is not one of the live three."""
    TAG_HOST = 10
    """The claimed sender is not a host that this host's policy knows."""
    TAG_IDENTITY = 11
    """The claimed identity cannot live on the sender."""
    PENDING = 12
    """The process is not attested yet."""
    CONTROL = 13
    """ICMP errors, neighbour discovery and the kernel's own answers always pass."""
    ADOPTED = 14
    """The socket is older than the agent."""
    SELF = 15
    """A workload reaches its own instances on the same host over loopback."""
    NO_POLICY = 16
    """No snapshot has been in force yet."""
    REPLY = 17
    """Answers a datagram exchange that was allowed in the other direction."""
    PROVISIONAL = 18
    """Allowed at connect; the SYN-ACK's tag decides."""
    PACKET_MALFORMED = 19
    """The headers could not be read."""


class Proof(IntEnum):
    """How the peer's identity is known, best first."""

    NONE = 0
    TAG = 1
    RECORD = 2
    """The sender's socket on the same host left a record."""
    ADDRESS = 3
    """By address alone: a network's identity, the world, or `unproven` for a managed host."""


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """One protocol's ports, both ends included; for ICMP the port is the message type.

    The whole of a protocol is 0 to 65535; `Protocol.OTHER` has only that.
    """

    protocol: Protocol
    first: int = 0
    last: int = 65535

    @property
    def whole(self) -> bool:
        return self.first == 0 and self.last == 65535


@dataclass(frozen=True, slots=True)
class Selector:
    """Facts that must all hold for one alternative of a workload; None asks nothing.

    Patterns (`unit`, `cgroup`) are globs as `fnmatch.fnmatchcase` understands them; host labels
    were already matched by the compiler and do not appear here.
    """

    unit: str | None = None
    cgroup: str | None = None
    container: str | None = None
    exe: str | None = None
    sha256: str | None = None
    user: str | None = None
    """A user's name, or a number as decimal digits."""
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload that may run on the host which the snapshot is for."""

    identity: int
    name: str
    segment: str
    match: tuple[Selector, ...]


class Action(IntEnum):
    """What a rule says. Order is precedence: the smaller one is judged first."""

    LIFELINE = 0
    DENY = 1
    ALLOW = 2


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule of a snapshot, in terms of identities.

    number: the rule's number, stable over revisions, at least 1; it is what the kernel reports.
    name: the document's name, for people.
    locals: identities on this host that it applies to; None is every process of the host.
    peers: identities of the other side; None is any peer whatever, proven or not. Network
        identities stand here already expanded: a rule on a wide CIDR lists the narrower ones.
    ports: what it covers; empty is every protocol and port.
    staged: judged and counted beside the others, decides nothing.
    """

    number: int
    name: str
    action: Action
    direction: Direction
    locals: frozenset[int] | None
    peers: frozenset[int] | None
    ports: tuple[PortRange, ...] = ()
    staged: bool = False


@dataclass(frozen=True, slots=True)
class EpochKey:
    """A 16-byte key of one key epoch (unix time divided by the snapshot's epoch length)."""

    epoch: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Peer:
    """A managed host, as this host sees it (this host itself is one of its own peers).

    addresses: the addresses that connections to and from it use.
    keys: K(this host -> peer, epoch), for the tags that this host writes towards it.
    residents: the workload identities that may speak from it.
    tags_off: the path strips options: it is judged by network instead of as `unproven`.
    nat: addresses are rewritten on the path: the tag binds less.
    """

    host: int
    name: str
    addresses: tuple[IPAddress, ...]
    keys: tuple[EpochKey, ...] = field(repr=False)
    residents: frozenset[int]
    tags_off: bool = False
    nat: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """An address range that some rule names. The longest prefix that holds an address is its."""

    identity: int
    cidr: IPNetwork


@dataclass(frozen=True, slots=True)
class Settings:
    """What the controller sets for the host's datapath."""

    epoch_seconds: int = 600
    hold_limit_ms: int = 2000
    """How long an unattested process may be held before it counts as `host`."""
    refusal_events_per_second: int = 200
    """Per CPU; what is suppressed is counted."""
    hash_limit_mib: int = 256
    """Executables larger than this have no sha256."""
    adoption_grace_seconds: int = 3600
    """How long connections that are older than the first policy pass unjudged."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one host needs to judge, as one whole.

    version: revision number, never decreasing.
    issued, expires: unix seconds.
    receive_secrets: R(this host, epoch), from which any sender's key is derived.
    modes: the mode of each local identity; `Identity.HOST` is always there.
    names: identity -> "segment/workload" or what people read instead, for every identity named.
    managed: addresses of managed hosts that are no peers: `unproven`, never the world. One that is
        a peer's as well is the peer's.
    store_epoch: ordered before the version; 0 where no controller made it.
    """

    host: int
    host_name: str
    version: int
    issued: int
    expires: int
    trust_domain: str
    workloads: tuple[Workload, ...]
    rules: tuple[Rule, ...]
    peers: tuple[Peer, ...]
    networks: tuple[Network, ...]
    receive_secrets: tuple[EpochKey, ...] = field(repr=False)
    modes: Mapping[int, Mode]
    names: Mapping[int, str]
    settings: Settings = Settings()
    managed: frozenset[IPAddress] = frozenset()
    store_epoch: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with its ground: `rule` is 0 where no rule decided."""

    verdict: Verdict
    reason: Reason
    rule: int = 0
