# SPDX-License-Identifier: Apache-2.0
"""The signed cache, and the stream's messages at the agent: what is believed, and what is not.

What is signed is made here as a controller makes it, by the codecs that both sides share.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from agent.core import content, events, stream
from agent.core.acceptance import Refused
from agent.core.content import Entries
from agent.core.held import KeySet, NackReason, Stand
from agent.core.keyring import KeyRing
from agent.edge import content_codec, policy_cache, signed, stream_codec
from agent.edge.model_codec import SnapshotDecodeError
from agent.edge.policy_cache import PolicySource
from agent.edge.signed import SignatureRefused
from agent.pb import policy_pb2 as pb
from agent.pb import signed_pb2, snapshot_pb2
from controller.signing import key_set as signed_key_set
from controller.signing import raw_public

KEY, OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32)), Ed25519PrivateKey.generate()
TRUSTED = (raw_public(KEY),)
HOST, AUDIENCE = 7, b"a" * 16
ISSUED = 1_700_000_000
ADDRESS = ipaddress.ip_address("192.0.2.7").packed


def entries() -> Entries:
    return content_codec.decode_content(
        pb.Content(
            modes=[pb.LocalMode(identity=1, mode="MODE_AUDIT")],
            names=[pb.IdentityName(identity=1, name="host")],
            settings=snapshot_pb2.Settings(epoch_seconds=600, hold_limit_ms=100),
        )
    )


def record(key: Ed25519PrivateKey = KEY, host: int = HOST) -> signed_pb2.Signed:
    said = pb.HostRecord(
        store_epoch=1, serial=4, host=host, host_name="a", trust_domain="example.org",
        audience=AUDIENCE, addresses=[ADDRESS], issued=ISSUED,
    )  # fmt: skip
    return signed.seal(said.SerializeToString(), signed.HOST_RECORD, key)


def release(key: Ed25519PrivateKey = KEY, audience: bytes = AUDIENCE) -> signed_pb2.Signed:
    said = pb.Release(
        store_epoch=1, version=3, issued=ISSUED, expires=ISSUED + 3600, audience=audience,
        content_digest=content.digest(entries()), revision=1,
    )  # fmt: skip
    return signed.seal(said.SerializeToString(), signed.RELEASE, key)


def keys(key: Ed25519PrivateKey = KEY, serial: int = 9) -> signed_pb2.Signed:
    epoch = ISSUED // 600
    secrets = [snapshot_pb2.EpochKey(epoch=epoch, key=bytes(16))]
    said = pb.HostKeys(store_epoch=1, serial=serial, host=HOST, receive_secrets=secrets)
    return signed.seal(said.SerializeToString(), signed.HOST_KEYS, key)


def key_set() -> KeySet:
    envelope = signed_pb2.Signed.FromString(signed_key_set(1, list(TRUSTED), KEY))
    return stream_codec.key_set_of(envelope, None)


def stand() -> Stand:
    return Stand(
        stream_codec.record_of(record(), TRUSTED),
        stream_codec.release_of(release(), TRUSTED),
        entries(),
        KeyRing().add(stream_codec.keys_of(keys(), TRUSTED)),
    )


def source(path: Path) -> PolicySource:
    return PolicySource(path, HOST, key_set(), lambda: ())


def cache(path: Path, **parts: signed_pb2.Signed) -> PolicySource:
    made = pb.PolicyCache.FromString(policy_cache.encode(stand(), key_set()))
    for name, part in parts.items():
        getattr(made, name).CopyFrom(part)
    path.write_bytes(made.SerializeToString())
    path.chmod(0o600)
    return source(path)


def test_what_was_written_is_what_is_read() -> None:
    data = policy_cache.encode(stand(), key_set())
    assert policy_cache.decode(data, key_set(), HOST) == stand()


def test_the_cache_makes_the_snapshot_that_it_was_however_old(tmp_path: Path) -> None:
    event = cache(tmp_path / "cache").read_cache()
    assert isinstance(event, events.SnapshotRead), event
    assert (event.snapshot.host, event.snapshot.version) == (HOST, 3)
    assert event.stand == stand()


def test_no_cache_is_no_fault(tmp_path: Path) -> None:
    assert isinstance(source(tmp_path / "none").read_cache(), events.SnapshotMissing)


def test_nothing_in_the_cache_is_believed_that_is_not_signed_for_this_host(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    for parts, said in (
        ({"host_record": record(OTHER)}, "signed with key"),
        ({"release": release(OTHER)}, "signed with key"),
        ({"host_record": record(host=8)}, "is of host 8"),
        ({"release": release(audience=b"e" * 16)}, "not for the audience"),
        ({"release": keys()}, "signature does not fit"),
    ):
        event = cache(path, **parts).read_cache()
        assert isinstance(event, events.SnapshotRefused), parts
        assert said in event.reason


def test_content_that_was_changed_has_another_digest(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    made = pb.PolicyCache.FromString(policy_cache.encode(stand(), key_set()))
    made.content.modes[0].mode = snapshot_pb2.MODE_OFF
    path.write_bytes(made.SerializeToString())
    path.chmod(0o600)
    event = source(path).read_cache()
    assert isinstance(event, events.SnapshotRefused)
    assert "not the digest that was signed" in event.reason


def test_a_cache_that_everybody_may_write_is_not_read(tmp_path: Path) -> None:
    made = cache(tmp_path / "cache")
    (tmp_path / "cache").chmod(0o666)
    assert isinstance(made.read_cache(), events.SnapshotRefused)


def test_a_cache_cut_off_at_any_byte_is_refused_and_no_crash(tmp_path: Path) -> None:
    """As a power cut leaves it on a file system that does not keep its promises."""
    good = policy_cache.encode(stand(), key_set())
    path = tmp_path / "cache"
    for length in range(len(good)):
        path.write_bytes(good[:length])
        path.chmod(0o600)
        assert isinstance(source(path).read_cache(), events.SnapshotRefused), length
    path.write_bytes(good)
    assert isinstance(source(path).read_cache(), events.SnapshotRead)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_bytes_are_more_than_refused(noise: bytes, at: int) -> None:
    good = policy_cache.encode(stand(), key_set())
    for data in (noise, good[:at] + noise + good[at + len(noise) :]):
        try:
            found = policy_cache.decode(data, key_set(), HOST)
        except (SnapshotDecodeError, SignatureRefused, Refused, DecodeError):
            continue
        assert (found.record, found.release) == (stand().record, stand().release)
        assert content.digest(found.entries) == found.release.digest


def test_a_policy_is_assembled_for_now_and_returned_to_whenever(tmp_path: Path) -> None:
    made = source(tmp_path / "none")
    late = stream.AssemblePolicy(stand(), ISSUED + 7200, False, True)
    refused = made.assemble(late)
    assert isinstance(refused, events.SnapshotRefused)
    assert "expired" in refused.reason
    first, second = made.assemble(replace(late, fresh=False)), made.assemble(
        replace(late, now=ISSUED)
    )  # fmt: skip
    assert isinstance(first, events.SnapshotRead)
    assert isinstance(second, events.SnapshotRead)
    assert first.digest != second.digest, "the same policy may be wanted twice"


def test_opened_refuses_nothing(tmp_path: Path) -> None:
    command = stream.AssemblePolicy(stand(), ISSUED, True, False)
    event = source(tmp_path / "none").assemble(command)
    assert isinstance(event, events.SnapshotRead)
    assert {mode.name for mode in event.snapshot.modes.values()} == {"OFF"}


# The stream.


def down(**message: object) -> stream.Down | None:
    data = pb.ControllerDown(sequence=1, **message).SerializeToString()  # type: ignore[arg-type]
    return stream_codec.decode(data, TRUSTED)


def test_what_is_signed_by_nobody_is_answered_as_such() -> None:
    for message in (
        down(host_record=pb.HostRecordUpdate(nonce=5, record=record(OTHER))),
        down(keys=pb.KeyUpdate(nonce=5, keys=keys(OTHER))),
        down(policy=pb.PolicyUpdate(nonce=5, release=release(OTHER), unchanged=pb.Unchanged())),
        down(policy=pb.PolicyUpdate(nonce=5)),
    ):
        assert isinstance(message, stream.BadCame)
        assert (message.nonce, message.reason) == (5, NackReason.SIGNATURE)


def test_a_signature_over_one_thing_is_none_over_another() -> None:
    message = down(keys=pb.KeyUpdate(nonce=5, keys=record()))
    assert isinstance(message, stream.BadCame)
    assert message.reason is NackReason.SIGNATURE


def test_a_body_out_of_order_is_refused_with_the_release_that_it_was_of() -> None:
    twice = pb.Content(names=[pb.IdentityName(identity=1)] * 2)
    whole = down(policy=pb.PolicyUpdate(nonce=5, release=release(), content=twice))
    delta = pb.Delta(base_digest=bytes(32), upserts=twice)
    change = down(policy=pb.PolicyUpdate(nonce=5, release=release(), delta=delta))
    for message, reason in ((whole, NackReason.CONTENT), (change, NackReason.DELTA)):
        assert isinstance(message, stream.BadCame)
        assert message.reason is reason
        assert message.release is not None
        assert message.release.version == 3


def test_a_set_of_keys_that_the_one_before_does_not_vouch_for_ends_the_stream() -> None:
    forged = signed_pb2.Signed.FromString(signed_key_set(2, [raw_public(OTHER)], OTHER))
    welcome = pb.Welcome(heartbeat_seconds=15, confirm_seconds=10, policy_keys=forged)
    with pytest.raises(stream_codec.BadStream, match="set of policy keys"):
        down(welcome=welcome)


@pytest.mark.parametrize(("heartbeat", "confirm"), [(0, 10), (15, 301)])
def test_times_out_of_bounds_end_the_stream(heartbeat: int, confirm: int) -> None:
    with pytest.raises(stream_codec.BadStream, match="must be 1 to 300"):
        down(welcome=pb.Welcome(heartbeat_seconds=heartbeat, confirm_seconds=confirm))


@given(st.binary(max_size=300))
def test_no_bytes_of_a_stream_are_more_than_refused(noise: bytes) -> None:
    try:
        message = stream_codec.decode(noise, TRUSTED)
    except stream_codec.BadStream:
        return
    taken = (stream.RecordCame, stream.KeysCame, stream.PolicyCame)
    assert not isinstance(message, taken), "it has no signature"


def test_what_the_controller_hears_is_what_is_said() -> None:
    hello = stream.Hello(7, "a", stand().release, None, 4, 9, 3, 1, None)
    said = pb.AgentUp.FromString(stream_codec.encode(hello, bytes(16))).hello
    assert (said.protocol, said.host, said.host_name, said.policy.version) == (1, 7, "a", 3)
    assert said.policy.audience == AUDIENCE, "for a host that was relabelled"
    assert not said.HasField("unconfirmed")
    nack = stream.Nack(5, NackReason.DELTA, "x" * 5000, 3, 1)
    heard = pb.AgentUp.FromString(stream_codec.encode(nack, bytes(16))).nack
    assert (heard.nonce, heard.reason) == (5, pb.NACK_REASON_DELTA)
    assert len(heard.message) == 1024
