# SPDX-License-Identifier: Apache-2.0
"""`model.Snapshot` to protobuf bytes and back, and the signed envelope around them.

Whether a snapshot makes sense is agent.core.snapshot's business; here is only what cannot be said
in the model at all. Every fault in foreign bytes is a `SnapshotDecodeError`.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.message import DecodeError

from agent.core.content import order
from agent.core.model import Snapshot
from agent.core.snapshot import key_id, signed_bytes
from agent.edge.model_codec import (
    SnapshotDecodeError,
    decode_address,
    decode_keys,
    decode_mode,
    decode_network,
    decode_peer,
    decode_rule,
    decode_settings,
    decode_workload,
    encode_key,
    encode_mode,
    encode_network,
    encode_peer,
    encode_rule,
    encode_settings,
    encode_workload,
)
from agent.pb import snapshot_pb2 as pb

__all__ = ["SnapshotDecodeError", "decode", "encode", "raw_public_key", "seal", "unseal"]


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
        workloads=map(encode_workload, snapshot.workloads),
        rules=map(encode_rule, snapshot.rules),
        peers=map(encode_peer, snapshot.peers),
        networks=map(encode_network, snapshot.networks),
        receive_secrets=map(encode_key, snapshot.receive_secrets),
        names=snapshot.names,
        settings=encode_settings(snapshot.settings),
        managed=sorted((a.packed for a in snapshot.managed), key=order),
        store_epoch=snapshot.store_epoch,
    )
    for identity, mode in snapshot.modes.items():
        message.modes[identity] = encode_mode(mode)
    return message.SerializeToString(deterministic=True)


def decode(payload: bytes) -> Snapshot:
    """Raises SnapshotDecodeError."""
    message = pb.Snapshot()
    try:
        message.ParseFromString(payload)
    except DecodeError:
        raise SnapshotDecodeError("its payload is no snapshot") from None
    if not message.HasField("settings"):
        raise SnapshotDecodeError("it has no settings")
    return Snapshot(
        host=message.host,
        host_name=message.host_name,
        version=message.version,
        issued=message.issued,
        expires=message.expires,
        trust_domain=message.trust_domain,
        workloads=tuple(map(decode_workload, message.workloads)),
        rules=tuple(map(decode_rule, message.rules)),
        peers=tuple(map(decode_peer, message.peers)),
        networks=tuple(map(decode_network, message.networks)),
        receive_secrets=decode_keys(message.receive_secrets),
        modes={identity: decode_mode(identity, mode) for identity, mode in message.modes.items()},
        names=dict(message.names),
        settings=decode_settings(message.settings),
        managed=frozenset(decode_address(a, "a managed host") for a in message.managed),
        store_epoch=message.store_epoch,
    )
