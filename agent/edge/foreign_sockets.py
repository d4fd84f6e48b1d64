# SPDX-License-Identifier: Apache-2.0
"""Inet sockets of other processes, through their own descriptors.

pidfd_getfd gives a copy of a foreign descriptor: addresses and state are asked of the socket
itself, so the network namespace it lives in does not matter, and the kernel's state of it is found
in the sk_storage map by that very descriptor. Copies are closed at once: a copy that stays would
keep a connection open that its owner has closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
from collections.abc import Iterator

from agent.core.abi import SOCKET_STATE, SocketState
from agent.edge.libbpf import BpfError
from agent.edge.maps import BpfMap
from agent.edge.scarcity import vanishing

_PIDFD_GETFD = 438
"""The same number on every architecture (include/uapi/asm-generic/unistd.h)."""
_SO_COOKIE = 57
_SO_NETNS_COOKIE = 71
"""include/uapi/asm-generic/socket.h."""
_INET = (socket.AF_INET, socket.AF_INET6)
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def pidfd(pid: int) -> Iterator[int]:
    """Raises OSError."""
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def descriptors(pid: int) -> Iterator[tuple[int, str]]:
    """(number, "socket:[inode]") of every socket that the process has open, of any family.

    Raises OSError if we lack descriptors to look.
    """
    numbers: list[str] = []
    with vanishing():
        numbers = os.listdir(f"/proc/{pid}/fd")
    for number in numbers:
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{number}")
            if target.startswith("socket:"):
                yield int(number), target


@contextlib.contextmanager
def copy(pidfd_: int, number: int) -> Iterator[socket.socket]:
    """A copy of a socket, for as long as the block runs. Raises OSError."""
    fd = _libc.syscall(_PIDFD_GETFD, pidfd_, number, 0)
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    try:
        copied = socket.socket(fileno=fd)
    except OSError:
        os.close(fd)  # the number is of something else by now
        raise
    try:
        yield copied
    finally:
        copied.close()


def is_inet(copied: socket.socket) -> bool:
    return copied.family in _INET


def protocol(copied: socket.socket) -> int:
    return copied.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL)


def cookie(copied: socket.socket) -> int:
    return _number(copied, _SO_COOKIE)


def netns_cookie(copied: socket.socket) -> int:
    return _number(copied, _SO_NETNS_COOKIE)


def _number(copied: socket.socket, option: int) -> int:
    return int.from_bytes(copied.getsockopt(socket.SOL_SOCKET, option, 8), "little")


def tcp_state(copied: socket.socket, protocol_: int) -> int:
    """0 for what is not TCP."""
    if protocol_ != socket.IPPROTO_TCP:
        return 0
    return copied.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def local_end(copied: socket.socket) -> tuple[str, int]:
    return _address(copied.getsockname())


def remote_end(copied: socket.socket) -> tuple[str, int]:
    """("", 0) for a socket without."""
    try:
        return _address(copied.getpeername())
    except OSError as error:
        if error.errno not in (errno.ENOTCONN, errno.EINVAL):
            raise
        return "", 0


def _address(name: tuple[str, int]) -> tuple[str, int]:
    return name[0].removeprefix("::ffff:"), name[1]


def kernel_state(copied: socket.socket, states: BpfMap) -> SocketState | None:
    """None where the datapath has none."""
    try:
        value = states.get(key_of(copied))
    except BpfError:
        return None
    return SOCKET_STATE.unpack(value) if value is not None else None


def key_of(copied: socket.socket) -> bytes:
    """The key of a socket in an sk_storage map, as user space names it."""
    return copied.fileno().to_bytes(4, "little")
