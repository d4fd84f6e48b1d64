# SPDX-License-Identifier: Apache-2.0
"""What runs inside a load: connects, talks or serves until its standard input ends.

A line in is answered with a line out, the counts so far as JSON. It imports nothing of the lab,
because its source is handed to a bare interpreter. Short connections are ended by a RST, so that
tens of thousands of them leave no TIME_WAIT behind and need no port twice.
"""

import contextlib
import errno
import itertools
import json
import resource
import select
import selectors
import socket
import struct
import sys
import time
from collections import Counter, defaultdict, deque
from typing import Any

Order = dict[str, Any]

MAX_ODD = 50
MAX_OPEN = 12_000
"""A server's connections; the longest idle goes: its client may have been cut off by policy."""
RESET = struct.pack("ii", 1, 0)
ENDED = "ENDED"

record: Any = None
"""Where each connection is written down, a line of JSON each, if the order says so."""
counts: dict[str, Counter[str]] = defaultdict(Counter)
odd: list[dict[str, Any]] = []


def told_to_stop(seconds: float | None) -> bool:
    """Wait so long for a command (None: until one comes), and answer it."""
    if not select.select([sys.stdin], [], [], seconds)[0]:
        return False
    if not sys.stdin.readline():
        return True
    if record is not None:
        record.flush()
    print(json.dumps({"counts": counts, "odd": odd}), flush=True)
    return False


def note(lane: Order, outcome: str, port: int) -> None:
    counts[lane["name"]][outcome] += 1
    if outcome not in lane["expect"] and len(odd) < MAX_ODD:
        at = time.monotonic()
        odd.append({"lane": lane["name"], "outcome": outcome, "port": port, "at": at})


def write_down(*told: Any) -> None:
    if record is not None:
        record.write(json.dumps(told) + "\n")


def outcome_of(failure: OSError) -> str:
    if failure.errno is None or failure.errno == errno.EAGAIN:
        return "TIMEOUT"
    return errno.errorcode.get(failure.errno, str(failure.errno))


def make(lane: Order) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in lane["address"] else socket.AF_INET)
    made.settimeout(lane["timeout"])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    return made


def connect(order: Order) -> None:
    """Short connections, one lane after the other."""
    for lane in itertools.cycle(order["lanes"]):
        with make(lane) as made:
            began = time.monotonic()
            try:
                made.connect((lane["address"], lane["port"]))
                outcome = "ok"
            except OSError as failure:
                outcome = outcome_of(failure)
            ended, own = time.monotonic(), made.getsockname()[1]
            note(lane, outcome, own)
            write_down(lane["name"], lane["port"], outcome, own, began, ended)
        if told_to_stop(order["pause"]):
            return


def talk(order: Order) -> None:
    """A byte there and back, on one long connection after the other; a broken one stays broken."""
    lane = order["lanes"][0]
    open_: deque[socket.socket] = deque()
    for _ in range(order["connections"]):
        made = make(lane)
        made.connect((lane["address"], lane["port"]))
        open_.append(made)
    while not told_to_stop(order["pause"]):
        if not open_:
            continue
        open_.rotate()
        outcome = exchange(open_[0])
        note(lane, outcome, open_[0].getsockname()[1])
        if outcome not in ("ok", "TIMEOUT"):
            open_.popleft().close()


def exchange(talking: socket.socket) -> str:
    try:
        talking.sendall(b"x")
        return "ok" if talking.recv(1) else ENDED
    except OSError as failure:
        return outcome_of(failure)


def serve(order: Order) -> None:
    """Accept everything, echo every byte, close what the client has closed."""
    server = Server(order["ports"])
    while True:
        for key, _ in server.selector.select():
            if key.fileobj is sys.stdin:
                if told_to_stop(0):
                    return
            elif key.data is not None:
                server.take(key.fileobj, key.data)
            else:
                server.echo(key.fileobj)


class Server:
    """Its listeners, and its open connections in the order of their last byte."""

    def __init__(self, ports: list[int]) -> None:
        self.selector = selectors.DefaultSelector()
        self._open: dict[Any, None] = {}
        for port in ports:
            listener = socket.create_server(
                ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
            )
            listener.setblocking(False)
            self.selector.register(listener, selectors.EVENT_READ, port)
        self.selector.register(sys.stdin, selectors.EVENT_READ)

    def take(self, listener: Any, port: int) -> None:
        with contextlib.suppress(OSError):
            fresh, peer = listener.accept()
            write_down("accepted", port, peer[1], time.monotonic())
            fresh.setblocking(False)
            self.selector.register(fresh, selectors.EVENT_READ)
            self._open[fresh] = None
            counts[str(port)]["ok"] += 1
        if len(self._open) > MAX_OPEN:
            self._drop(next(iter(self._open)))

    def echo(self, talking: Any) -> None:
        try:
            data = talking.recv(4096)
            talking.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._drop(talking)
            return
        self._open.pop(talking, None)
        self._open[talking] = None

    def _drop(self, closing: Any) -> None:
        if self._open.pop(closing, closing) is closing:
            return  # an event of this turn came for one that is gone already
        self.selector.unregister(closing)
        closing.close()


def main() -> None:
    """The first command starts it: until then its process can be attested."""
    global record
    order = json.loads(sys.argv[1])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if order.get("record"):
        record = open(order["record"], "w", encoding="ascii")  # noqa: SIM115 # as long as it runs
    if told_to_stop(None):
        return
    {"connect": connect, "talk": talk, "serve": serve}[order["kind"]](order)


main()
