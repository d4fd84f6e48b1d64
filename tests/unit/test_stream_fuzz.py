# SPDX-License-Identifier: Apache-2.0
"""Whatever bytes come on a policy stream, either end makes an event of them or a refusal.

Messages are made from the schema, so that every field is there in every combination, and broken at
random places. What must be signed is signed, or nothing behind the signature would ever be read.
"""

from __future__ import annotations

import contextlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.edge import content_codec, signed, stream_codec
from agent.edge.model_codec import SnapshotDecodeError
from agent.pb import policy_pb2 as pb
from controller.services import stream_codec as controllers
from controller.services.stream_codec import BadMessage

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = (KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw),)
CONTEXTS = {
    "record": (signed.HOST_RECORD, pb.HostRecord),
    "keys": (signed.HOST_KEYS, pb.HostKeys),
    "release": (signed.RELEASE, pb.Release),
}
DEPTH = 4
ANY = settings(max_examples=150, suppress_health_check=list(HealthCheck))
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def value_of(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    kind = field.cpp_type
    if kind in _INTEGERS:
        least, most = _INTEGERS[kind]
        return st.one_of(st.integers(0, 5), st.integers(least, most))
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return st.integers(0, 12)
    if kind == FieldDescriptor.CPPTYPE_MESSAGE:
        return fields_of(field.message_type, depth - 1)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.one_of(st.binary(max_size=40), st.sampled_from([bytes(4), bytes(16), bytes(32)]))
    return st.text(max_size=20)


def fields_of(described: Any, depth: int = DEPTH) -> st.SearchStrategy[dict[str, Any]]:
    """What a constructor of this message takes, each field there or not."""
    choices: dict[str, st.SearchStrategy[Any]] = {}
    for field in described.fields:
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE and depth == 0:
            continue
        one = value_of(field, depth)
        if field.is_repeated:
            choices[field.name] = st.lists(one, max_size=3)
        else:
            choices[field.name] = one
    return st.fixed_dictionaries({}, optional=choices)


def message(kind: type[Message]) -> st.SearchStrategy[Any]:
    def make(fields: dict[str, Any]) -> Message:
        return kind(**fields)

    return fields_of(kind.DESCRIPTOR).map(make)


@st.composite
def broken(draw: st.DrawFn, kind: type[Message]) -> bytes:
    """A message's bytes, of which some were changed, taken out or put in."""
    data = bytearray(draw(message(kind)).SerializeToString())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


def seal(down: Any) -> Any:
    """Sign what is in an envelope, whatever it is."""
    for holder, name in (("host_record", "record"), ("keys", "keys"), ("policy", "release")):
        if down.WhichOneof("message") == holder:
            context, _ = CONTEXTS[name]
            envelope = getattr(getattr(down, holder), name)
            envelope.CopyFrom(signed.seal(envelope.payload, context, KEY))
    return down


@ANY
@given(st.one_of(st.binary(max_size=300), broken(pb.AgentUp)))
def test_a_controller_makes_an_event_of_it_or_refuses(data: bytes) -> None:
    with contextlib.suppress(BadMessage):
        controllers.decode(data)


@ANY
@given(st.one_of(st.binary(max_size=300), broken(pb.ControllerDown)))
def test_an_agent_makes_an_event_of_it_or_refuses(data: bytes) -> None:
    with contextlib.suppress(stream_codec.BadStream):
        stream_codec.decode(data, KEYS)


@ANY
@given(st.data())
def test_an_agent_reads_anything_that_is_signed(data: st.DataObject) -> None:
    """A controller that is mistaken, or was taken over, can sign whatever it likes."""
    down = data.draw(message(pb.ControllerDown))
    holder = {"host_record": "record", "keys": "keys", "policy": "release"}.get(
        down.WhichOneof("message") or ""
    )
    if holder is not None:
        part = getattr(down, down.WhichOneof("message"))
        getattr(part, holder).payload = data.draw(broken(CONTEXTS[holder][1]))
        seal(down)
    with contextlib.suppress(stream_codec.BadStream):
        stream_codec.decode(down.SerializeToString(), KEYS)


@ANY
@given(message(pb.Content))
def test_content_is_entries_or_is_refused(content: pb.Content) -> None:
    try:
        entries = content_codec.decode_content(content)
    except (SnapshotDecodeError, DecodeError):
        return
    again = pb.Content.FromString(content_codec.encode_content(entries))
    assert content_codec.decode_content(again) == entries


@ANY
@given(message(pb.Delta))
def test_a_delta_is_a_difference_or_is_refused(delta: pb.Delta) -> None:
    with contextlib.suppress(SnapshotDecodeError, DecodeError):
        content_codec.decode_delta(delta)
