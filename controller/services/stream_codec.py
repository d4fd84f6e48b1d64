# SPDX-License-Identifier: Apache-2.0
"""The policy stream's messages: bytes in to events, actions out to bytes.

What comes in is held to the bounds of the contract before anything else sees it. What goes out is
put together from bytes that all streams share; only nonce and sequence are a stream's own, so
nothing large is ever serialised twice.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from agent.core.model import EpochKey, IPAddress
from agent.edge import signed
from agent.edge.content_codec import field, serialised, varint
from agent.pb import policy_pb2 as pb
from agent.pb import signed_pb2, snapshot_pb2
from controller.board import Desk
from controller.fleet.changes import HostRecordFields
from controller.keyserver import HeldKeys, HostKeysFields
from controller.releases import Release, Sealing
from controller.talk import (
    Acked,
    Action,
    AwayReason,
    Beat,
    Event,
    HeldPolicy,
    Hello,
    Nacked,
    Resync,
    SendBeat,
    SendConfirm,
    SendInSync,
    SendKeys,
    SendPolicy,
    SendRecord,
    Welcome,
)

MAX_BYTES = 1024 * 1024
MAX_SENTENCE = 1024
_MAX_ITEMS = 4096
_MAX_ADDRESSES = 64
_MAX_NAME = 64
_INSTANCE_BYTES = 16
_KNOWN_REASONS = frozenset(pb.NackReason.values())
HEARTBEAT_SECONDS = 15


class BadMessage(ValueError):
    """What the agent sent is no message of the contract; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Reported(Event):
    """How the host is. body: the serialised Report."""

    body: bytes
    addresses: tuple[IPAddress, ...]
    trouble: str


@dataclass(frozen=True, slots=True)
class Greeting(Event):
    """Hello, and what in it is not the stream's but the host's."""

    hello: Hello
    instance: bytes
    agent_version: str


def decode(data: bytes) -> Event:
    """Raises BadMessage."""
    if len(data) > MAX_BYTES:
        raise BadMessage(f"a message of {len(data)} bytes is larger than {MAX_BYTES}")
    message = pb.AgentUp()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise BadMessage("the bytes are no message") from None
    match message.WhichOneof("message"):
        case "ack":
            return Acked(message.ack.nonce, message.ack.version)
        case "nack":
            return _nack(message.nack)
        case "heartbeat":
            return Beat(message.heartbeat.sequence)
        case "report":
            return _report(message.report)
        case "resync":
            return Resync(message.resync.content, message.resync.keys)
        case "hello":
            return _hello(message.hello)
        case _:
            raise BadMessage("the message is empty, or of a kind that is not known here")


def _nack(nack: pb.Nack) -> Nacked:
    reason = nack.reason if nack.reason in _KNOWN_REASONS else 0
    return Nacked(nack.nonce, reason, nack.message[:MAX_SENTENCE], nack.version, nack.store_epoch)


def _hello(hello: pb.Hello) -> Greeting:
    if len(hello.instance_id) != _INSTANCE_BYTES:
        raise BadMessage(f"instance_id has {len(hello.instance_id)} bytes, not {_INSTANCE_BYTES}")
    if len(hello.agent_version) > _MAX_NAME:
        raise BadMessage(f"agent_version is longer than {_MAX_NAME}")
    said = Hello(
        protocol=hello.protocol,
        host=hello.host,
        name=hello.host_name,
        policy=_held(hello.policy) if hello.HasField("policy") else None,
        unconfirmed=_held(hello.unconfirmed) if hello.HasField("unconfirmed") else None,
        record_serial=hello.host_record_serial,
        keys=HeldKeys(hello.keys.serial, hello.keys.last_epoch),
        key_set_serial=hello.policy_keys_serial,
        refused=_nack(hello.refused) if hello.HasField("refused") else None,
    )
    return Greeting(said, hello.instance_id, hello.agent_version)


def _held(held: pb.HeldPolicy) -> HeldPolicy:
    return HeldPolicy(
        held.store_epoch, held.version, held.content_digest, held.expires, held.audience
    )


def _report(report: pb.Report) -> Reported:
    bounds = (
        ("identities", len(report.identities), _MAX_ITEMS),
        ("listeners", len(report.listeners), _MAX_ITEMS),
        ("addresses", len(report.addresses), _MAX_ADDRESSES),
        ("state", len(report.state), _MAX_NAME),
        ("kernel", len(report.kernel), MAX_SENTENCE),
        ("trouble", len(report.health.trouble), MAX_SENTENCE),
    )
    for name, count, most in bounds:
        if count > most:
            raise BadMessage(f"{name} of a report has {count}, more than {most}")
    try:
        addresses = tuple(ipaddress.ip_address(packed) for packed in report.addresses)
    except ValueError:
        raise BadMessage("an address of a report is not of 4 or 16 bytes") from None
    return Reported(serialised(report), addresses, report.health.trouble)


