# SPDX-License-Identifier: Apache-2.0
"""The policy stream's messages at the agent: bytes in to values, values out to bytes.

Signatures are checked here, before anything that is signed is parsed; a message that is to be
answered and is not good becomes a `BadCame`, so that it is refused and the stream goes on. What is
no message at all raises BadStream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from google.protobuf.message import DecodeError

from agent.core import stream
from agent.core.acceptance import Body
from agent.core.held import KeySet, NackReason, Record, Release
from agent.core.keyring import KeyUpdate
from agent.core.model import EpochKey
from agent.edge import content_codec, signed
from agent.edge.model_codec import SnapshotDecodeError
from agent.edge.signed import SignatureRefused
from agent.pb import policy_pb2 as pb
from agent.pb import signed_pb2, snapshot_pb2
from agent.version import VERSION

PROTOCOL = 1
MAX_SENTENCE = 1024
MAX_CONTROLLERS = 8
_AUDIENCE_BYTES = 16
_DIGEST_BYTES = 32
_MAX_KEYS = 4
_KEY_BYTES = 32
_MAX_EPOCHS = 16
_SECONDS = range(1, 301)
_Keys = Sequence[bytes]


class BadStream(ValueError):
    """What came is no message of the contract; the stream is of no use."""


def decode(data: bytes, keys: _Keys) -> stream.Down | None:
    """keys: who may sign. None: a kind that this version does not know. Raises BadStream."""
    down = pb.ControllerDown()
    try:
        down.ParseFromString(data)
    except DecodeError:
        raise BadStream("the bytes are no message") from None
    match down.WhichOneof("message"):
        case "welcome":
            return _welcome(down.welcome, keys)
        case "host_record":
            record = down.host_record
            return _answerable(record.nonce, lambda: _record_came(record, keys))
        case "keys":
            more = down.keys
            return _answerable(more.nonce, lambda: _keys_came(more, keys))
        case "policy":
            return _policy(down.policy, keys)
        case "in_sync":
            return stream.InSync(down.in_sync.version)
        case "confirm":
            return stream.Confirmed(down.confirm.nonce)
        case "heartbeat":
            return stream.BeatAnswered(down.heartbeat.now_ms / 1000)
        case "going_away":
            return _going_away(down.going_away)
        case _:
            return None


def _answerable(nonce: int, decode: Callable[[], stream.Down]) -> stream.Down:
    try:
        return decode()
    except SignatureRefused as error:
        return stream.BadCame(nonce, NackReason.SIGNATURE, str(error))
    except (SnapshotDecodeError, DecodeError) as error:
        return stream.BadCame(nonce, NackReason.CONTENT, str(error) or "it cannot be read")


def _welcome(message: pb.Welcome, keys: _Keys) -> stream.Welcome:
    if message.heartbeat_seconds not in _SECONDS or message.confirm_seconds not in _SECONDS:
        raise BadStream("heartbeat_seconds and confirm_seconds must be 1 to 300")
    key_set = None
    if message.HasField("policy_keys"):
        try:
            key_set = key_set_of(message.policy_keys, keys)
        except (SignatureRefused, SnapshotDecodeError) as error:
            raise BadStream(f"the set of policy keys: {error}") from None
    return stream.Welcome(
        controller=message.controller[:64],
        store_epoch=message.store_epoch,
        version=message.version,
        now=message.now_ms / 1000,
        heartbeat_seconds=message.heartbeat_seconds,
        confirm_seconds=message.confirm_seconds,
        confirmed=message.confirmed,
        key_set=key_set,
        controllers=tuple(message.controllers)[:MAX_CONTROLLERS],
        spread_seconds=message.spread_ms / 1000,
    )


def key_set_of(envelope: signed_pb2.Signed, keys: _Keys | None) -> KeySet:
    """keys: of the set before; None where the way it came is proof enough, as in joining.

    Raises SignatureRefused, SnapshotDecodeError.
    """
    opened = envelope.payload
    if keys is not None:
        opened = signed.open_signed(envelope, signed.KEY_SET, keys)
    try:
        found = signed_pb2.PolicyKeySet.FromString(opened)
    except DecodeError:
        raise SnapshotDecodeError("it is no set of keys") from None
    if not 1 <= len(found.keys) <= _MAX_KEYS or any(len(k) != _KEY_BYTES for k in found.keys):
        raise SnapshotDecodeError(f"expected 1 to {_MAX_KEYS} keys of {_KEY_BYTES} bytes")
    return KeySet(found.serial, tuple(found.keys), content_codec.serialised(envelope))


def _record_came(message: pb.HostRecordUpdate, keys: _Keys) -> stream.Down:
    return stream.RecordCame(message.nonce, record_of(message.record, keys))


def record_of(envelope: signed_pb2.Signed, keys: _Keys) -> Record:
    """Raises SignatureRefused, SnapshotDecodeError, DecodeError."""
    payload = signed.open_signed(envelope, signed.HOST_RECORD, keys)
    found = pb.HostRecord.FromString(payload)
    if len(found.audience) != _AUDIENCE_BYTES:
        raise SnapshotDecodeError(f"the record's audience has {len(found.audience)} bytes")
    return Record(
        store_epoch=found.store_epoch,
        serial=found.serial,
        host=found.host,
        name=found.host_name,
        audience=found.audience,
        payload=payload,
        envelope=content_codec.serialised(envelope),
    )


def _keys_came(message: pb.KeyUpdate, keys: _Keys) -> stream.Down:
    return stream.KeysCame(message.nonce, keys_of(message.keys, keys))


def keys_of(envelope: signed_pb2.Signed, keys: _Keys) -> KeyUpdate:
    """Raises SignatureRefused, SnapshotDecodeError, DecodeError."""
    found = pb.HostKeys.FromString(signed.open_signed(envelope, signed.HOST_KEYS, keys))
    return KeyUpdate(
        store_epoch=found.store_epoch,
        serial=found.serial,
        host=found.host,
        replaces_all=found.replaces_all,
        receive_secrets=_epoch_keys(found.receive_secrets),
        peers={peer.host: _epoch_keys(peer.keys) for peer in found.peers},
        expires=found.expires,
        envelope=content_codec.serialised(envelope),
    )


def _epoch_keys(found: Sequence[snapshot_pb2.EpochKey]) -> tuple[EpochKey, ...]:
    if len(found) > _MAX_EPOCHS:
        raise SnapshotDecodeError(f"keys of {len(found)} epochs are more than {_MAX_EPOCHS}")
    return tuple(EpochKey(key.epoch, key.key) for key in found)


def _policy(message: pb.PolicyUpdate, keys: _Keys) -> stream.Down:
    try:
        release = release_of(message.release, keys)
    except SignatureRefused as error:
        return stream.BadCame(message.nonce, NackReason.SIGNATURE, str(error))
    except (SnapshotDecodeError, DecodeError) as error:
        return stream.BadCame(message.nonce, NackReason.CONTENT, str(error) or "no release")
    try:
        return stream.PolicyCame(message.nonce, release, _body(message))
    except SnapshotDecodeError as error:
        delta = message.WhichOneof("body") == "delta"
        reason = NackReason.DELTA if delta else NackReason.CONTENT
        return stream.BadCame(message.nonce, reason, str(error), release)


def release_of(envelope: signed_pb2.Signed, keys: _Keys) -> Release:
    """Raises SignatureRefused, SnapshotDecodeError, DecodeError."""
    payload = signed.open_signed(envelope, signed.RELEASE, keys)
    found = pb.Release.FromString(payload)
    if len(found.audience) != _AUDIENCE_BYTES or len(found.content_digest) != _DIGEST_BYTES:
        raise SnapshotDecodeError("the release's audience or digest has not the right size")
    return Release(
        store_epoch=found.store_epoch,
        version=found.version,
        issued=found.issued,
        expires=found.expires,
        audience=found.audience,
        digest=found.content_digest,
        payload=payload,
        envelope=content_codec.serialised(envelope),
    )


def _body(message: pb.PolicyUpdate) -> Body:
    match message.WhichOneof("body"):
        case "content":
            return content_codec.decode_content(message.content)
        case "delta":
            delta = content_codec.decode_delta(message.delta)
            return delta.base_digest, delta.removals, delta.upserts
        case "unchanged":
            return None
        case _:
            raise SnapshotDecodeError("the update has no body that is known here")


def _going_away(message: pb.GoingAway) -> stream.GoingAway:
    known = {away.value: away for away in stream.Away}
    return stream.GoingAway(
        why=known.get(message.reason, stream.Away.OTHER),
        retry_seconds=message.retry_after_ms / 1000,
        sentence=message.message[:MAX_SENTENCE],
    )


def encode(message: stream.Up, instance_id: bytes) -> bytes:
    """A serialised AgentUp. instance_id: of this run, for Hello."""
    match message:
        case stream.Hello():
            up = pb.AgentUp(hello=_hello(message, instance_id))
        case stream.Ack():
            up = pb.AgentUp(
                ack=pb.Ack(
                    nonce=message.nonce,
                    version=message.version,
                    apply_ms=message.apply_ms,
                    entries=message.entries,
                )
            )
        case stream.Nack():
            up = pb.AgentUp(nack=_nack(message))
        case stream.Beat():
            up = pb.AgentUp(
                heartbeat=pb.Heartbeat(sequence=message.sequence, version=message.version)
            )
        case stream.Report():
            up = pb.AgentUp(report=pb.Report.FromString(message.body))
        case stream.AskKeys():
            up = pb.AgentUp(resync=pb.Resync(keys=True))
        case _:
            raise AssertionError(f"unexpected message: {message}")
    return up.SerializeToString()


def _nack(message: stream.Nack) -> pb.Nack:
    return pb.Nack(
        nonce=message.nonce,
        version=message.version,
        store_epoch=message.store_epoch,
        reason=pb.NackReason.Name(int(message.reason)),
        message=message.sentence[:MAX_SENTENCE],
    )


def _hello(message: stream.Hello, instance_id: bytes) -> pb.Hello:
    hello = pb.Hello(
        protocol=PROTOCOL,
        host=message.host,
        host_name=message.host_name,
        instance_id=instance_id,
        agent_version=VERSION,
        host_record_serial=message.record_serial,
        keys=pb.HeldKeys(serial=message.keys_serial, last_epoch=message.last_epoch),
        policy_keys_serial=message.key_set_serial,
    )
    if message.policy is not None:
        hello.policy.CopyFrom(_held(message.policy))
    if message.unconfirmed is not None:
        hello.unconfirmed.CopyFrom(_held(message.unconfirmed))
    if message.refused is not None:
        hello.refused.CopyFrom(_nack(message.refused))
    return hello


def _held(release: Release) -> pb.HeldPolicy:
    return pb.HeldPolicy(
        store_epoch=release.store_epoch,
        version=release.version,
        content_digest=release.digest,
        expires=release.expires,
        audience=release.audience,
    )
