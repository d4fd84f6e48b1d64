# SPDX-License-Identifier: Apache-2.0
"""Who waits for somebody, by the files of this very kernel and of one that is made up."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.edge import proc_net

NOBODY = range(0)
V4, V6 = socket.AF_INET, socket.AF_INET6
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def bound(opened: ExitStack, family: int, kind: int, address: str) -> socket.socket:
    made = opened.enter_context(socket.socket(family, kind))
    made.bind((address, 0))
    return made


def seen(one: socket.socket, clients: range = NOBODY) -> list[proc_net.Waiting]:
    """By the inode of this very socket."""
    inode = os.fstat(one.fileno()).st_ino
    return [found for found in proc_net.waiting(os.getpid(), clients) if found.inode == inode]


@pytest.mark.parametrize(
    ("family", "address", "packed"),
    [
        (V4, "127.0.0.1", bytes([127, 0, 0, 1])),
        (V4, "0.0.0.0", bytes(4)),
        (V6, "::1", bytes(15) + b"\x01"),
        (V6, "::", bytes(16)),
        (V6, "::ffff:127.0.0.1", bytes([127, 0, 0, 1])),
    ],
)
@pytest.mark.parametrize(("kind", "protocol"), [(TCP, 6), (UDP, 17)])
def test_who_waits_is_found_with_address_and_port(
    opened: ExitStack, family: int, address: str, packed: bytes, kind: int, protocol: int
) -> None:
    made = bound(opened, family, kind, address)
    if kind == TCP:
        assert seen(made) == [], "bound is not listening"
        made.listen()
    (found,) = seen(made)
    assert (found.protocol, found.address) == (protocol, packed)
    assert found.port == made.getsockname()[1]


def test_who_is_connected_does_not_wait(opened: ExitStack) -> None:
    for kind in (TCP, UDP):
        server = bound(opened, V4, kind, "127.0.0.1")
        if kind == TCP:
            server.listen()
        client = bound(opened, V4, kind, "127.0.0.1")
        client.connect(server.getsockname())
        assert len(seen(server)) == 1
        assert seen(client) == []


def test_port_of_a_client_of_udp_does_not_count_and_one_of_tcp_does(opened: ExitStack) -> None:
    for kind, expected in ((TCP, 1), (UDP, 0)):
        made = bound(opened, V4, kind, "127.0.0.1")
        if kind == TCP:
            made.listen()
        assert made.getsockname()[1] in proc_net.clients_ports(), "the kernel has chosen it"
        assert len(seen(made, proc_net.clients_ports())) == expected


def test_kernel_without_ipv6_has_fewer_files(tmp_path: Path) -> None:
    folder = tmp_path / "7/net"
    folder.mkdir(parents=True)
    for name in ("tcp", "udp"):
        (folder / name).write_text("  sl  local_address rem_address\n")
    assert list(proc_net.waiting(7, NOBODY, tmp_path)) == []
    assert proc_net.clients_ports(tmp_path), "there is a range also where none is told"


def test_process_that_has_ended_is_an_error_and_not_a_host_without_listeners(
    tmp_path: Path,
) -> None:
    with pytest.raises(OSError, match="tcp"):
        list(proc_net.waiting(7, NOBODY, tmp_path))
