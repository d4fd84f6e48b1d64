# SPDX-License-Identifier: Apache-2.0
"""HTTP basic authentication (RFC 7617) in front of a WSGI application, with a file of hashes.

A line of the file is `NAME:scrypt:N:r:p:SALT:HASH`, both of the last in hexadecimal; `hash_line`
writes one. scrypt is slow on purpose, so a pair that was right is remembered (as a keyed digest,
for as long as the process lives), and wrong ones are tried at most `TRIES_PER_SECOND`: guessing
costs the guesser time and the host next to nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

TRIES_PER_SECOND = 5
MAX_USERS = 100
_MAX_FILE_BYTES = 1 << 16
_MAX_HEADER = 1024
_COST = (1 << 13, 8, 1)
_MAX_COST = 1 << 17
_MEMORY = 64 << 20


class AuthFileError(Exception):
    """The file of users is wrong; the sentence says where."""


@dataclass(frozen=True, slots=True)
class _Secret:
    cost: tuple[int, int, int]
    salt: bytes
    hash: bytes

    def matches(self, password: bytes) -> bool:
        return hmac.compare_digest(_scrypt(password, self.salt, self.cost), self.hash)


def _scrypt(password: bytes, salt: bytes, cost: tuple[int, int, int]) -> bytes:
    """Of the password's hash: HMAC, in it, takes a password and one with zeros after it for one."""
    n, r, p = cost
    return hashlib.scrypt(
        hashlib.sha256(password).digest(), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32
    )


def hash_line(name: str, password: str) -> str:
    """A line for the file. Raises ValueError for a name that cannot stand there."""
    if not name or not name.isprintable() or ":" in name or name != name.strip():
        raise ValueError("a user's name is printable text without ':' or blanks around it")
    salt = secrets.token_bytes(16)
    digest = _scrypt(password.encode(), salt, _COST)
    return ":".join([name, "scrypt", *map(str, _COST), salt.hex(), digest.hex()])


def read_users(path: Path) -> dict[str, _Secret]:
    """Raises AuthFileError, also for a file that others may read or write."""
    require_private(path)
    try:
        text = path.read_bytes()[: _MAX_FILE_BYTES + 1].decode()
    except (OSError, UnicodeDecodeError) as error:
        raise AuthFileError(f"{path}: cannot be read: {error}") from error
    if len(text) > _MAX_FILE_BYTES:
        raise AuthFileError(f"{path}: is larger than {_MAX_FILE_BYTES} bytes")
    users: dict[str, _Secret] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            name, secret = _parse(line, f"{path}:{number}")
            users[name] = secret
    if not 1 <= len(users) <= MAX_USERS:
        raise AuthFileError(f"{path}: names {len(users)} users, expected 1 to {MAX_USERS}")
    return users


def require_private(path: Path) -> None:
    """Raises AuthFileError for a file that cannot be asked, or that others may use."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise AuthFileError(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise AuthFileError(f"{path}: is not a file")
    if mode & 0o027:
        raise AuthFileError(
            f"{path}: has mode {stat.S_IMODE(mode):04o}, expected at most 0640: chmod 0600 {path}"
        )


def _parse(line: str, place: str) -> tuple[str, _Secret]:
    parts = line.strip().split(":")
    try:
        name, kind, *numbers, salt, digest = parts
        n, r, p = (int(number) for number in numbers)
        secret = _Secret((n, r, p), bytes.fromhex(salt), bytes.fromhex(digest))
        good = kind == "scrypt" and name and n * r <= _MAX_COST and p == 1
        _scrypt(b"", secret.salt, secret.cost)
    except ValueError:
        good = False
    if not good or len(secret.hash) != 32:
        raise AuthFileError(
            f"{place}: expected NAME:scrypt:N:r:p:SALT:HASH, as `cordon-agent metrics-user` prints"
        )
    return name, secret


class BasicAuth:
    """Passes on what carries a good name and password, answers everything else with 401 or 429."""

    def __init__(self, application: WSGI, users: dict[str, _Secret]) -> None:
        self._application = application
        self._users = users
        self._nobody = _Secret(_COST, os.urandom(16), os.urandom(32))
        self._key = os.urandom(32)
        self._known: set[bytes] = set()
        self._lock = threading.Lock()
        self._second = 0
        self._tries = 0

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        status = self._status(environ.get("HTTP_AUTHORIZATION", ""))
        if status is None:
            return self._application(environ, start_response)
        headers = [("Content-Type", "text/plain; charset=utf-8")]
        if status.startswith("401"):
            headers.append(("WWW-Authenticate", 'Basic realm="cordon", charset="UTF-8"'))
        start_response(status, headers)
        return [status.encode() + b"\n"]

    def _status(self, header: str) -> str | None:
        pair = _credentials(header)
        if pair is None:
            return "401 Unauthorized"
        digest = hmac.digest(self._key, b":".join(pair), "sha256")
        with self._lock:  # one scrypt at a time: its memory and time are the bound
            if digest in self._known:
                return None
            if not self._may_try():
                return "429 Too Many Requests"
            name, password = pair
            secret = self._users.get(name.decode(errors="replace"))
            if (secret or self._nobody).matches(password) and secret is not None:
                self._known.add(digest)
                return None
        return "401 Unauthorized"

    def _may_try(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._tries = second, 0
        self._tries += 1
        return self._tries <= TRIES_PER_SECOND


def _credentials(header: str) -> tuple[bytes, bytes] | None:
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic" or len(header) > _MAX_HEADER:
        return None
    try:
        name, colon, password = base64.b64decode(value.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (name, password) if colon else None
