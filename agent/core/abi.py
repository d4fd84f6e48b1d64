# SPDX-License-Identifier: Apache-2.0
"""The Python half of `bpf/abi.h`: sizes, offsets, numbers and codecs of what the kernel shares.

Each C struct is one `Layout`: a table of its fields in order, padding written out as `_`, and the
named tuple that Python sees. A test compiles the header and holds both halves equal, so nothing
here is computed from the C at run time. What the fields mean is said once, in the header.

No map is opened and no policy is understood here. Bulk writers (`agent.core.rule_tables`) use the
layouts' `struct` directly; a named tuple for each of 16,000 entries would cost more than the rest.

One room, long as it is, because the header is one: both are read side by side, struct by struct in
the same order, and the test that holds them equal takes every struct and number from here. It is
tables, not logic: whoever reads one needs none of the others, so a cut would save nobody anything
and leave one to look for the half of a struct.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from struct import Struct, calcsize
from typing import Generic, NamedTuple, TypeVar

from agent.core.model import (
    Direction,
    EpochKey,
    IPAddress,
    Reason,
    Verdict,
)

EPOCH_SLOTS = 16
VERDICT_MAX = 5
REASON_MAX = 32
OUTCOME_MAX = 32
COUNTERS = 2 * VERDICT_MAX * REASON_MAX
HELD_TIMES = 24
GENERATION_FLAG_BITS = 16
PROCESSES_MAX = 65536
EXECUTABLES_MAX = 16384
HANDSHAKES_MAX = 32768
SEEN_BUCKETS = 16384
SEEN_WAYS = 7
DATAGRAMS_MAX = 32768
RULE_HITS_MAX = 16384
FLOW_EVENTS_BYTES = 1 << 20
PROCESS_EVENTS_BYTES = 1 << 20

RANGE_PREFIX_BITS = 80
"""Bits of a `range_key` before the port."""
MAPPED_PREFIX_BITS = 96
"""Bits of a mapped IPv4 address before the IPv4 address."""
RESIDENT = (1).to_bytes(1, "little") + bytes(3)
"""The value of every entry of `residents`."""


class Outcome(IntEnum):
    """What the datapath counts beside verdicts: indices of the map `outcomes`."""

    TAG_WRITTEN = 0
    TAG_NO_ROOM = 1
    TAG_NO_KEY = 2
    TAG_VERIFIED = 3
    TAG_ABSENT = 4
    TAG_STORE_FAILED = 5
    SOCKET_UNTAGGED = 6
    PROCESS_MAP_FULL = 7
    PROCESS_EVENT_LOST = 8
    FLOW_EVENT_LOST = 9
    FLOW_EVENT_SUPPRESSED = 10
    HANDSHAKE_LOST = 11
    HELD = 12
    HOLD_EXPIRED = 13
    REJUDGED = 14
    SYNACK_TAG_MISSED = 15
    STAGED_ALLOW = 16
    STAGED_DENY = 17
    TAG_FORGOTTEN = 18


class GenerationFlag(IntFlag):
    """The low 16 bits of a generation."""

    SLOT = 0x1
    RANGES = 0x2
    PREFIXES = 0x4
    LIFELINES_IN = 0x8
    LIFELINES_OUT = 0x10
    STAGED = 0x20


class ControlFlag(IntFlag):
    OBSERVE = 0x1
    SUM_UP = 0x2


class ProcessFlag(IntFlag):
    ATTESTED = 0x1


class SocketFlag(IntFlag):
    EGRESS = 0x1
    HELD = 0x2
    LISTENS = 0x4
    ADOPTED = 0x8
    SILENT = 0x10
    RESETS = 0x80


class Scope(IntFlag):
    """Of a rule's key. An entry of a whole protocol has port 0."""

    EGRESS = 0x1
    WHOLE = 0x2


class RuleAction(IntEnum):
    """What an entry of `rules` or `ranges` says; not `model.Action`, whose order is precedence."""

    NONE = 0
    ALLOW = 1
    DENY = 2
    LIFELINE = 3


