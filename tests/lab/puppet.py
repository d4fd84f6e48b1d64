# SPDX-License-Identifier: Apache-2.0
"""A puppet: a process in a unit of a host that does socket operations on command.

Tests need thousands of connections with exact timing between both ends; a program per connection
would cost a hundred times as much. The sockets are a real process's in the unit's cgroup. Nothing
here raises when the kernel refuses: the refusal is the answer (`reply.error == "EPERM"`).
"""

import base64
import itertools
import json
import os
import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.lab.errors import LabError
from tests.lab.process import PYTHON, LabProcess
from tests.lab.waiting import PATIENCE

PUPPET_ARGV = (
    PYTHON,
    "-I",
    "-S",
    "-c",
    Path(__file__).with_name("puppet_main.py").read_text(encoding="utf-8"),
)
TCP_MD5SIG = 14
TIMEOUT = "TIMEOUT"
SLACK_SECONDS = 5.0 * PATIENCE
"""How much longer than the sum of its operations' bounds a call may take before it is a fault."""

Op = dict[str, Any]
Value = int | bool | str | bytes | tuple[str, int]
Option = tuple[int, int, int | bytes]
"""setsockopt's level, name, value."""


@dataclass(frozen=True)
class Reply:
    """What came of one operation. `error` is an errno's name, TIMEOUT, or None for success."""

    handle: int
    error: str | None = None
    data: bytes = b""
    count: int = 0
    address: tuple[str, int] | None = None
    """Own address of socket, listen, connect, getsockname; the peer's of accept and recvfrom."""

    @property
    def ok(self) -> bool:
        return self.error is None

    @property
    def port(self) -> int:
        """The port in `address`."""
        if self.address is None:
            raise LabError(f"this reply has no address: {self}")
        return self.address[1]


