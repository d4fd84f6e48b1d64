# SPDX-License-Identifier: Apache-2.0
"""Sockets of a network namespace that wait for somebody, as /proc/PID/net shows them.

Of TCP those that listen. Of UDP, which has no word for that, those that are bound and connected to
nobody, but for ports that the kernel hands out to clients: a resolver's socket waits for an answer
and not for a question.

Layout of the files: net/ipv4/tcp_ipv4.c (`tcp4_seq_show`), net/ipv4/udp.c (`udp4_seq_show`).
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_LISTEN, _CLOSE = "0A", "07"
"""TCP's states, by which UDP says "not connected" too."""
_MAPPED = bytes(10) + b"\xff\xff"
_PORTS = Path("sys/net/ipv4/ip_local_port_range")
_FALLBACK = range(32768, 61000)


@dataclass(frozen=True, slots=True)
class Waiting:
    """address: 4 or 16 bytes, all zero for every address; an IPv4 address in the form of IPv6 is
    told as IPv4. inode: of the socket, by which descriptors name it."""

    protocol: int
    address: bytes
    port: int
    inode: int


def clients_ports(proc: Path = PROC) -> range:
    """Ports that the kernel gives to who asks for none, of the reader's network namespace."""
    try:
        first, last = map(int, (proc / _PORTS).read_text().split())
    except (OSError, ValueError):
        return _FALLBACK
    return range(first, last + 1)


def waiting(pid: int, clients: range, proc: Path = PROC) -> Iterator[Waiting]:
    """Of the namespace of a process. clients: ports of UDP that do not count. Raises OSError."""
    folder = proc / str(pid) / "net"
    for name in ("tcp", "tcp6"):
        for state, one in _read(folder / name, socket.IPPROTO_TCP):
            if state != _LISTEN:
                break  # listeners come first, and there may be 100,000 connections behind them
            yield one
    for name in ("udp", "udp6"):
        for state, one in _read(folder / name, socket.IPPROTO_UDP):
            if state == _CLOSE and one.port not in clients:
                yield one


def _read(file: Path, protocol: int) -> Iterator[tuple[str, Waiting]]:
    """Each socket with its state. A kernel without IPv6 has no file for it."""
    if not file.exists() and file.name.endswith("6"):
        return
    with file.open(encoding="ascii") as lines:
        next(lines, None)
        for line in lines:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            yield fields[3], Waiting(protocol, _address(address), int(port, 16), int(fields[9]))


def _address(digits: str) -> bytes:
    """Words of 32 bits, each as the machine reads what lies there in network order."""
    words = (int(digits[at : at + 8], 16) for at in range(0, len(digits), 8))
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    return packed[len(_MAPPED) :] if packed.startswith(_MAPPED) else packed
