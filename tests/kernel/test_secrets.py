# SPDX-License-Identifier: Apache-2.0
"""No key, password or token is in what an agent says, at debug level, in any common spelling."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.edge.http_auth import hash_line
from tests.kernel.sealing import read_snapshot, signing_key
from tests.kernel.world import ALLOW, BASE, PORT, QUIET, World, policy
from tests.lab import Lab, wait_until
from tests.lab.cordon import Cordon
from tests.lab.prometheus import METRICS, http_get, wait_for_metrics

PASSWORD = "geheim-4711-word"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Lab("a", "b") as lab:
        users = lab.run_folder / "users"
        users.write_text(hash_line("prom", PASSWORD) + "\n")
        users.chmod(0o600)
        running = Cordon(lab, extra={"log_level": "debug", "metrics_users": str(users)})
        try:
            running.start(BASE)
            wait_for_metrics(running["b"].lab)
            yield World.build(running)
        finally:
            running.close()


def spellings(secret: bytes) -> set[bytes]:
    """As logs and tracebacks write bytes: raw, hexadecimal, base64, repr, a list, a number."""
    little = int.from_bytes(secret, "little")
    texts = {
        secret.hex(),
        secret.hex().upper(),
        base64.b64encode(secret).decode().rstrip("="),
        repr(secret)[2:-1],
        ", ".join(map(str, secret)),
        str(little),
        str(int.from_bytes(secret, "big")),
    }
    return {secret, *(text.encode() for text in texts)}


def secrets_of(world: World) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name in ("a", "b"):
        snapshot = read_snapshot(world.cordon[name])
        for key in snapshot.receive_secrets:
            found[f"receive secret {key.epoch} of {name}"] = key.key
        for peer in snapshot.peers:
            for key in peer.keys:
                found[f"key {key.epoch} of {name} towards {peer.name}"] = key.key
    private = signing_key(world.cordon)
    found["signing key"] = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    users = world.cordon.lab.run_folder / "users"
    found["password"] = PASSWORD.encode()
    found["password's hash"] = bytes.fromhex(users.read_text().strip().rpartition(":")[2])
    return found


def test_no_secret_in_the_log_at_debug_level(world: World) -> None:
    world.listen()
    assert world.web.connect(world.b.v4, PORT, timeout=5.0).ok
    assert world.loner.connect(world.b.v4, PORT, timeout=QUIET).error is not None
    world.cordon.apply(policy(ALLOW, front="audit"))
    world.b.write_file(world.cordon["b"].snapshot.name, b"torn")
    with pytest.raises(OSError, match="401"):
        http_get(world.b, METRICS)
    agents = [agent for name in ("a", "b") if (agent := world.cordon[name].agent) is not None]
    assert len(agents) == 2
    wait_until(lambda: "snapshot_refused" in agents[1].output(), "the refusal in the log")
    world.cordon.apply(BASE)
    known = secrets_of(world)
    assert len(known) > 5
    for agent in agents:
        assert agent.log is not None
        text = agent.log.read_bytes()
        assert text.count(b"event=debug_event") > 10, "the log is not at debug level"
        for name, secret in known.items():
            assert not [spelt for spelt in spellings(secret) if spelt in text], name
