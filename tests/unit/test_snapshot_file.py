# SPDX-License-Identifier: Apache-2.0
"""Snapshot files: taken whole or refused with a sentence that names the file."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.core.snapshot import payload_digest
from agent.edge import snapshot_codec, snapshot_file
from agent.edge.snapshot_file import SnapshotNotFound, SnapshotRefused
from agent.pb import snapshot_pb2 as pb
from tests.unit import snapshots

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SOUND = snapshots.snapshot(snapshots.rule(1))
SEALED = snapshot_codec.seal(SOUND, KEY)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.snapshot"
    path.write_bytes(SEALED)
    path.chmod(0o600)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(SnapshotRefused) as caught:
        snapshot_file.load(path, KEY.public_key())
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_signed_file_is_loaded(path: Path) -> None:
    loaded = snapshot_file.load(path, KEY.public_key())
    assert loaded.snapshot == SOUND
    assert loaded.content == SEALED
    assert loaded.digest == payload_digest(snapshot_codec.encode(SOUND))


def test_a_symbolic_link_is_followed(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    assert snapshot_file.load(link, KEY.public_key()).snapshot == SOUND


def test_a_missing_file_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(SnapshotNotFound, match="nowhere does not exist"):
        snapshot_file.load(tmp_path / "nowhere", KEY.public_key())


def test_a_file_that_everybody_can_write_is_refused(path: Path) -> None:
    path.chmod(0o602)
    assert "writable by everybody" in refusal(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    refusal(tmp_path)


def test_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert "not a regular file" in refusal(tmp_path / "fifo")


def test_a_file_beyond_the_bound_is_refused(path: Path) -> None:
    with pytest.raises(SnapshotRefused, match="larger than 100 bytes"):
        snapshot_file.read(path, 100)


def test_every_truncation_is_refused(path: Path) -> None:
    for length in range(len(SEALED)):
        path.write_bytes(SEALED[:length])
        refusal(path)


def test_a_changed_byte_is_refused_by_the_signature(path: Path) -> None:
    path.write_bytes(SEALED.replace(b"example.org", b"example.com"))
    assert "signature does not fit" in refusal(path)


def test_a_signed_payload_that_is_no_snapshot_is_refused(path: Path) -> None:
    payload = b"\xff"
    signed = pb.SignedSnapshot.FromString(SEALED)
    signed.payload, signed.signature = payload, KEY.sign(b"cordon snapshot v1\n" + payload)
    path.write_bytes(signed.SerializeToString())
    assert "payload is no snapshot" in refusal(path)


def test_a_public_key_is_loaded_from_pem(tmp_path: Path) -> None:
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "policy.pub").write_bytes(pem)
    loaded = snapshot_file.load_public_key(tmp_path / "policy.pub")
    assert snapshot_codec.raw_public_key(loaded) == snapshot_codec.raw_public_key(KEY.public_key())


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    key = X25519PrivateKey.generate().public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "policy.pub").write_bytes(pem)
    with pytest.raises(SnapshotRefused, match="expected an Ed25519 public key, got one of another"):
        snapshot_file.load_public_key(tmp_path / "policy.pub")


def test_a_key_that_is_no_pem_is_refused(tmp_path: Path) -> None:
    (tmp_path / "policy.pub").write_text("no key")
    with pytest.raises(
        SnapshotRefused, match=r"policy\.pub: expected an Ed25519 public key as PEM"
    ):
        snapshot_file.load_public_key(tmp_path / "policy.pub")