class PeerFlag(IntFlag):
    TAGS_OFF = 0x1
    NAT = 0x2


class ModeFlag(IntFlag):
    RANGES = 0x1


class ProcessEventKind(IntEnum):
    EXEC = 1
    STALE = 2
    UNKNOWN = 3
    STARTED = 4


T = TypeVar("T", bound=tuple[object, ...])


@dataclass(frozen=True)
class Layout(Generic[T]):
    """One C struct: its name, the tuple, and "field format, ..." with the formats of `struct`.

    `_` is padding, which the tuple leaves out; otherwise the order is that of the tuple. Numbers
    are in host byte order.

    offsets: of each field; sizes: of each field, both in bytes.
    """

    name: str
    make: Callable[..., T]
    fields: str
    struct: Struct = field(init=False, repr=False)
    offsets: dict[str, int] = field(init=False, repr=False)
    sizes: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        offsets: dict[str, int] = {}
        sizes: dict[str, int] = {}
        text = "="
        for name, form in (item.split(" ") for item in self.fields.split(", ")):
            if name != "_":
                offsets[name] = calcsize(text)
                sizes[name] = calcsize("=" + form)
            text += form
        object.__setattr__(self, "struct", Struct(text))
        object.__setattr__(self, "offsets", offsets)
        object.__setattr__(self, "sizes", sizes)

    @property
    def size(self) -> int:
        return self.struct.size

    def pack(self, value: T) -> bytes:
        return self.struct.pack(*value)

    def unpack(self, data: bytes | bytearray | memoryview) -> T:
        """Raises ValueError for a record of another length."""
        if len(data) != self.struct.size:
            raise ValueError(
                f"struct {self.name} has {self.struct.size} bytes, got {len(data)}: "
                "the kernel side was built from another abi.h"
            )
        return self.make(*self.struct.unpack(data))


class Control(NamedTuple):
    generation: int
    wall_offset_ns: int
    epoch_ns: int
    hold_limit_ns: int
    cgroup_root: int
    cgroup_level: int
    host: int
    refusals_per_second: int
    flags: int
    hold_rto_jiffies: int
    adopted_until_s: int = 0


CONTROL = Layout(
    "control",
    Control,
    "generation Q, wall_offset_ns Q, epoch_ns Q, hold_limit_ns Q, cgroup_root Q, "
    "cgroup_level I, host I, refusals_per_second I, flags I, hold_rto_jiffies I, "
    "adopted_until_s I",
)


class Process(NamedTuple):
    identity: int
    uid: int
    cgroup: int
    since_ns: int
    inode: int
    device: int
    flags: int
    generation: int
    stamp: int


PROCESS = Layout(
    "process",
    Process,
    "identity I, uid I, cgroup Q, since_ns Q, inode Q, device I, flags I, generation I, stamp I",
)


class ExecutableKey(NamedTuple):
    inode: int
    ctime_sec: int
    cgroup: int
    ctime_nsec: int
    device: int
    uid: int


EXECUTABLE_KEY = Layout(
    "executable_key",
    ExecutableKey,
    "inode Q, ctime_sec q, cgroup Q, ctime_nsec I, device I, uid I, _ 4x",
)


class Executable(NamedTuple):
    identity: int


EXECUTABLE = Layout("executable", Executable, "identity I, _ 4x")


class SocketState(NamedTuple):
    generation: int
    netns: int
    local: int
    peer: int
    peer_host: int
    address_identity: int
    rule: int
    tgid: int
    port: int
    verdict: int
    reason: int
    proof: int
    flags: int
    repeats: int
    stamp: int
    since: int = 0


SOCKET_STATE = Layout(
    "socket_state",
    SocketState,
    "generation Q, netns Q, local I, peer I, peer_host I, address_identity I, rule I, "
    "tgid I, port H, verdict B, reason B, proof B, flags B, repeats B, _ x, stamp I, since I",
)


class RuleKey(NamedTuple):
    local: int
    peer: int
    port: int
    protocol: int
    scope: int


RULE_KEY = Layout("rule_key", RuleKey, "local I, peer I, port H, protocol B, scope B")


