# SPDX-License-Identifier: Apache-2.0
"""What runs inside a puppet: socket operations on command, JSON lines in, JSON lines out.

Each line in is a list of operations, each line out the list of their results. An operation that
fails answers with the errno's name, or TIMEOUT when its own bound was reached; the rest of the
list is done all the same. Every operation is bounded. It imports nothing of the lab, because its
source is handed to a bare interpreter that may run as a user who cannot read the checkout.
"""

import base64
import errno
import json
import select
import socket
import struct
import sys
from typing import Any

Operation = dict[str, Any]
Result = dict[str, Any]

sockets: dict[int, socket.socket] = {}


def socket_(op: Operation) -> Result:
    made = socket.socket(op["family"], op["type"], op["proto"])
    for level, name, value in op["options"]:
        made.setsockopt(level, name, value if isinstance(value, int) else base64.b64decode(value))
    if op["bind"]:
        made.bind(tuple(op["bind"]))
    sockets[op["handle"]] = made
    return {"address": made.getsockname()} if op["bind"] else {}


def listen(op: Operation) -> Result:
    sockets[op["handle"]].listen(op["backlog"])
    return getsockname(op)


def connect(op: Operation) -> Result:
    connecting = _bounded(op)
    connecting.connect(tuple(op["to"]))
    return {"address": connecting.getsockname()}


def fastopen(op: Operation) -> Result:
    """Connect and send in one step; without a cookie the data follow the handshake."""
    connecting = _bounded(op)
    try:
        connecting.sendto(_data(op), socket.MSG_FASTOPEN, tuple(op["to"]))
    except BlockingIOError:  # EINPROGRESS: the SYN asks for a cookie, nothing was queued
        connect_finish(op)
        connecting.sendall(_data(op))
    return {"count": len(_data(op)), "address": connecting.getsockname()}


def connect_start(op: Operation) -> Result:
    """Begin to connect and do not wait; connect_finish tells how it went."""
    connecting = sockets[op["handle"]]
    connecting.setblocking(False)
    code = connecting.connect_ex(tuple(op["to"]))
    if code not in (0, errno.EINPROGRESS):
        raise OSError(code, "connect")
    return {"address": connecting.getsockname()}


def connect_finish(op: Operation) -> Result:
    connecting = sockets[op["handle"]]
    _, writable, _ = select.select([], [connecting], [], op["timeout"])
    if not writable:
        raise TimeoutError
    code = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, "connect")
    return getsockname(op)


def accept(op: Operation) -> Result:
    accepted, peer = _bounded(op).accept()
    sockets[op["accepted"]] = accepted
    return {"address": peer}


def send(op: Operation) -> Result:
    _bounded(op).sendall(_data(op))
    return {"count": len(_data(op))}


def sendto(op: Operation) -> Result:
    return {"count": _bounded(op).sendto(_data(op), tuple(op["to"]))}


def recv(op: Operation) -> Result:
    """Receive exactly `size` bytes, or fewer if the peer ends the stream before."""
    receiving = _bounded(op)
    got = b""
    while len(got) < op["size"]:
        piece = receiving.recv(op["size"] - len(got))
        if not piece:
            break
        got += piece
    return {"data": base64.b64encode(got).decode()}


def recvfrom(op: Operation) -> Result:
    data, peer = _bounded(op).recvfrom(op["size"])
    return {"data": base64.b64encode(data).decode(), "address": peer}


def getsockname(op: Operation) -> Result:
    return {"address": sockets[op["handle"]].getsockname()}


def getpeername(op: Operation) -> Result:
    return {"address": sockets[op["handle"]].getpeername()}


def setsockopt(op: Operation) -> Result:
    value = op["value"]
    raw = value if isinstance(value, int) else base64.b64decode(value)
    sockets[op["handle"]].setsockopt(op["level"], op["name"], raw)
    return {}


def getsockopt(op: Operation) -> Result:
    data = sockets[op["handle"]].getsockopt(op["level"], op["name"], op["size"])
    return {"data": base64.b64encode(data).decode()}


def shutdown(op: Operation) -> Result:
    sockets[op["handle"]].shutdown(socket.SHUT_WR)
    return {}


def close(op: Operation) -> Result:
    """Close, with `reset` by a RST: no TIME_WAIT is left. A handle that is not open is no error."""
    closing = sockets.pop(op["handle"], None)
    if closing is not None:
        if op["reset"]:
            linger = struct.pack("ii", 1, 0)
            closing.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        closing.close()
    return {}


OPERATIONS = {
    "socket": socket_,
    "listen": listen,
    "connect": connect,
    "fastopen": fastopen,
    "connect_start": connect_start,
    "connect_finish": connect_finish,
    "accept": accept,
    "send": send,
    "sendto": sendto,
    "recv": recv,
    "recvfrom": recvfrom,
    "getsockname": getsockname,
    "getpeername": getpeername,
    "setsockopt": setsockopt,
    "getsockopt": getsockopt,
    "shutdown": shutdown,
    "close": close,
}


def _bounded(op: Operation) -> socket.socket:
    found = sockets[op["handle"]]
    found.settimeout(op["timeout"])
    return found


def _data(op: Operation) -> bytes:
    return base64.b64decode(op["data"])


def perform(op: Operation) -> Result:
    """Do one operation; what the kernel refuses is a result, not a failure."""
    try:
        return OPERATIONS[op["op"]](op)
    except KeyError:
        return {"error": "EBADF"}  # a handle that an earlier operation of the list failed to open
    except OSError as failure:
        if failure.errno is None:
            return {"error": "TIMEOUT"}
        return {"error": errno.errorcode.get(failure.errno, str(failure.errno))}


def main() -> None:
    """Obey until the commanding end closes."""
    for line in sys.stdin:
        print(json.dumps([perform(op) for op in json.loads(line)]), flush=True)


main()
