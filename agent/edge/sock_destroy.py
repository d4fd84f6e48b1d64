# SPDX-License-Identifier: Apache-2.0
"""Ends TCP connections from outside, by sock_diag's SOCK_DESTROY: both ends learn of it at once
(here ECONNABORTED, there a RST), where a refused packet would leave them waiting.

A connection is named by its addresses and by the kernel's cookie, so that a younger one with the
same addresses is never hit.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST
from pyroute2.netlink.diag import inet_diag_req

from agent.edge import namespaces

_SOCK_DESTROY = 21
_ALL_STATES = 0xFFFFFFFF
_NLMSG_ERROR = 2
_NETLINK_SOCK_DIAG = 4
ANSWER_SECONDS = 5.0
_HEADER = 16


@dataclass(frozen=True, slots=True)
class Connection:
    """pid: a process in its network namespace. ipv6: an IPv6 socket, though it speaks IPv4."""

    pid: int
    ipv6: bool
    local: tuple[str, int]
    remote: tuple[str, int]
    cookie: int


def destroy(connections: Iterable[Connection]) -> list[tuple[Connection, str]]:
    """End them. Returns those that could not be ended, and why; one that has ended is none."""
    failed: list[tuple[Connection, str]] = []
    for connection in connections:
        try:
            code = namespaces.inside(connection.pid, lambda c=connection: _destroy(c))  # type: ignore[misc]
        except OSError as error:
            code = error.errno or errno.EIO
        if code not in (0, errno.ENOENT, errno.ESRCH):
            reason = os.strerror(code)
            if code == errno.EOPNOTSUPP:
                reason = "the kernel was built without CONFIG_INET_DIAG_DESTROY"
            failed.append((connection, reason))
    return failed


def _destroy(connection: Connection) -> int:
    """The errno, 0 for success. A plain socket sends it, for pyroute2's for sock_diag takes the
    acknowledgement for a socket's description."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as diag:
        diag.settimeout(ANSWER_SECONDS)
        diag.send(_request(connection))
        answer = diag.recv(8192)
    if int.from_bytes(answer[4:6], sys.byteorder) != _NLMSG_ERROR:
        return errno.EPROTO
    return -int.from_bytes(answer[_HEADER : _HEADER + 4], sys.byteorder, signed=True)


def _request(connection: Connection) -> bytes:
    message = inet_diag_req()
    message["header"]["type"] = _SOCK_DESTROY
    message["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK
    message["sdiag_family"] = socket.AF_INET6 if connection.ipv6 else socket.AF_INET
    message["sdiag_protocol"] = socket.IPPROTO_TCP
    message["idiag_states"] = _ALL_STATES
    message["idiag_sport"], message["idiag_dport"] = connection.local[1], connection.remote[1]
    message["idiag_src"] = _words(connection.local[0], connection.ipv6)
    message["idiag_dst"] = _words(connection.remote[0], connection.ipv6)
    message["idiag_cookie"] = connection.cookie
    message.encode()
    return bytes(message.data)


def _words(text: str, ipv6: bool) -> tuple[int, ...]:
    """Four words; an IPv4 address stands in the first, or mapped in all for an IPv6 socket."""
    address = ip_address(text.partition("%")[0])
    packed = address.packed
    if address.version == 4:
        packed = bytes(10) + b"\xff\xff" + packed if ipv6 else packed + bytes(12)
    return struct.unpack(">4I", packed)