class RangeKey(NamedTuple):
    """`port` is two bytes in network order."""

    prefix_length: int
    local: int
    peer: int
    scope: int
    protocol: int
    port: bytes


RANGE_KEY = Layout(
    "range_key",
    RangeKey,
    "prefix_length I, local I, peer I, scope B, protocol B, port 2s",
)


class RuleEntry(NamedTuple):
    rule: int
    staged: int
    action: int
    staged_action: int


RULE_ENTRY = Layout(
    "rule_entry",
    RuleEntry,
    "rule I, staged I, action B, staged_action B, _ 2x",
)


class AddressKey(NamedTuple):
    address: bytes


ADDRESS_KEY = Layout("address_key", AddressKey, "address 16s")


class NetworkKey(NamedTuple):
    prefix_length: int
    address: bytes


NETWORK_KEY = Layout("network_key", NetworkKey, "prefix_length I, address 16s")


class AddressEntry(NamedTuple):
    identity: int
    host: int


ADDRESS_ENTRY = Layout("address_entry", AddressEntry, "identity I, host I")


class EpochKeyEntry(NamedTuple):
    """`key` is the 16 bytes as the kernel holds them: two words in host byte order."""

    epoch: int
    key: bytes


EPOCH_KEY = Layout("epoch_key", EpochKeyEntry, "epoch Q, key 16s")


class PeerEntry(NamedTuple):
    """`keys` is EPOCH_SLOTS times `epoch_key`; see `pack_peer`."""

    keys: bytes
    flags: int


PEER = Layout(
    "peer",
    PeerEntry,
    f"keys {EPOCH_SLOTS * EPOCH_KEY.size}s, flags I, _ 4x",
)


class ResidentKey(NamedTuple):
    host: int
    identity: int


RESIDENT_KEY = Layout("resident_key", ResidentKey, "host I, identity I")


class ModeEntry(NamedTuple):
    mode: int
    flags: int


MODE_ENTRY = Layout("mode_entry", ModeEntry, "mode B, flags B, _ 2x")


class Tuple(NamedTuple):
    netns: int
    source: bytes
    destination: bytes
    source_port: int
    destination_port: int


TUPLE = Layout(
    "tuple",
    Tuple,
    "netns Q, source 16s, destination 16s, source_port H, destination_port H, _ 4x",
)


class Handshake(NamedTuple):
    generation: int
    mac: int
    local: int
    peer: int
    peer_host: int
    rule: int
    verdict: int
    reason: int
    proof: int


HANDSHAKE = Layout(
    "handshake",
    Handshake,
    "generation Q, mac Q, local I, peer I, peer_host I, rule I, verdict B, reason B, "
    "proof B, _ x4x",
)


class SeenBucket(NamedTuple):
    """macs: SEEN_WAYS of 8 bytes; epochs: the low byte of each one's epoch."""

    macs: bytes
    next: int
    epochs: bytes


SEEN_BUCKET = Layout(
    "seen_bucket", SeenBucket, f"macs {8 * SEEN_WAYS}s, next B, epochs {SEEN_WAYS}s"
)


class DatagramKey(NamedTuple):
    netns: int
    local: bytes
    remote: bytes
    local_port: int
    remote_port: int
    protocol: int


DATAGRAM_KEY = Layout(
    "datagram_key",
    DatagramKey,
    "netns Q, local 16s, remote 16s, local_port H, remote_port H, protocol B, _ 3x",
)


class Datagram(NamedTuple):
    generation: int
    seen_s: int
    rule: int
    direction: int
    verdict: int
    reason: int
    proof: int
    peer: int


DATAGRAM = Layout(
    "datagram",
    Datagram,
    "generation Q, seen_s I, rule I, direction B, verdict B, reason B, proof B, peer I",
)


class Record(NamedTuple):
    identity: int


RECORD = Layout("record", Record, "identity I, _ 4x")


class ProcessEvent(NamedTuple):
    """`executable` is a packed `executable_key`, as the map `executables` wants it."""

    executable: bytes
    kind: int
    tgid: int
    generation: int


