# SPDX-License-Identifier: Apache-2.0
"""`model.Snapshot` to protobuf bytes and back, and the signed envelope around them.

The one place that knows the wire's conventions: enums are one higher than the model's, because 0 is
"unspecified" and refused; an empty string is None; a set of identities says whether it is "any".
Whether a snapshot makes sense is agent.core.snapshot's business; here is only what cannot be said
in the model at all. Every fault in foreign bytes is a `SnapshotDecodeError`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.message import DecodeError

from agent.core.model import (
    Action,
    Direction,
    EpochKey,
    IPAddress,
    Mode,
    Network,
    Peer,
    PortRange,
    Protocol,
    Rule,
    Selector,
    Settings,
    Snapshot,
    Workload,
)
from agent.core.snapshot import key_id, signed_bytes
from agent.pb import snapshot_pb2 as pb

E = TypeVar("E", bound=IntEnum)
_PROTOCOLS = {int(protocol): protocol for protocol in Protocol}
_MODES = {Mode.OFF: pb.MODE_OFF, Mode.AUDIT: pb.MODE_AUDIT, Mode.ENFORCE: pb.MODE_ENFORCE}
_SELECTOR_FIELDS = Selector.__slots__


class SnapshotDecodeError(ValueError):
    """The bytes are no snapshot, or not one of whom they must be from; the text says why."""


def seal(snapshot: Snapshot, key: Ed25519PrivateKey) -> bytes:
    """The content of a snapshot file."""
    payload = encode(snapshot)
    signed = pb.SignedSnapshot(
        payload=payload,
        signature=key.sign(signed_bytes(payload)),
        key_id=key_id(raw_public_key(key.public_key())),
    )
    return signed.SerializeToString(deterministic=True)


def unseal(content: bytes, key: Ed25519PublicKey) -> bytes:
    """The payload, whose signature is good. Raises SnapshotDecodeError."""
    signed = pb.SignedSnapshot()
    try:
        signed.ParseFromString(content)
    except DecodeError:
        raise SnapshotDecodeError("it is no signed snapshot, or only a part of one") from None
    if not signed.payload or not signed.signature:
        raise SnapshotDecodeError("it is no signed snapshot: payload or signature is missing")
    own = key_id(raw_public_key(key))
    if signed.key_id != own:
        raise SnapshotDecodeError(
            f"it is signed with key {signed.key_id.hex() or 'unknown'}, "
            f"this host trusts key {own.hex()}"
        )
    try:
        key.verify(signed.signature, signed_bytes(signed.payload))
    except InvalidSignature:
        raise SnapshotDecodeError("its signature does not fit its content") from None
    return signed.payload


def raw_public_key(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def encode(snapshot: Snapshot) -> bytes:
    """Deterministic: equal snapshots are equal bytes."""
    message = pb.Snapshot(
        host=snapshot.host,
        host_name=snapshot.host_name,
        version=snapshot.version,
        issued=snapshot.issued,
        expires=snapshot.expires,
        trust_domain=snapshot.trust_domain,
        workloads=map(_encode_workload, snapshot.workloads),
        rules=map(_encode_rule, snapshot.rules),
        peers=map(_encode_peer, snapshot.peers),
        networks=map(_encode_network, snapshot.networks),
        receive_secrets=map(_encode_key, snapshot.receive_secrets),
        names=snapshot.names,
        settings=_encode_settings(snapshot.settings),
    )
    for identity, mode in snapshot.modes.items():
        message.modes[identity] = _MODES[mode]
    return message.SerializeToString(deterministic=True)


def decode(payload: bytes) -> Snapshot:
    """Raises SnapshotDecodeError."""
    message = pb.Snapshot()
    try:
        message.ParseFromString(payload)
    except DecodeError:
        raise SnapshotDecodeError("its payload is no snapshot") from None
    return Snapshot(
        host=message.host,
        host_name=message.host_name,
        version=message.version,
        issued=message.issued,
        expires=message.expires,
        trust_domain=message.trust_domain,
        workloads=tuple(map(_decode_workload, message.workloads)),
        rules=tuple(map(_decode_rule, message.rules)),
        peers=tuple(map(_decode_peer, message.peers)),
        networks=tuple(map(_decode_network, message.networks)),
        receive_secrets=_decode_keys(message.receive_secrets),
        modes={
            identity: _lowered(mode, Mode, f"the mode of identity {identity}")
            for identity, mode in message.modes.items()
        },
        names=dict(message.names),
        settings=_decode_settings(message),
    )


def _lowered(value: int, enum: Callable[[int], E], where: str) -> E:
    if value != 0:
        try:
            return enum(value - 1)
        except ValueError:
            pass
    raise SnapshotDecodeError(f"{where} is {value or 'missing'}, which this agent does not know")


def _encode_workload(workload: Workload) -> pb.Workload:
    return pb.Workload(
        identity=workload.identity,
        name=workload.name,
        segment=workload.segment,
        match=map(_encode_selector, workload.match),
    )


def _encode_selector(selector: Selector) -> pb.Selector:
    return pb.Selector(**{name: getattr(selector, name) or "" for name in _SELECTOR_FIELDS})


def _decode_workload(message: pb.Workload) -> Workload:
    return Workload(
        identity=message.identity,
        name=message.name,
        segment=message.segment,
        match=tuple(map(_decode_selector, message.match)),
    )


def _decode_selector(message: pb.Selector) -> Selector:
    return Selector(**{name: getattr(message, name) or None for name in _SELECTOR_FIELDS})


def _encode_rule(rule: Rule) -> pb.Rule:
    return pb.Rule(
        number=rule.number,
        name=rule.name,
        action=f"ACTION_{rule.action.name}",
        direction=f"DIRECTION_{rule.direction.name}",
        locals=_encode_identities(rule.locals),
        peers=_encode_identities(rule.peers),
        ports=[
            pb.PortRange(protocol=ports.protocol, first=ports.first, last=ports.last)
            for ports in rule.ports
        ],
        staged=rule.staged,
    )


def _encode_identities(identities: frozenset[int] | None) -> pb.Identities:
    if identities is None:
        return pb.Identities(any=True)
    return pb.Identities(numbers=sorted(identities))


def _decode_rule(message: pb.Rule) -> Rule:
    where = f"rule {message.number} ({message.name})"
    return Rule(
        number=message.number,
        name=message.name,
        action=_lowered(message.action, Action, f"the action of {where}"),
        direction=_lowered(message.direction, Direction, f"the direction of {where}"),
        locals=_decode_identities(message, "locals", where),
        peers=_decode_identities(message, "peers", where),
        ports=tuple(_decode_ports(ports, where) for ports in message.ports),
        staged=message.staged,
    )


def _decode_identities(message: pb.Rule, name: str, where: str) -> frozenset[int] | None:
    if not message.HasField(name):
        raise SnapshotDecodeError(f"{where} does not say its {name}")
    identities: pb.Identities = getattr(message, name)
    if not identities.any:
        return frozenset(identities.numbers)
    if identities.numbers:
        raise SnapshotDecodeError(f"{where} says any of its {name} and lists some")
    return None


def _decode_ports(message: pb.PortRange, where: str) -> PortRange:
    protocol = _PROTOCOLS.get(message.protocol)
    if protocol is None:
        raise SnapshotDecodeError(f"{where} names protocol {message.protocol}, which has no number")
    return PortRange(protocol, message.first, message.last)


def _encode_key(key: EpochKey) -> pb.EpochKey:
    return pb.EpochKey(epoch=key.epoch, key=key.key)


def _decode_keys(messages: Iterable[pb.EpochKey]) -> tuple[EpochKey, ...]:
    return tuple(EpochKey(message.epoch, message.key) for message in messages)


def _encode_peer(peer: Peer) -> pb.Peer:
    return pb.Peer(
        host=peer.host,
        name=peer.name,
        addresses=[address.packed for address in peer.addresses],
        keys=map(_encode_key, peer.keys),
        residents=sorted(peer.residents),
        tags_off=peer.tags_off,
        nat=peer.nat,
    )


def _decode_peer(message: pb.Peer) -> Peer:
    where = f"peer {message.name} ({message.host})"
    return Peer(
        host=message.host,
        name=message.name,
        addresses=tuple(_decode_address(packed, where) for packed in message.addresses),
        keys=_decode_keys(message.keys),
        residents=frozenset(message.residents),
        tags_off=message.tags_off,
        nat=message.nat,
    )


def _decode_address(packed: bytes, where: str) -> IPAddress:
    if len(packed) not in (4, 16):
        raise SnapshotDecodeError(f"{where} has an address of {len(packed)} bytes, not 4 or 16")
    return ipaddress.ip_address(packed)


def _encode_network(network: Network) -> pb.Network:
    return pb.Network(
        identity=network.identity,
        address=network.cidr.network_address.packed,
        prefix_length=network.cidr.prefixlen,
    )


def _decode_network(message: pb.Network) -> Network:
    where = f"network {message.identity}"
    address = _decode_address(message.address, where)
    try:
        cidr = ipaddress.ip_network((address, message.prefix_length))
    except ValueError as error:
        raise SnapshotDecodeError(f"{where}: {error}") from None
    return Network(message.identity, cidr)


def _encode_settings(settings: Settings) -> pb.Settings:
    return pb.Settings(
        epoch_seconds=settings.epoch_seconds,
        hold_limit_ms=settings.hold_limit_ms,
        refusal_events_per_second=settings.refusal_events_per_second,
        hash_limit_mib=settings.hash_limit_mib,
        adoption_grace_seconds=settings.adoption_grace_seconds,
    )


def _decode_settings(message: pb.Snapshot) -> Settings:
    if not message.HasField("settings"):
        raise SnapshotDecodeError("it has no settings")
    return Settings(
        epoch_seconds=message.settings.epoch_seconds,
        hold_limit_ms=message.settings.hold_limit_ms,
        refusal_events_per_second=message.settings.refusal_events_per_second,
        hash_limit_mib=message.settings.hash_limit_mib,
        adoption_grace_seconds=message.settings.adoption_grace_seconds,
    )
