# SPDX-License-Identifier: Apache-2.0
"""Can this kernel let listeners older than the agent answer with a tag? Asked by trying.

The datapath's iterator (bpf/listeners.h) sets a flag on listening sockets by an option that came
with Linux 6.12. This one only reads it, from every listener of this network namespace, and from one
of its own on loopback so that there is any.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from agent.edge import btf, libbpf, links
from agent.edge.hooks import ITERATED, LISTENERS
from agent.edge.libbpf import BpfError

_LICENSE = "GPL"
_LISTEN = 10
_SOL_TCP = 6
_TCP_BPF_SOCK_OPS_CB_FLAGS = 1008
_GETSOCKOPT = 57


def works() -> bool:
    """Raises BpfError or BtfError where it could not be tried."""
    code = _reader(btf.kernel_offsets()["OFFSET_SOCK_STATE"])
    kind, place = LISTENERS.program_type, LISTENERS.attach_type
    assert place is not None
    iterated = btf.function_id(ITERATED)
    program = libbpf.prog_load(int(kind), code, "doctor", _LICENSE, int(place), iterated)
    try:
        with socket.create_server(("127.0.0.1", 0)):
            links.run_iterator(program)
    except BpfError as error:
        if error.errno != errno.EAGAIN:
            raise
        return False
    finally:
        os.close(program)
    return True


def _reader(state: int) -> bytes:
    """struct bpf_insn of linux/bpf.h. state: the offset of a socket's state."""
    return b"".join(
        struct.pack("<BBhi", *instruction)
        for instruction in (
            (0x79, 0x11, 8, 0),  # r1 = the socket
            (0x15, 0x01, 10, 0),  # none: the end, to `fine`
            (0x71, 0x12, state, 0),  # r2 = its state
            (0x55, 0x02, 8, _LISTEN),  # not a listener: to `fine`
            (0x62, 0x0A, -4, 0),  # room for the answer
            (0xB7, 0x02, 0, _SOL_TCP),
            (0xB7, 0x03, 0, _TCP_BPF_SOCK_OPS_CB_FLAGS),
            (0xBF, 0xA4, 0, 0),
            (0x07, 0x04, 0, -4),
            (0xB7, 0x05, 0, 4),
            (0x85, 0x00, 0, _GETSOCKOPT),
            (0x55, 0x00, 2, 0),  # it is refused: to the last two
            (0xB7, 0x00, 0, 0),  # fine
            (0x95, 0x00, 0, 0),
            (0xB7, 0x00, 0, 1),  # who reads gets EAGAIN
            (0x95, 0x00, 0, 0),
        )
    )
