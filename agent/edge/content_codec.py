# SPDX-License-Identifier: Apache-2.0
"""Content between its wire form and entries, and what one host makes of it: a `model.Snapshot`.

Entries are serialised messages, so that a digest needs no decoding and a message is put together
from bytes that are there already. Refused here is what the contract forbids of foreign bytes
(order, duplicates, bounds); whether the policy makes sense is agent.core.soundness's question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from google.protobuf.message import DecodeError, Message

from agent.core import tag
from agent.core.content import (
    DIGEST_BYTES,
    SETTINGS_KEY,
    Entries,
    Key,
    Removals,
    Section,
    order,
    show,
)
from agent.core.model import EpochKey, Peer, Snapshot
from agent.edge import model_codec as codec
from agent.edge.model_codec import SnapshotDecodeError
from agent.pb import policy_pb2 as pb
from agent.pb import snapshot_pb2

_LENGTH_DELIMITED = 2
_KEY_FIELDS = {
    Section.WORKLOADS: "identity",
    Section.RULES: "number",
    Section.PEERS: "host",
    Section.NETWORKS: "identity",
    Section.MODES: "identity",
    Section.NAMES: "identity",
}
_TYPES: Mapping[Section, type[Message]] = {
    Section.WORKLOADS: snapshot_pb2.Workload,
    Section.RULES: snapshot_pb2.Rule,
    Section.PEERS: snapshot_pb2.Peer,
    Section.NETWORKS: snapshot_pb2.Network,
    Section.MODES: pb.LocalMode,
    Section.NAMES: pb.IdentityName,
    Section.SETTINGS: snapshot_pb2.Settings,
}


class Keys(Protocol):
    """The keys that a host holds."""

    @property
    def receive_secrets(self) -> tuple[EpochKey, ...]: ...

    def keys(self, host: int) -> tuple[EpochKey, ...]: ...


@dataclass(frozen=True, slots=True)
class Difference:
    """A decoded delta."""

    base_version: int
    base_digest: bytes
    removals: Removals
    upserts: Entries


def decode_content(message: pb.Content) -> Entries:
    """Raises SnapshotDecodeError for what is out of order, there twice, or too much."""
    return {section: _decode_section(section, message) for section in Section}


def _decode_section(section: Section, message: pb.Content) -> Mapping[Key, bytes]:
    if section is Section.SETTINGS:
        present = message.HasField("settings")
        return {SETTINGS_KEY: serialised(message.settings)} if present else {}
    items: Sequence[Any] = getattr(message, section.name.lower())
    if section is Section.MANAGED:
        keys: list[Key] = [_address(item) for item in items]
        _require_order(section, keys)
        return dict(zip(keys, items, strict=True))
    name = _KEY_FIELDS[section]
    keys = [getattr(item, name) for item in items]
    _require_order(section, keys)
    return {key: serialised(item) for key, item in zip(keys, items, strict=True)}


def _address(packed: bytes) -> bytes:
    codec.decode_address(packed, "a managed host")
    return packed


def _require_order(section: Section, keys: Sequence[Key]) -> None:
    name = section.name.lower()
    if len(keys) > section.limit:
        raise SnapshotDecodeError(f"{name}: {len(keys)} entries are more than {section.limit}")
    ranks = list(map(order, keys))
    for key, before, after in zip(keys[1:], ranks, ranks[1:], strict=False):
        if before >= after:
            raise SnapshotDecodeError(f"{name}: {show(key)} is there twice or out of order")


def decode_delta(message: pb.Delta) -> Difference:
    """Raises SnapshotDecodeError. Whether it fits what is held is agent.core.content's question."""
    if len(message.base_digest) != DIGEST_BYTES:
        raise SnapshotDecodeError(f"the base's digest has {len(message.base_digest)} bytes")
    removals: dict[Section, Sequence[Key]] = {}
    for section in Section:
        if section is not Section.SETTINGS:
            keys: list[Key] = list(getattr(message.removals, section.name.lower()))
            _require_order(section, keys)
            removals[section] = keys
    upserts = decode_content(message.upserts)
    return Difference(message.base_version, message.base_digest, removals, upserts)


