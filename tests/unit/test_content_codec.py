# SPDX-License-Identifier: Apache-2.0
"""Content on the wire: entry by entry, in order, and what one host makes of it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import tag
from agent.core.content import EMPTY, Entries, Section, apply, difference, digest
from agent.core.model import EpochKey, Identity, Mode, Snapshot
from agent.core.soundness import check_content
from agent.edge import content_codec as codec
from agent.edge import model_codec
from agent.edge.model_codec import SnapshotDecodeError
from agent.pb import policy_pb2 as pb
from agent.pb import snapshot_pb2
from tests.unit import snapshots


@dataclass
class Ring:
    receive_secrets: tuple[EpochKey, ...]
    towards: dict[int, tuple[EpochKey, ...]]

    def keys(self, host: int) -> tuple[EpochKey, ...]:
        return self.towards.get(host, ())


def content_of(snapshot: Snapshot) -> pb.Content:
    """What a controller would have sent for this snapshot's host."""
    peers = (replace(peer, keys=()) for peer in snapshot.peers if peer.host != snapshot.host)
    addresses = {a.packed for a in snapshot.managed}
    return pb.Content(
        workloads=map(model_codec.encode_workload, snapshot.workloads),
        rules=map(model_codec.encode_rule, sorted(snapshot.rules, key=lambda r: r.number)),
        peers=map(model_codec.encode_peer, peers),
        networks=map(model_codec.encode_network, snapshot.networks),
        modes=[
            pb.LocalMode(identity=i, mode=model_codec.encode_mode(m))
            for i, m in sorted(snapshot.modes.items())
        ],
        names=[pb.IdentityName(identity=i, name=n) for i, n in sorted(snapshot.names.items())],
        managed=sorted(addresses, key=lambda a: (len(a), a)),
        settings=model_codec.encode_settings(snapshot.settings),
    )


def assembled(snapshot: Snapshot, entries: Entries) -> Snapshot:
    own = next(peer for peer in snapshot.peers if peer.host == snapshot.host)
    record = pb.HostRecord(
        host=snapshot.host,
        host_name=snapshot.host_name,
        trust_domain=snapshot.trust_domain,
        addresses=[a.packed for a in own.addresses],
    )
    release = pb.Release(
        store_epoch=3, version=snapshot.version, issued=snapshot.issued, expires=snapshot.expires
    )
    ring = Ring(snapshot.receive_secrets, {peer.host: peer.keys for peer in snapshot.peers})
    return codec.snapshot(entries, record, ring, release)


@given(snapshots.snapshots())
@settings(max_examples=50)
def test_a_host_makes_of_content_what_a_snapshot_file_says(sound: Snapshot) -> None:
    entries = codec.decode_content(content_of(sound))
    made = assembled(sound, entries)
    own = replace(
        sound.peers[0],
        keys=tuple(EpochKey(k.epoch, tag.pair_key(k.key, 1)) for k in sound.receive_secrets),
    )
    rules = tuple(sorted(sound.rules, key=lambda rule: rule.number))
    assert made == replace(sound, peers=(own, *sound.peers[1:]), rules=rules, store_epoch=3)
    assert check_content(made) is None


@given(snapshots.snapshots())
@settings(max_examples=50)
def test_encode_is_what_protobuf_would_write(sound: Snapshot) -> None:
    message = content_of(sound)
    entries = codec.decode_content(message)
    assert codec.encode_content(entries) == message.SerializeToString(deterministic=True)


@given(snapshots.snapshots(), snapshots.snapshots())
@settings(max_examples=50)
def test_a_delta_over_the_wire_leads_to_the_same_digest(one: Snapshot, other: Snapshot) -> None:
    old, new = (codec.decode_content(content_of(s)) for s in (one, other))
    sent = codec.encode_delta(codec.Difference(7, digest(old), *difference(old, new)))
    heard = codec.decode_delta(pb.Delta.FromString(sent))
    assert (heard.base_version, heard.base_digest) == (7, digest(old))
    assert digest(apply(old, heard.removals, heard.upserts)) == digest(new)


def test_unknown_fields_of_an_entry_are_kept_in_its_bytes() -> None:
    rule = model_codec.encode_rule(snapshots.rule(1)).SerializeToString() + b"\xf8\x07\x05"
    message = pb.Content.FromString(codec.field(Section.RULES, rule))
    assert codec.decode_content(message)[Section.RULES][1] == rule


@given(st.integers(0, 2**64 - 1), st.binary(max_size=300))
def test_fields_are_written_as_protobuf_reads_them(number: int, text: bytes) -> None:
    signed = snapshot_pb2.SignedSnapshot.FromString(codec.field(1, text))
    assert signed.payload == text
    assert pb.Ack.FromString(b"\x08" + codec.varint(number)).nonce == number


NAMED = pb.IdentityName(identity=300, name="a/b")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (pb.Content(names=[NAMED, NAMED]), "names: 300 is there twice"),
        (
            pb.Content(modes=[pb.LocalMode(identity=2), pb.LocalMode(identity=1)]),
            "modes: 1 is there twice or out of order",
        ),
        (pb.Content(managed=[bytes(16), bytes(4)]), "managed: 00000000 is there twice or out of"),
        (pb.Content(managed=[b"123"]), "a managed host has an address of 3 bytes"),
    ],
)
def test_content_out_of_order_is_refused(message: pb.Content, expected: str) -> None:
    with pytest.raises(SnapshotDecodeError, match=expected):
        codec.decode_content(message)


def test_removals_out_of_order_and_a_short_base_are_refused() -> None:
    with pytest.raises(SnapshotDecodeError, match="rules: 1 is there twice"):
        codec.decode_delta(pb.Delta(base_digest=bytes(32), removals=pb.Removals(rules=[1, 1])))
    with pytest.raises(SnapshotDecodeError, match="the base's digest has 0 bytes"):
        codec.decode_delta(pb.Delta())


def test_keys_come_by_no_way_but_the_hosts_own() -> None:
    peer = snapshot_pb2.Peer(host=2, name="b", keys=[snapshot_pb2.EpochKey(epoch=1, key=bytes(16))])
    message = content_of(snapshots.snapshot())
    message.peers[0].CopyFrom(peer)
    with pytest.raises(SnapshotDecodeError, match=r"peer b \(2\) comes with keys"):
        assembled(snapshots.snapshot(), codec.decode_content(message))


def test_a_content_without_settings_makes_no_snapshot() -> None:
    with pytest.raises(SnapshotDecodeError, match="no settings"):
        assembled(snapshots.snapshot(), EMPTY)


def test_a_peers_entry_for_the_host_itself_gives_way_to_its_record() -> None:
    sound = snapshots.snapshot(managed=frozenset({ipaddress.ip_address("192.0.2.1")}))
    message = content_of(sound)
    lying = snapshot_pb2.Peer(host=1, name="a", addresses=[b"\xc6\x33\x64\1"], tags_off=True)
    message.peers.insert(0, lying)
    made = assembled(sound, codec.decode_content(message))
    assert made.peers[0].addresses == sound.peers[0].addresses
    assert not made.peers[0].tags_off
    assert made.modes[Identity.HOST] is Mode.ENFORCE
