# SPDX-License-Identifier: Apache-2.0
"""The nouns of `agent.core.model` to their protobuf messages and back, one by one.

The one place that knows the wire's conventions: enums are one higher than the model's, because 0 is
"unspecified" and refused; an empty string is None; a set of identities says whether it is "any".
Snapshots and the contents of the policy stream are both put together from these.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import TypeVar

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
    Workload,
)
from agent.pb import snapshot_pb2 as pb

E = TypeVar("E", bound=IntEnum)
_PROTOCOLS = {int(protocol): protocol for protocol in Protocol}
_MODES = {Mode.OFF: pb.MODE_OFF, Mode.AUDIT: pb.MODE_AUDIT, Mode.ENFORCE: pb.MODE_ENFORCE}
_SELECTOR_FIELDS = Selector.__slots__


class SnapshotDecodeError(ValueError):
    """The bytes are no snapshot, or not one of whom they must be from; the text says why."""


def encode_mode(mode: Mode) -> pb.Mode:
    return _MODES[mode]


def decode_mode(identity: int, value: int) -> Mode:
    return lowered(value, Mode, f"the mode of identity {identity}")


def lowered(value: int, enum: Callable[[int], E], where: str) -> E:
    if value != 0:
        try:
            return enum(value - 1)
        except ValueError:
            pass
    raise SnapshotDecodeError(f"{where} is {value or 'missing'}, which this agent does not know")


def encode_workload(workload: Workload) -> pb.Workload:
    return pb.Workload(
        identity=workload.identity,
        name=workload.name,
        segment=workload.segment,
        match=map(encode_selector, workload.match),
    )


def encode_selector(selector: Selector) -> pb.Selector:
    return pb.Selector(**{name: getattr(selector, name) or "" for name in _SELECTOR_FIELDS})


def decode_workload(message: pb.Workload) -> Workload:
    return Workload(
        identity=message.identity,
        name=message.name,
        segment=message.segment,
        match=tuple(map(decode_selector, message.match)),
    )


def decode_selector(message: pb.Selector) -> Selector:
    return Selector(**{name: getattr(message, name) or None for name in _SELECTOR_FIELDS})


def encode_rule(rule: Rule) -> pb.Rule:
    return pb.Rule(
        number=rule.number,
        name=rule.name,
        action=f"ACTION_{rule.action.name}",
        direction=f"DIRECTION_{rule.direction.name}",
        locals=encode_identities(rule.locals),
        peers=encode_identities(rule.peers),
        ports=[
            pb.PortRange(protocol=ports.protocol, first=ports.first, last=ports.last)
            for ports in rule.ports
        ],
        staged=rule.staged,
    )


def encode_identities(identities: frozenset[int] | None) -> pb.Identities:
    if identities is None:
        return pb.Identities(any=True)
    return pb.Identities(numbers=sorted(identities))


def decode_rule(message: pb.Rule) -> Rule:
    where = f"rule {message.number} ({message.name})"
    return Rule(
        number=message.number,
        name=message.name,
        action=lowered(message.action, Action, f"the action of {where}"),
        direction=lowered(message.direction, Direction, f"the direction of {where}"),
        locals=decode_identities(message, "locals", where),
        peers=decode_identities(message, "peers", where),
        ports=tuple(decode_ports(ports, where) for ports in message.ports),
        staged=message.staged,
    )


def decode_identities(message: pb.Rule, name: str, where: str) -> frozenset[int] | None:
    if not message.HasField(name):
        raise SnapshotDecodeError(f"{where} does not say its {name}")
    identities: pb.Identities = getattr(message, name)
    if not identities.any:
        return frozenset(identities.numbers)
    if identities.numbers:
        raise SnapshotDecodeError(f"{where} says any of its {name} and lists some")
    return None


def decode_ports(message: pb.PortRange, where: str) -> PortRange:
    protocol = _PROTOCOLS.get(message.protocol)
    if protocol is None:
        raise SnapshotDecodeError(f"{where} names protocol {message.protocol}, which has no number")
    return PortRange(protocol, message.first, message.last)


def encode_key(key: EpochKey) -> pb.EpochKey:
    return pb.EpochKey(epoch=key.epoch, key=key.key)


def decode_keys(messages: Iterable[pb.EpochKey]) -> tuple[EpochKey, ...]:
    return tuple(EpochKey(message.epoch, message.key) for message in messages)


def encode_peer(peer: Peer) -> pb.Peer:
    return pb.Peer(
        host=peer.host,
        name=peer.name,
        addresses=[address.packed for address in peer.addresses],
        keys=map(encode_key, peer.keys),
        residents=sorted(peer.residents),
        tags_off=peer.tags_off,
        nat=peer.nat,
    )


def decode_peer(message: pb.Peer) -> Peer:
    where = f"peer {message.name} ({message.host})"
    return Peer(
        host=message.host,
        name=message.name,
        addresses=tuple(decode_address(packed, where) for packed in message.addresses),
        keys=decode_keys(message.keys),
        residents=frozenset(message.residents),
        tags_off=message.tags_off,
        nat=message.nat,
    )


def decode_address(packed: bytes, where: str) -> IPAddress:
    if len(packed) not in (4, 16):
        raise SnapshotDecodeError(f"{where} has an address of {len(packed)} bytes, not 4 or 16")
    return ipaddress.ip_address(packed)


def encode_network(network: Network) -> pb.Network:
    return pb.Network(
        identity=network.identity,
        address=network.cidr.network_address.packed,
        prefix_length=network.cidr.prefixlen,
    )


def decode_network(message: pb.Network) -> Network:
    where = f"network {message.identity}"
    address = decode_address(message.address, where)
    try:
        cidr = ipaddress.ip_network((address, message.prefix_length))
    except ValueError as error:
        raise SnapshotDecodeError(f"{where}: {error}") from None
    return Network(message.identity, cidr)


def encode_settings(settings: Settings) -> pb.Settings:
    return pb.Settings(
        epoch_seconds=settings.epoch_seconds,
        hold_limit_ms=settings.hold_limit_ms,
        refusal_events_per_second=settings.refusal_events_per_second,
        hash_limit_mib=settings.hash_limit_mib,
        adoption_grace_seconds=settings.adoption_grace_seconds,
    )


def decode_settings(message: pb.Settings) -> Settings:
    return Settings(
        epoch_seconds=message.epoch_seconds,
        hold_limit_ms=message.hold_limit_ms,
        refusal_events_per_second=message.refusal_events_per_second,
        hash_limit_mib=message.hash_limit_mib,
        adoption_grace_seconds=message.adoption_grace_seconds,
    )
