# SPDX-License-Identifier: Apache-2.0
"""The wire of a lab host: put any segment on it, read what passes.

Both use packet sockets, which stand below the IP layer: what is put here passes no cgroup program
and no netfilter hook of the sending host, as if another machine had sent it; what is read here is
what is really on the wire. The sockets belong to this process and live as long as the lab.
"""

import contextlib
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.lab.host import INTERFACE, LabHost
from tests.lab.packets import ETH_IPV4, ETH_IPV6, Segment, build, parse
from tests.lab.waiting import PATIENCE

_ETH_ALL = 0x0003
_SO_RCVBUFFORCE = 33
_BUFFER = 32 << 20
"""Bytes of packets that wait in the kernel for the sniffer; beyond it packets are lost to it."""


@dataclass(frozen=True)
class Captured:
    """A TCP segment that passed a host's interface."""

    segment: Segment
    outgoing: bool
    """Whether the host sent it."""
    packet: bytes
    """The IP packet. Its checksum may be unfinished, as veth leaves that to the receiver."""
    at: float
    """When it was read, monotonic seconds."""


class Forger:
    """Puts packets on a host's wire that this host's kernel would never send."""

    def __init__(self, host: LabHost) -> None:
        self._socket = host.keep(
            host.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        )
        host.inside(lambda: self._socket.bind((INTERFACE, 0)))
        self._mac = _mac(host.mac)

    def send(self, segment: Segment, to: LabHost) -> None:
        """Send a segment to the machine `to`, whatever addresses it carries."""
        self.send_packet(build(segment), to)

    def send_packet(self, packet: bytes, to: LabHost) -> None:
        """Send a whole IP packet to the machine `to`; nothing in it is looked at or put right."""
        kind = ETH_IPV6 if packet[0] >> 4 == 6 else ETH_IPV4
        self._socket.send(_mac(to.mac) + self._mac + kind.to_bytes(2, "big") + packet)


class Sniffer:
    """Reads the TCP segments that pass a host's interface, from its making on."""

    def __init__(self, host: LabHost) -> None:
        self._socket = host.keep(host.inside(_listening))
        self.captured: list[Captured] = []
        """All that was read so far."""

    def wait_for(
        self, wanted: Callable[[Captured], bool], reason: str, timeout: float = 2.0
    ) -> Captured:
        """The first wanted segment, past or to come. AssertionError with the reason at the end."""
        found = next(filter(wanted, self.captured), None)
        if found is None:
            found = next(filter(wanted, self._read(timeout * PATIENCE)), None)
        if found is None:
            raise AssertionError(
                f"waited {timeout:g} s for {reason}; passed: {[c.segment for c in self.captured]}"
            )
        return found

    def collect(self, seconds: float = 0.0) -> list[Captured]:
        """Read for so long (0: what is already there) and return all that was read so far."""
        for _ in self._read(seconds):
            pass
        return self.captured

    def clear(self) -> None:
        """Forget what passed until now."""
        self.collect()
        self.captured.clear()

    def _read(self, seconds: float) -> Iterator[Captured]:
        deadline = time.monotonic() + seconds
        while select.select([self._socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
            with contextlib.suppress(BlockingIOError):
                packet, address = self._socket.recvfrom(65535)
                segment = parse(packet)
                if segment is not None:
                    outgoing = address[2] == socket.PACKET_OUTGOING
                    captured = Captured(segment, outgoing, packet, time.monotonic())
                    self.captured.append(captured)
                    yield captured


def _listening() -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    made.bind((INTERFACE, _ETH_ALL))
    return made


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
