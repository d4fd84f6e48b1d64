# SPDX-License-Identifier: Apache-2.0
"""The first start, the stop, and what the log says: nothing that is secret."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import stat
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.pb import enrolment_pb2 as pb
from controller import tokens
from controller.access_records import HostGrant, Role, TokenState
from tests.server import client
from tests.server.served import Served, Site


@pytest.fixture
def fresh(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.write()
    return site


def test_init_makes_private_files_a_fleet_and_a_first_operators_token(fresh: Site) -> None:
    token = tokens.parse(fresh.init())
    assert token is not None
    state = fresh.folder / "state"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()}
    assert modes == {"master.key": 0o600, "cordon.db": 0o600}
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    with fresh.store() as storage:
        row = storage.token(token.id, int(time.time()))
        assert row is not None
        assert row.state is TokenState.ACTIVE
        assert getattr(row.grant, "role", None) is Role.OPERATOR
    again = fresh.command("init", "--trust-domain", "evil.org")
    assert again.returncode == 1
    assert "has a fleet already" in again.stderr
    check = fresh.command("store", "check")
    assert check.returncode == 0
    assert check.stdout == "All is well: epoch 1, version 1, revision 0.\n"


def test_commands_say_what_is_missing(fresh: Site) -> None:
    done = fresh.command("store", "check")
    assert done.returncode == 1
    assert "there is no master key" in done.stderr
    fresh.init()
    key = fresh.folder / "state" / "master.key"
    key.chmod(0o644)
    assert "expected mode 0600, got 0644" in fresh.command("ca", "show").stderr
    key.chmod(0o600)
    key.write_bytes(bytes(32))
    done = fresh.command("store", "check")
    assert done.returncode == 1
    assert "the master key does not open it" in done.stdout
    fresh.config.write_text("name = 'x'\nlisen = 1")
    done = fresh.command("ca", "show")
    assert done.returncode == 2
    assert "unknown key 'lisen'" in done.stderr
    for arguments in (["init", "--trust-domain", "A B"], ["token", "--name", "A B"]):
        assert fresh.command(*arguments).returncode == 2


def test_raise_epoch_needs_a_reason_and_is_in_the_audit_log(fresh: Site) -> None:
    fresh.init()
    assert fresh.command("store", "raise-epoch").returncode == 2
    done = fresh.command("store", "raise-epoch", "--why", "restored")
    assert done.stdout == "The store's epoch is 2, its version 2.\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_controller_stops_when_told_to(fresh: Site, number: signal.Signals) -> None:
    fresh.init()
    with Served(fresh) as served:
        assert served.stop(number) == 0
        assert f"info stopping signal={number.name}" in served.text
        assert "Traceback" not in served.text


def test_the_service_manager_is_told(fresh: Site, tmp_path: Path) -> None:
    fresh.init()
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(path))
        told.settimeout(client.DEADLINE)
        with Served(fresh, NOTIFY_SOCKET=str(path)) as served:
            heard = {told.recv(100)}
            while b"READY=1" not in heard:
                heard.add(told.recv(100))
            served.stop()
            while b"STOPPING=1" not in heard:
                heard.add(told.recv(100))
        assert b"WATCHDOG=1" in heard


def test_a_port_that_is_taken_is_named(fresh: Site) -> None:
    fresh.init()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fresh.write(listen=f"127.0.0.1:{port}")
        done = fresh.command("serve")
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_metrics_are_told_over_http_and_a_large_header_is_refused(fresh: Site) -> None:
    fresh.init()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fresh.write(listen_metrics=f"127.0.0.1:{port}")
    with fresh.store() as storage, Served(fresh) as served:
        request = pb.EnrolRequest(token="x", csr=client.csr(client.new_key()))
        with pytest.raises(grpc.RpcError):
            client.enrol(served, client.roots(storage), request)
        url = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=client.DEADLINE) as answer:
            told = answer.read().decode()
        assert 'cordon_controller_refusals_total{reason="TOKEN_INVALID"} 1.0' in told
        assert "cordon_controller_store_up 1.0" in told
        assert "cordon_controller_hosts 0.0" in told
        assert 'cordon_controller_streams{state="in_sync"} 0.0' in told
        assert re.search(r"^cordon_controller_own_certificate_expires_seconds 1\.", told, re.M)
        large = urllib.request.Request(url, headers={"X-Large": "x" * 1_000_000})
        with pytest.raises((urllib.error.HTTPError, ConnectionError, urllib.error.URLError)):
            urllib.request.urlopen(large, timeout=client.DEADLINE)
        with urllib.request.urlopen(url, timeout=client.DEADLINE) as answer:
            assert answer.status == 200


def test_no_secret_is_in_the_log_at_any_level(fresh: Site) -> None:
    """The controller and its libraries at their most talkative, through good and bad days."""
    first = fresh.init()
    secrets: list[bytes] = [(fresh.folder / "state" / "master.key").read_bytes()]
    texts = [first]
    with (
        fresh.store() as storage,
        Served(fresh, "--debug", GRPC_VERBOSITY="DEBUG", PYTHONASYNCIODEBUG="1") as served,
    ):
        roots, key = client.roots(storage), client.new_key()
        login_key = client.new_key()
        client.login(served, roots, first.rpartition(".")[0], login_key)
        now = int(time.time())
        good = client.host_token(storage, HostGrant("web-1", {}), now)
        bad = good[:-1] + ("B" if good.endswith("A") else "A")
        for token in (good, bad, "cordon1." + "x" * 60):
            texts.append(token)
            try:
                request = pb.EnrolRequest(token=token, csr=client.csr(key))
                answer = client.enrol(served, roots, request)
            except grpc.RpcError:
                continue
            client.renew(served, client.identity(key, answer.credentials))
        stored = storage.secrets()
        secrets += [stored.root, *(row.private for row in stored.authorities)]
        secrets += [row.private for row in stored.signing_keys]
        served.stop()
        log = served.log.read_bytes()
    assert b"host enrolled" in log
    assert b"DEBUG" in log, "it is at its most talkative"
    for text in texts:
        parts = text.split(".")
        assert parts[2 if len(parts) > 2 else 1].encode() not in log
    for secret in secrets:
        for form in _forms(secret):
            assert form not in log
    assert not re.search(rb"-----BEGIN [A-Z ]*PRIVATE KEY", log)


def _forms(secret: bytes) -> list[bytes]:
    """As it may be written down: raw, hexadecimal, base64, Python's, line by line."""
    lines = [line for line in secret.splitlines() if len(line) > 30]
    return [
        secret,
        secret.hex().encode(),
        base64.b64encode(secret)[:40],
        repr(secret).encode()[2:40],
        *lines,
    ]


def test_what_the_commands_print_has_no_secret_but_the_token(fresh: Site) -> None:
    fresh.init()
    with fresh.store() as storage:
        authority = client.authority(storage)
        pem = authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for arguments in (["ca", "show"], ["ca", "roots"], ["signing-key", "show"]):
        done = fresh.command(*arguments)
        assert done.returncode == 0
        assert "PRIVATE" not in done.stdout + done.stderr
        assert pem.splitlines()[1].decode() not in done.stdout
    assert authority.pem.decode() == fresh.command("ca", "roots").stdout
    assert os.environ.get("CREDENTIALS_DIRECTORY") is None