PROCESS_EVENT = Layout(
    "process_event",
    ProcessEvent,
    f"executable {EXECUTABLE_KEY.size}s, kind I, tgid I, generation I, _ 4x",
)


class Segment(IntEnum):
    """Which segment of a handshake a flow event is about."""

    OTHER = 0
    SYN = 1
    SYN_ACK = 2


class FlowKind(IntEnum):
    """What a flow event tells."""

    JUDGED = 0
    CLOSED = 1


class FlowEvent(NamedTuple):
    """answer: of a SYN, what a reset has to acknowledge. What follows: of ended connections."""

    time_ns: int
    generation: int
    netns: int
    local_address: bytes
    remote_address: bytes
    local: int
    peer: int
    peer_host: int
    rule: int
    tgid: int
    suppressed: int
    local_port: int
    remote_port: int
    protocol: int
    direction: int
    verdict: int
    reason: int
    proof: int
    segment: int
    kind: int
    answer: int
    sent_bytes: int = 0
    received_bytes: int = 0
    sent_packets: int = 0
    received_packets: int = 0
    duration_ms: int = 0


FLOW_EVENT = Layout(
    "flow_event",
    FlowEvent,
    "time_ns Q, generation Q, netns Q, local_address 16s, remote_address 16s, local I, peer I, "
    "peer_host I, rule I, tgid I, suppressed I, local_port H, remote_port H, protocol B, "
    "direction B, verdict B, reason B, proof B, segment B, kind B, _ x, answer I, "
    "sent_bytes Q, received_bytes Q, sent_packets I, received_packets I, duration_ms I, _ 4x",
)

LAYOUTS = (
    CONTROL, PROCESS, EXECUTABLE_KEY, EXECUTABLE, SOCKET_STATE, RULE_KEY, RANGE_KEY, RULE_ENTRY,
    ADDRESS_KEY, NETWORK_KEY, ADDRESS_ENTRY, EPOCH_KEY, PEER, RESIDENT_KEY, MODE_ENTRY, TUPLE,
    HANDSHAKE, SEEN_BUCKET, DATAGRAM_KEY, DATAGRAM, RECORD, PROCESS_EVENT, FLOW_EVENT,
)  # fmt: skip
"""Every struct of the header."""


def pack_address(address: IPAddress) -> bytes:
    """16 bytes in network order, IPv4 as mapped IPv6."""
    if address.version == 4:
        return bytes(10) + b"\xff\xff" + address.packed
    return address.packed


def unpack_address(data: bytes) -> IPAddress:
    address = ipaddress.IPv6Address(data)
    return address.ipv4_mapped or address


def pack_epoch_key(key: EpochKey) -> bytes:
    """The 16 bytes are two little-endian words to the kernel's SipHash."""
    if sys.byteorder == "big":
        return EPOCH_KEY.struct.pack(key.epoch, key.key[7::-1] + key.key[:7:-1])
    return EPOCH_KEY.struct.pack(key.epoch, key.key)


def pack_peer(keys: Iterable[EpochKey], flags: int) -> bytes:
    """Each key in the slot of its epoch; empty slots have epoch 0."""
    slots = bytearray(EPOCH_SLOTS * EPOCH_KEY.size)
    for key in keys:
        start = key.epoch % EPOCH_SLOTS * EPOCH_KEY.size
        slots[start : start + EPOCH_KEY.size] = pack_epoch_key(key)
    return PEER.struct.pack(bytes(slots), flags)


def counter_index(direction: Direction, verdict: Verdict, reason: Reason) -> int:
    """Place in the per-CPU array `counters`."""
    return (direction * VERDICT_MAX + verdict) * REASON_MAX + reason


def counter_of(index: int) -> tuple[Direction, Verdict, int]:
    """The other way. The reason is a plain number: a newer kernel side may count more of them."""
    rest, reason = divmod(index, REASON_MAX)
    direction, verdict = divmod(rest, VERDICT_MAX)
    return Direction(direction), Verdict(verdict), reason
