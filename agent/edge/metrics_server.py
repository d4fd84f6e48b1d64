# SPDX-License-Identifier: Apache-2.0
"""Serves metrics over HTTP or HTTPS, in threads of its own, with a bound on everything.

prometheus-client's own server starts a thread for every connection and shakes hands with one TLS
client at a time; here a few workers take what a short queue holds, a connection has so many seconds
and bytes in all for its request, and beyond so many connections a second the next ones are closed
unanswered, so that nobody who scrapes, slowly or madly, takes the host's time.
"""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from agent.config import Endpoint
from agent.edge import http_auth
from agent.edge.http_auth import WSGI, AuthFileError, BasicAuth

PER_SECOND = 50
WORKERS = 4
WAITING = 16
REQUEST_SECONDS = 5.0
REQUEST_BYTES = 16 * 1024


class MetricsServerError(Exception):
    """Metrics cannot be served; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Access:
    """certificate, key: PEM files, both or none. users: file of those who may ask."""

    certificate: Path | None = None
    key: Path | None = None
    users: Path | None = None


class MetricsServer:
    """Listens from the making on, until closed. Raises MetricsServerError."""

    def __init__(self, registry: CollectorRegistry, endpoint: Endpoint, access: Access) -> None:
        application: WSGI = make_wsgi_app(registry)
        tls = None
        try:
            if access.users is not None:
                application = BasicAuth(application, http_auth.read_users(access.users))
            if access.certificate is not None and access.key is not None:
                http_auth.require_private(access.key)
                tls = _Tls(access.certificate, access.key)
            self._server = _Server(endpoint, tls)
        except AuthFileError as error:
            raise MetricsServerError(str(error)) from error
        except ssl.SSLError as error:
            reason = error.reason or str(error)
            raise MetricsServerError(f"{access.certificate}, {access.key}: {reason}") from error
        except OSError as error:
            raise MetricsServerError(f"listening on {endpoint}: {error.strerror}") from error
        self._server.set_app(application)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def refused(self) -> int:
        """Connections closed unanswered because there were too many."""
        return self._server.refused

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Tls:
    """A context that follows its files: a renewed certificate needs no restart."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._stamp = self._stamps()
        self._context = self._load()

    def _stamps(self) -> list[tuple[int, int]]:
        return [(found.st_mtime_ns, found.st_ino) for found in map(Path.stat, self._files)]

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self._files, password=_no_password)
        return context

    def context(self) -> ssl.SSLContext:
        """Where the new files are not good (yet), the old context."""
        with contextlib.suppress(OSError):  # SSLError is one
            stamp = self._stamps()
            if stamp != self._stamp:
                self._context, self._stamp = self._load(), stamp
        return self._context


def _no_password() -> str:
    """Instead of OpenSSL's question on the terminal."""
    raise ssl.SSLError(ssl.SSL_ERROR_SSL, "the key is encrypted, expected one without a password")


class _Server(WSGIServer):
    """socketserver's, with workers instead of a thread for each connection."""

    request_queue_size = WAITING
    allow_reuse_address = True

    def __init__(self, endpoint: Endpoint, tls: _Tls | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        self._tls = tls
        self._second = 0
        self._in_second = 0
        self._open = 0
        self._count = threading.Lock()
        self.refused = 0
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="metrics")
        super().__init__((endpoint.host, endpoint.port), _Handler)

    def server_bind(self) -> None:
        """Without wsgiref's question to DNS who we are."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "cordon-agent", self.server_address[1]
        self.setup_environ()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        good = self._in_second <= PER_SECOND and self._open < WORKERS + WAITING
        self.refused += not good
        return good

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._count:
            self._open += 1
        self._workers.submit(self._serve, request, client_address)

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        """Whoever breaks off, or speaks something else, is not worth a log line."""
        try:
            with contextlib.suppress(OSError, ValueError):
                request.settimeout(REQUEST_SECONDS)
                if self._tls is not None:
                    request = self._tls.context().wrap_socket(request, server_side=True)
                self.finish_request(request, client_address)
        finally:
            with self._count:
                self._open -= 1
            self.shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        self._workers.shutdown(wait=False, cancel_futures=True)


class _Request(io.RawIOBase):
    """What a client sends: so many bytes, so many seconds, then it is over."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._left = REQUEST_BYTES
        self._deadline = time.monotonic() + REQUEST_SECONDS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the request took too long")
        view = memoryview(buffer)[: max(0, self._left)]
        if not view:
            raise ValueError("the request is too large")
        self._connection.settimeout(seconds)
        count = self._connection.recv_into(view)
        self._left -= count
        return count


class _Handler(WSGIRequestHandler):
    """Silent; errors go nowhere, for a client can make as many as it likes."""

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Request(self.connection), 2048)

    def address_string(self) -> str:
        return str(self.client_address[0])

    def handle(self) -> None:
        self.raw_requestline = self.rfile.readline(REQUEST_BYTES)
        if not self.raw_requestline or not self.parse_request():
            return
        self.connection.settimeout(REQUEST_SECONDS)
        wfile: Any = self.wfile  # typeshed's two ideas of a binary file
        handler = _Answer(io.BytesIO(), wfile, io.StringIO(), self.get_environ())
        handler.request_handler = self  # type: ignore[attr-defined]
        server: Any = self.server
        handler.run(server.get_app())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


class _Answer(ServerHandler):
    """Without the version of Python in every answer; a request has no body that is read."""

    server_software = "cordon-agent"

    def log_exception(self, exc_info: Any) -> None:
        """Nothing: the collector counts what it could not read."""

    def close(self) -> None:
        """As wsgiref's SimpleHandler: its log of requests is not wanted."""
        super(ServerHandler, self).close()
