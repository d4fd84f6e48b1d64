# SPDX-License-Identifier: Apache-2.0
"""A stream of answers, taken one by one, until nobody wants more of it.

Ctrl-C and a reader that goes away both end it well, and at once also where no event comes: a thread
watches for them and cancels the call. Ctrl-C is not left to KeyboardInterrupt, for one that is
raised while gRPC calls back is swallowed there.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc

from agent.cli.output import print_line, silence

T = TypeVar("T")


def follow(begin: Callable[[], Any], line: Callable[[T], str], count: int | None) -> None:
    """Print each answer of a streaming call, at most `count`. Raises grpc.RpcError."""

    def show(answer: T) -> None:
        print_line(line(answer))

    take_each(begin, show, count)


def take_each(
    begin: Callable[[], Any], take: Callable[[T], None], count: int | None = None
) -> bool:
    """Whether the stream was taken to its end, or to `count`. Raises grpc.RpcError.

    begin: makes the call; not made before, so that Ctrl-C is ours from its first moment.
    """
    unwanted = threading.Event()
    with _interrupts() as interrupts:
        call = begin()
        watch = threading.Thread(target=_watch, args=(call, interrupts, unwanted), daemon=True)
        watch.start()
        try:
            for answer in itertools.islice(call, count):
                take(answer)
        except BrokenPipeError:
            silence()
        except grpc.RpcError:
            if not unwanted.is_set():
                raise
        wanted = not unwanted.is_set()
        call.cancel()
    watch.join()
    return wanted


def _watch(call: Any, interrupts: int, unwanted: threading.Event) -> None:
    watched = select.poll()
    watched.register(interrupts, select.POLLIN)
    with contextlib.suppress(io.UnsupportedOperation):
        watched.register(sys.stdout.fileno(), 0)  # errors are told without being asked for
    watched.poll()
    os.close(interrupts)
    unwanted.set()
    call.cancel()


@contextlib.contextmanager
def _interrupts() -> Iterator[int]:
    """A descriptor that becomes readable with Ctrl-C, and at the end."""
    reader, writer = os.pipe()
    before = signal.signal(signal.SIGINT, lambda *_: os.write(writer, b"\0"))
    try:
        yield reader
    finally:
        signal.signal(signal.SIGINT, before)
        os.close(writer)