@dataclass(frozen=True, slots=True)
class Self:
    """What a controller says of itself."""

    name: str
    controllers: tuple[str, ...]
    key_set: bytes
    """A serialised Signed."""


def encode(action: Action, desk: Desk, own: Self) -> bytes | None:
    """A ControllerDown but for its sequence; None for what is not said to the agent."""
    down = pb.ControllerDown
    match action:
        case Welcome():
            return field(down.WELCOME_FIELD_NUMBER, serialised(_welcome(action, desk, own)))
        case SendRecord():
            envelope = _sealed(
                serialised(host_record(action.record)), signed.HOST_RECORD, desk.sealing
            )
            update = pb.HostRecordUpdate(nonce=action.nonce, record=envelope)
            return field(down.HOST_RECORD_FIELD_NUMBER, serialised(update))
        case SendKeys():
            keys = _keys(action.keys, desk.head.store_epoch)
            envelope = _sealed(keys, signed.HOST_KEYS, desk.sealing)
            more = pb.KeyUpdate(nonce=action.nonce, keys=envelope)
            return field(down.KEYS_FIELD_NUMBER, serialised(more))
        case SendPolicy():
            return field(down.POLICY_FIELD_NUMBER, _policy(action, desk))
        case SendInSync():
            return field(down.IN_SYNC_FIELD_NUMBER, serialised(pb.InSync(version=action.version)))
        case SendConfirm():
            return field(down.CONFIRM_FIELD_NUMBER, serialised(pb.Confirm(nonce=action.nonce)))
        case SendBeat():
            reply = pb.HeartbeatReply(sequence=action.sequence, now_ms=desk.unix_ms)
            return field(down.HEARTBEAT_FIELD_NUMBER, serialised(reply))
        case _:
            return None


def going_away(reason: AwayReason, retry_seconds: float, message: str) -> bytes:
    body = pb.GoingAway(
        reason=pb.GoingAwayReason.Name(int(reason)),
        retry_after_ms=int(retry_seconds * 1000),
        message=message[:MAX_SENTENCE],
    )
    return field(pb.ControllerDown.GOING_AWAY_FIELD_NUMBER, serialised(body))


def numbered(sequence: int, body: bytes) -> bytes:
    """The whole message."""
    return b"\x08" + varint(sequence) + body


def _welcome(action: Welcome, desk: Desk, own: Self) -> pb.Welcome:
    welcome = pb.Welcome(
        controller=own.name,
        store_epoch=desk.head.store_epoch,
        version=desk.head.version,
        now_ms=desk.unix_ms,
        heartbeat_seconds=HEARTBEAT_SECONDS,
        confirm_seconds=desk.settings.confirm_seconds,
        lease_seconds=desk.settings.lease_seconds,
        confirmed=action.confirmed,
        controllers=own.controllers,
    )
    if action.key_set:
        welcome.policy_keys.ParseFromString(own.key_set)
    return welcome


def _sealed(payload: bytes, context: bytes, sealing: Sealing | None) -> signed_pb2.Signed:
    assert sealing is not None, "the publisher has begun"
    return signed.seal(payload, context, sealing.key)


def host_record(said: HostRecordFields) -> pb.HostRecord:
    return pb.HostRecord(
        store_epoch=said.store_epoch,
        serial=said.serial,
        host=said.host,
        host_name=said.name,
        trust_domain=said.trust_domain,
        audience=said.audience,
        addresses=[address.packed for address in said.addresses],
        tags_off=said.tags_off,
        nat=said.nat,
        issued=said.issued,
    )


def _keys(said: HostKeysFields, store_epoch: int) -> bytes:
    return serialised(
        pb.HostKeys(
            store_epoch=store_epoch,
            serial=said.serial,
            host=said.host,
            replaces_all=said.replaces_all,
            receive_secrets=map(_key, said.receive_secrets),
            peers=[pb.PeerKeys(host=peer, keys=map(_key, keys)) for peer, keys in said.peers],
            issued=said.issued,
            expires=said.expires,
        )
    )


def _key(key: EpochKey) -> snapshot_pb2.EpochKey:
    return snapshot_pb2.EpochKey(epoch=key.epoch, key=key.key)


def _policy(action: SendPolicy, desk: Desk) -> bytes:
    """A PolicyUpdate: a few bytes of its own and those that all share."""
    update = pb.PolicyUpdate
    own = b"\x08" + varint(action.nonce)
    own += field(update.RELEASE_FIELD_NUMBER, action.release.signed)
    return own + _body(action.release, action.base, desk)


def _body(release: Release, base: bytes | None, desk: Desk) -> bytes:
    update = pb.PolicyUpdate
    if base == release.digest:
        return field(update.UNCHANGED_FIELD_NUMBER, b"")
    delta = desk.releases.delta(release, base) if base is not None else None
    if delta is not None:
        return field(update.DELTA_FIELD_NUMBER, delta)
    return field(update.CONTENT_FIELD_NUMBER, desk.releases.whole(release))