def encode_content(entries: Entries) -> bytes:
    """A serialised Content."""
    return b"".join(_fields(entries))


def _fields(entries: Entries) -> Iterator[bytes]:
    for section in Section:
        items = entries.get(section, {})
        for key in sorted(items, key=order):
            yield field(section, items[key])


def encode_delta(difference: Difference) -> bytes:
    """A serialised Delta."""
    message = pb.Delta(base_version=difference.base_version, base_digest=difference.base_digest)
    for section, keys in difference.removals.items():
        getattr(message.removals, section.name.lower()).extend(keys)
    upserts = pb.Delta.UPSERTS_FIELD_NUMBER
    return serialised(message) + field(upserts, encode_content(difference.upserts))


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field as it stands on the wire."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def serialised(message: Message) -> bytes:
    """An entry's bytes: fields by number, unknown ones kept."""
    return message.SerializeToString(deterministic=True)


def snapshot(entries: Entries, record: pb.HostRecord, ring: Keys, release: pb.Release) -> Snapshot:
    """What the host of this record makes of a release's content. Raises SnapshotDecodeError.

    The host's own entry is made from its record, whatever `peers` says of it. Its keys towards
    itself follow from its receive secrets, so nobody sends them.
    """
    networks = _decoded(entries, Section.NETWORKS, codec.decode_network)
    workloads = _decoded(entries, Section.WORKLOADS, codec.decode_workload)
    (settings,) = _decoded(entries, Section.SETTINGS, codec.decode_settings) or _no_settings()
    own = Peer(
        host=record.host,
        name=record.host_name,
        addresses=tuple(codec.decode_address(a, "this host") for a in record.addresses),
        keys=_own_keys(record.host, ring.receive_secrets),
        residents=frozenset(workload.identity for workload in workloads),
        tags_off=record.tags_off,
        nat=record.nat,
    )
    others = (
        peer
        for peer in _decoded(entries, Section.PEERS, lambda m: _decode_peer(m, ring))
        if peer.host != own.host
    )
    modes: list[pb.LocalMode] = _decoded(entries, Section.MODES, lambda m: m)
    names: list[pb.IdentityName] = _decoded(entries, Section.NAMES, lambda m: m)
    managed = entries.get(Section.MANAGED, {}).values()
    return Snapshot(
        host=record.host,
        host_name=record.host_name,
        version=release.version,
        issued=release.issued,
        expires=release.expires,
        trust_domain=record.trust_domain,
        workloads=tuple(workloads),
        rules=tuple(_decoded(entries, Section.RULES, codec.decode_rule)),
        peers=tuple(sorted((own, *others), key=lambda peer: peer.host)),
        networks=tuple(networks),
        receive_secrets=ring.receive_secrets,
        modes={m.identity: codec.decode_mode(m.identity, m.mode) for m in modes},
        names={n.identity: n.name for n in names},
        settings=settings,
        managed=frozenset(codec.decode_address(packed, "a managed host") for packed in managed),
        store_epoch=release.store_epoch,
    )


def _no_settings() -> list[Any]:
    raise SnapshotDecodeError("it has no settings")


def _own_keys(host: int, secrets: Iterable[EpochKey]) -> tuple[EpochKey, ...]:
    return tuple(EpochKey(secret.epoch, tag.pair_key(secret.key, host)) for secret in secrets)


def _decode_peer(message: snapshot_pb2.Peer, ring: Keys) -> Peer:
    if message.keys:
        raise SnapshotDecodeError(f"peer {message.name} ({message.host}) comes with keys")
    return replace(codec.decode_peer(message), keys=ring.keys(message.host))


def _decoded(entries: Entries, section: Section, decode: Callable[[Any], Any]) -> list[Any]:
    """A section's values in the order of their keys."""
    items = entries.get(section, {})
    kind = _TYPES[section]
    try:
        return [decode(kind.FromString(items[key])) for key in sorted(items, key=order)]
    except DecodeError:
        raise SnapshotDecodeError(f"{section.name.lower()}: an entry is no message") from None