def family_of(address: str) -> int:
    """AF_INET6 for an address with a colon, else AF_INET."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def md5_option(peer: str, key: bytes) -> Option:
    """The option that demands RFC 2385 signatures with `key` from `peer` (struct tcp_md5sig)."""
    family = family_of(peer)
    packed = socket.inet_pton(family, peer)
    head = struct.pack("=HHI", family, 0, 0) if family == socket.AF_INET6 else b""
    storage = head + packed if head else struct.pack("=HH", family, 0) + packed
    body = struct.pack("=BBHi", 0, 0, len(key), 0) + key.ljust(80, b"\0")
    return (socket.IPPROTO_TCP, TCP_MD5SIG, storage.ljust(128, b"\0") + body)


class Puppet:
    """The commanding end. Methods named after the system call do it and return a Reply.

    `op_…` methods build an operation instead, for `call`, which does many in one round trip; a
    handle that one makes can be used by the next of the same list.
    """

    def __init__(self, process: LabProcess, unit: str) -> None:
        self.process = process
        self.unit = unit
        self._handles = itertools.count(1)

    @property
    def pid(self) -> int:
        return self.process.pid

    def call(self, batch: Sequence[Op]) -> list[Reply]:
        """Do the operations in order; each has its reply, also after a failure before it."""
        stdin, stdout = self._pipes()
        bound = sum(op.get("timeout", 0.0) for op in batch) + SLACK_SECONDS
        try:
            stdin.write(json.dumps(batch).encode() + b"\n")
            stdin.flush()
            line = read_line(stdout, bound)
        except (OSError, TimeoutError) as failure:
            raise LabError(f"the puppet in {self.unit} (pid {self.pid}): {failure}") from None
        results = json.loads(line)
        return [_reply(op, result) for op, result in zip(batch, results, strict=True)]

    def one(self, op: Op) -> Reply:
        """Do a single operation."""
        return self.call([op])[0]

    def op_socket(
        self,
        family: int = socket.AF_INET,
        kind: int = socket.SOCK_STREAM,
        proto: int = 0,
        *,
        bind: tuple[str, int] | None = None,
        options: Sequence[Option] = (),
    ) -> Op:
        """Make a socket; the operation's "handle" names it from then on."""
        return {
            "op": "socket",
            "handle": next(self._handles),
            "family": int(family),
            "type": int(kind),
            "proto": proto,
            "bind": bind,
            "options": [(level, name, _plain(value)) for level, name, value in options],
        }

    def op_accept(self, listener: int, timeout: float = 1.0) -> Op:
        handle = next(self._handles)
        return {"op": "accept", "handle": listener, "accepted": handle, "timeout": timeout}

    @staticmethod
    def op(name: str, handle: int, timeout: float = 1.0, **arguments: Value) -> Op:
        """Any other operation of puppet_main; bytes are encoded here."""
        plain = {key: _plain(value) for key, value in arguments.items()}
        return {"op": name, "handle": handle, "timeout": timeout, **plain}

    def make(
        self,
        family: int = socket.AF_INET,
        kind: int = socket.SOCK_STREAM,
        proto: int = 0,
        *,
        bind: tuple[str, int] | None = None,
        options: Sequence[Option] = (),
    ) -> Reply:
        return self.one(self.op_socket(family, kind, proto, bind=bind, options=options))

    def listen(
        self, address: str, port: int = 0, *, backlog: int = 128, options: Sequence[Option] = ()
    ) -> Reply:
        """A TCP listener; SO_REUSEADDR is set. Port 0 takes a free one: see `reply.port`."""
        reuse: Option = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made = self.op_socket(family_of(address), bind=(address, port), options=(reuse, *options))
        return self._after(made, self.op("listen", made["handle"], backlog=backlog))

    def connect(
        self,
        address: str,
        port: int,
        *,
        timeout: float = 1.0,
        bind: tuple[str, int] | None = None,
        options: Sequence[Option] = (),
        fastopen: bytes | None = None,
    ) -> Reply:
        """A TCP connection. `fastopen` sends these bytes as MSG_FASTOPEN with the SYN.

        After a failure the socket is closed; what TIMEOUT says is that nothing came back.
        """
        made = self.op_socket(family_of(address), bind=bind, options=options)
        handle, to = made["handle"], (address, port)
        if fastopen is None:
            return self._after(made, self.op("connect", handle, timeout, to=to))
        return self._after(made, self.op("fastopen", handle, timeout, to=to, data=fastopen))

    def connect_start(
        self,
        address: str,
        port: int,
        *,
        bind: tuple[str, int] | None = None,
        options: Sequence[Option] = (),
    ) -> Reply:
        """Begin a TCP connection and return at once; `connect_finish(handle)` waits for it."""
        made = self.op_socket(family_of(address), bind=bind, options=options)
        return self._after(made, self.op("connect_start", made["handle"], to=(address, port)))

    def connect_finish(self, handle: int, timeout: float = 1.0) -> Reply:
        return self.one(self.op("connect_finish", handle, timeout))

    def accept(self, listener: int, timeout: float = 1.0) -> Reply:
        """The reply's handle is the accepted socket."""
        return self.one(self.op_accept(listener, timeout))

    def send(self, handle: int, data: bytes, timeout: float = 1.0) -> Reply:
        return self.one(self.op("send", handle, timeout, data=data))

    def recv(self, handle: int, size: int, timeout: float = 1.0) -> Reply:
        """Exactly `size` bytes; fewer only if the peer ended the stream."""
        return self.one(self.op("recv", handle, timeout, size=size))

    def udp(self, family: int = socket.AF_INET, *, bind: tuple[str, int] | None = None) -> Reply:
        return self.make(family, socket.SOCK_DGRAM, bind=bind)

    def sendto(self, handle: int, data: bytes, to: tuple[str, int], timeout: float = 1.0) -> Reply:
        return self.one(self.op("sendto", handle, timeout, data=data, to=to))

    def recvfrom(self, handle: int, size: int = 65535, timeout: float = 1.0) -> Reply:
        return self.one(self.op("recvfrom", handle, timeout, size=size))

    def getsockname(self, handle: int) -> Reply:
        return self.one(self.op("getsockname", handle))

    def getpeername(self, handle: int) -> Reply:
        return self.one(self.op("getpeername", handle))

    def setsockopt(self, handle: int, level: int, name: int, value: int | bytes) -> Reply:
        return self.one(
            {**self.op("setsockopt", handle, value=value), "level": level, "name": name}
        )

    def getsockopt(self, handle: int, level: int, name: int, size: int = 4) -> Reply:
        return self.one({**self.op("getsockopt", handle, size=size), "level": level, "name": name})

    def shutdown(self, handle: int) -> Reply:
        """End our direction of the stream (FIN)."""
        return self.one(self.op("shutdown", handle))

    def close(self, *handles: int, reset: bool = False) -> None:
        """Close sockets, with `reset` by a RST, which leaves no TIME_WAIT."""
        self.call([self.op("close", handle, reset=reset) for handle in handles])

    def _after(self, made: Op, then: Op) -> Reply:
        """Make a socket and do one thing with it; close it again if either fails."""
        first, second = self.call([made, then])
        reply = first if not first.ok else second
        if not reply.ok:
            self.close(made["handle"])
        return reply

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        stdin, stdout = self.process.popen.stdin, self.process.popen.stdout
        if stdin is None or stdout is None:
            raise LabError("a puppet must be started with pipes")
        return stdin, stdout


def _plain(value: Value) -> Value:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _reply(op: Op, result: dict[str, Any]) -> Reply:
    address = result.get("address")
    return Reply(
        handle=op["accepted"] if "accepted" in op else op["handle"],
        error=result.get("error"),
        data=base64.b64decode(result.get("data", "")),
        count=result.get("count", 0),
        address=(address[0], address[1]) if address else None,
    )


def read_line(stream: IO[bytes], bound: float) -> bytes:
    """One whole line; nothing is ever buffered beyond it, as each answer awaits its question."""
    deadline = time.monotonic() + bound
    got = b""
    while not got.endswith(b"\n"):
        if not select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError(f"no answer within {bound:g} s")
        piece = os.read(stream.fileno(), 1 << 20)
        if not piece:
            raise BrokenPipeError("it has ended")
        got += piece
    return got
