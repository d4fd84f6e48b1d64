# SPDX-License-Identifier: Apache-2.0
"""The signed envelope: opened by the right key for the right purpose, or not at all."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agent.core.snapshot import key_id
from agent.edge import signed
from agent.edge.signed import SignatureRefused, open_signed, seal
from agent.edge.snapshot_codec import raw_public_key
from agent.pb import signed_pb2 as pb

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
RAW, OTHER_RAW = (raw_public_key(key.public_key()) for key in (KEY, OTHER))


@given(st.binary(min_size=1, max_size=200))
def test_what_was_sealed_opens(payload: bytes) -> None:
    envelope = seal(payload, signed.RELEASE, KEY)
    assert open_signed(envelope, signed.RELEASE, [OTHER_RAW, RAW]) == payload
    assert seal(payload, signed.RELEASE, KEY) == envelope


def test_a_signature_over_one_thing_is_none_over_another() -> None:
    contexts = [signed.RELEASE, signed.HOST_RECORD, signed.HOST_KEYS, signed.KEY_SET]
    for one in contexts:
        for other in contexts:
            if one != other:
                with pytest.raises(SignatureRefused, match="signature does not fit"):
                    open_signed(seal(b"x", one, KEY), other, [RAW])


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(SignatureRefused, match=key_id(RAW).hex()):
        open_signed(seal(b"x", signed.RELEASE, KEY), signed.RELEASE, [OTHER_RAW])
    with pytest.raises(SignatureRefused, match="this host trusts none"):
        open_signed(seal(b"x", signed.RELEASE, KEY), signed.RELEASE, [])


def test_a_key_under_anothers_name_opens_nothing() -> None:
    envelope = seal(b"x", signed.RELEASE, OTHER)
    envelope.key_id = key_id(RAW)
    with pytest.raises(SignatureRefused, match="signature does not fit"):
        open_signed(envelope, signed.RELEASE, [RAW])


@pytest.mark.parametrize("field", ["payload", "signature"])
def test_an_empty_envelope_is_refused(field: str) -> None:
    envelope = seal(b"x", signed.RELEASE, KEY)
    envelope.ClearField(field)
    with pytest.raises(SignatureRefused, match="missing"):
        open_signed(envelope, signed.RELEASE, [RAW])


def test_a_trusted_key_that_is_none_is_a_refusal_and_no_crash() -> None:
    envelope = pb.Signed(payload=b"x", signature=bytes(64), key_id=key_id(b"short"))
    with pytest.raises(SignatureRefused, match="no Ed25519 key"):
        open_signed(envelope, signed.RELEASE, [b"short"])
