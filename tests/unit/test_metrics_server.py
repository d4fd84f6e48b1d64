# SPDX-License-Identifier: Apache-2.0
"""The metrics server against good and hostile clients, on loopback."""

from __future__ import annotations

import base64
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge

from agent.config import Endpoint
from agent.edge import http_auth, metrics_server
from agent.edge.http_auth import AuthFileError, hash_line, read_users
from agent.edge.metrics_server import Access, MetricsServer, MetricsServerError
from tests.lab.certificate import write_certificate

WAIT_SECONDS = 10.0
"""A bound on every answer; the usual one takes a millisecond."""
Serve = Callable[..., MetricsServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as opened:

        def start(access: Access = Access()) -> MetricsServer:  # noqa: B008
            registry = CollectorRegistry()
            Gauge("cordon_test", "A number.", registry=registry).set(7)
            server = MetricsServer(registry, Endpoint("127.0.0.1", 0), access)
            return opened.enter_context(closing(server))

        yield start


def get(
    server: MetricsServer,
    user: str = "",
    context: ssl.SSLContext | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, str]:
    scheme = "https" if context else "http"
    url = f"{scheme}://127.0.0.1:{server.port}/metrics"
    request = urllib.request.Request(url, headers=headers or {})
    if user:
        value = base64.b64encode(user.encode()).decode()
        request.add_header("Authorization", f"Basic {value}")
    try:
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def write_users(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_scrape_is_answered(serve: Serve) -> None:
    assert get(serve()) == (200, "# HELP cordon_test A number.\n# TYPE cordon_test gauge\n"
                                 "cordon_test 7.0\n")  # fmt: skip


def test_only_who_knows_the_password_is_answered(serve: Serve, tmp_path: Path) -> None:
    server = serve(Access(users=write_users(tmp_path / "users", hash_line("prom", "geheim"))))
    assert get(server)[0] == 401
    assert get(server, "prom:wrong")[0] == 401
    assert get(server, "other:geheim")[0] == 401
    assert get(server, "prom:geheim")[0] == 200
    assert get(server, "prom:geheim")[0] == 200
    assert get(server, "prom:geheim\0")[0] == 401


def test_guesses_are_few_a_second_and_do_not_shut_out_who_knows(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve(Access(users=write_users(tmp_path / "users", hash_line("prom", "geheim"))))
    assert get(server, "prom:geheim")[0] == 200
    codes = {get(server, f"prom:{guess}")[0] for guess in range(4 * http_auth.TRIES_PER_SECOND)}
    assert codes == {401, 429}
    wait_for_budget()
    assert get(server, "prom:geheim")[0] == 200


def wait_for_budget() -> None:
    """Until a new second begins, with its new number of requests."""
    time.sleep(1.0 - time.monotonic() % 1.0 + 0.01)


@pytest.mark.parametrize(
    "line",
    ["prom:geheim", "prom:scrypt:8192:8:1:zz:00", "prom:scrypt:8192:8:1:00:00", ":scrypt:1:1:1::",
     "prom:scrypt:9999999999:8:1:00:" + "00" * 32, "prom:md5:8192:8:1:00:" + "00" * 32],
)  # fmt: skip
def test_line_that_is_no_users_is_refused_with_its_place(tmp_path: Path, line: str) -> None:
    path = write_users(tmp_path / "users", hash_line("a", "b"), line)
    with pytest.raises(AuthFileError, match=r"users:2: expected NAME:scrypt:"):
        read_users(path)


def test_users_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = write_users(tmp_path / "users", hash_line("a", "b"))
    path.chmod(0o644)
    with pytest.raises(AuthFileError, match="has mode 0644, expected at most 0640"):
        read_users(path)


def test_hash_line_does_not_hold_the_password() -> None:
    assert "geheim" not in hash_line("prom", "geheim")
    with pytest.raises(ValueError, match="without ':'"):
        hash_line("a:b", "geheim")


def test_https_follows_a_renewed_certificate(serve: Serve, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    server = serve(Access(certificate=certificate, key=key))
    assert get(server, context=trusting())[0] == 200
    old = ssl.get_server_certificate(("127.0.0.1", server.port))
    write_certificate(tmp_path, "renewed")
    assert ssl.get_server_certificate(("127.0.0.1", server.port)) != old
    key.write_text("torn")
    assert get(server, context=trusting())[0] == 200


def test_http_to_the_https_port_is_closed_and_harms_nobody(serve: Serve, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    server = serve(Access(certificate=certificate, key=key))
    with pytest.raises((urllib.error.URLError, ConnectionError, OSError)):
        get(server)
    assert get(server, context=trusting())[0] == 200


def test_key_that_is_not_there_is_said_by_name(serve: Serve, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    key.unlink()
    with pytest.raises(MetricsServerError, match=r"metrics\.key: No such file"):
        serve(Access(certificate=certificate, key=key))


def test_port_in_use_is_said_with_the_endpoint(serve: Serve) -> None:
    taken = serve()
    with pytest.raises(MetricsServerError, match=rf"127.0.0.1:{taken.port}: Address already"):
        MetricsServer(CollectorRegistry(), Endpoint("127.0.0.1", taken.port), Access())


def send_endlessly(client: socket.socket, piece: bytes, pause: float, pieces: int) -> None:
    """Raises ConnectionError when the server has had enough."""
    for _ in range(pieces):
        client.sendall(piece)
        time.sleep(pause)  # the reset must have come by then, or the next piece goes through
    pytest.fail(f"the server took {pieces * len(piece)} bytes and went on listening")


def test_header_of_a_megabyte_is_not_read(serve: Serve) -> None:
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_SECONDS) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nX-Long: ")
        with pytest.raises(ConnectionError):
            send_endlessly(client, b"a" * (1 << 14), pause=0.01, pieces=64)
    assert get(server)[0] == 200


def test_thousand_scrapes_in_a_second_are_mostly_closed_unanswered(serve: Serve) -> None:
    server = serve()
    started = time.monotonic()
    answered = 0
    for _ in range(1000):
        with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_SECONDS) as client:
            try:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answered += bool(client.recv(1))
            except ConnectionError:
                continue
    seconds = time.monotonic() - started
    assert answered <= metrics_server.PER_SECOND * (int(seconds) + 2)
    assert answered + server.refused <= 1000
    assert answered > 0
    wait_for_budget()
    assert get(server)[0] == 200


def test_clients_that_say_nothing_do_not_keep_out_the_next_one_for_long(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server, "REQUEST_SECONDS", 0.3)
    server = serve()
    with ExitStack() as silent:
        for _ in range(metrics_server.WORKERS):
            silent.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        assert get(server)[0] == 200


def test_client_that_drips_is_ended(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "REQUEST_SECONDS", 0.5)
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_SECONDS) as client:
        client.sendall(b"GET / HTTP/1.0\r\n")
        with pytest.raises(ConnectionError):
            send_endlessly(client, b"X", pause=0.05, pieces=200)
