# SPDX-License-Identifier: Apache-2.0
"""Snapshots to bytes and back; what is not one is refused and never anything else."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import snapshot as checks
from agent.core.model import Snapshot
from agent.edge import snapshot_codec as codec
from agent.pb import snapshot_pb2 as pb
from tests.unit import snapshots

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SOUND = snapshots.snapshot(snapshots.rule(1, peers={snapshots.FAR}, ports=(snapshots.tcp(443),)))


def message() -> pb.Snapshot:
    return pb.Snapshot.FromString(codec.encode(SOUND))


@given(snapshots.snapshots())
@settings(max_examples=100)
def test_decode_inverts_encode(snapshot: Snapshot) -> None:
    assert codec.decode(codec.encode(snapshot)) == snapshot


def test_equal_snapshots_are_equal_bytes() -> None:
    turned = replace(SOUND, modes=dict(reversed(list(SOUND.modes.items()))))
    assert codec.encode(turned) == codec.encode(SOUND)


def test_a_sealed_snapshot_opens_with_its_key() -> None:
    payload = codec.unseal(codec.seal(SOUND, KEY), KEY.public_key())
    assert codec.decode(payload) == SOUND


def test_a_snapshot_of_another_key_is_refused_by_the_key_name() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    own = checks.key_id(codec.raw_public_key(other)).hex()
    with pytest.raises(codec.SnapshotDecodeError, match=f"this host trusts key {own}"):
        codec.unseal(codec.seal(SOUND, KEY), other)


def test_a_signature_without_the_context_is_refused() -> None:
    payload = codec.encode(SOUND)
    signed = pb.SignedSnapshot.FromString(codec.seal(SOUND, KEY))
    signed.signature = KEY.sign(payload)
    with pytest.raises(codec.SnapshotDecodeError, match="signature does not fit"):
        codec.unseal(signed.SerializeToString(), KEY.public_key())


def test_every_truncation_is_refused() -> None:
    sealed = codec.seal(SOUND, KEY)
    for length in range(len(sealed)):
        with pytest.raises(codec.SnapshotDecodeError):
            codec.unseal(sealed[:length], KEY.public_key())


def test_every_flipped_byte_is_refused() -> None:
    sealed = codec.seal(SOUND, KEY)
    for place in range(len(sealed)):
        broken = bytearray(sealed)
        broken[place] ^= 0x41
        with pytest.raises(codec.SnapshotDecodeError):
            codec.unseal(bytes(broken), KEY.public_key())


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        codec.decode(data)
    except codec.SnapshotDecodeError:
        return


def test_every_truncated_payload_decodes_or_is_refused() -> None:
    payload = codec.encode(SOUND)
    for length in range(len(payload)):
        try:
            codec.decode(payload[:length])
        except codec.SnapshotDecodeError:
            continue


def refusal(broken: pb.Snapshot) -> str:
    with pytest.raises(codec.SnapshotDecodeError) as caught:
        codec.decode(broken.SerializeToString())
    return str(caught.value)


def test_an_unspecified_action_is_refused() -> None:
    broken = message()
    broken.rules[0].action = pb.ACTION_UNSPECIFIED
    assert "the action of rule 1 (rule-1) is missing" in refusal(broken)


def test_an_unspecified_direction_is_refused() -> None:
    broken = message()
    broken.rules[0].direction = pb.DIRECTION_UNSPECIFIED
    assert "the direction of rule 1 (rule-1) is missing" in refusal(broken)


def test_an_unspecified_mode_is_refused() -> None:
    broken = message()
    broken.modes[300] = pb.MODE_UNSPECIFIED
    assert "the mode of identity 300 is missing" in refusal(broken)


def test_a_mode_of_the_future_is_refused() -> None:
    broken = message()
    # protobuf keeps unknown numbers of open enums: field 12, {1: 300, 2: 9}.
    data = broken.SerializeToString() + bytes([12 << 3 | 2, 5, 8, 0xAC, 2, 16, 9])
    with pytest.raises(codec.SnapshotDecodeError, match="mode of identity 300 is 9"):
        codec.decode(data)


def test_identities_left_out_are_not_taken_for_any() -> None:
    broken = message()
    broken.rules[0].ClearField("peers")
    assert "rule 1 (rule-1) does not say its peers" in refusal(broken)


def test_any_and_a_list_at_once_are_refused() -> None:
    broken = message()
    broken.rules[0].peers.any = True
    assert "says any of its peers and lists some" in refusal(broken)


def test_an_unknown_protocol_is_refused() -> None:
    broken = message()
    broken.rules[0].ports[0].protocol = 132
    assert "names protocol 132" in refusal(broken)


def test_an_address_of_odd_length_is_refused() -> None:
    broken = message()
    broken.peers[0].addresses[0] = b"12345"
    assert "address of 5 bytes" in refusal(broken)


def test_a_network_with_host_bits_is_refused() -> None:
    broken = message()
    broken.networks[0].address = bytes([192, 0, 2, 1])
    assert "has host bits set" in refusal(broken)


def test_a_prefix_length_beyond_the_address_is_refused() -> None:
    broken = message()
    broken.networks[0].prefix_length = 4_000_000_000
    assert "network 8388608" in refusal(broken)


def test_missing_settings_are_refused() -> None:
    broken = message()
    broken.ClearField("settings")
    assert "no settings" in refusal(broken)
