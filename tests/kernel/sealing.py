# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a running lab, read back, to be changed and signed again as no compiler would."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agent.core.model import Snapshot
from agent.edge import snapshot_codec
from agent.pb import snapshot_pb2
from tests.lab.cordon import Cordon, CordonHost


def read_snapshot(host: CordonHost) -> Snapshot:
    """What the host was handed last."""
    signed = snapshot_pb2.SignedSnapshot.FromString(host.snapshot.read_bytes())
    return snapshot_codec.decode(signed.payload)


def signing_key(cordon: Cordon) -> Ed25519PrivateKey:
    """The key that the lab's hosts trust."""
    path: Path = cordon.folder / "out" / "state" / "signing.key"
    key = load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey), path
    return key


def hand_over(host: CordonHost, content: bytes) -> None:
    """As a deployment tool does: the file appears whole."""
    host.lab.write_file(host.snapshot.name, content)
