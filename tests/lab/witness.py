# SPDX-License-Identifier: Apache-2.0
"""Everything that one host's kernel judges, as its agent tells it, kept while a test goes on.

A thread reads the agent's stream of verdicts. It ends with the agent or the host; what was lost on
the way (`suppressed`) is a fault of the test that asks for more than the stream carries.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

import grpc

from agent.pb import local_pb2
from tests.lab.cordon import CordonHost
from tests.lab.waiting import PATIENCE

T = TypeVar("T")


class Witness:
    """flows: all that was told so far."""

    def __init__(self, host: CordonHost) -> None:
        self.flows: list[local_pb2.Flow] = []
        self._stream = host.observe()
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, name=f"witness-{host.lab.name}")
        self._thread.daemon = True  # a stream that never ends must not keep a failed test
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for flow in self._stream:
                with self._news:
                    self.flows.append(flow)
                    self._news.notify_all()

    @property
    def mark(self) -> int:
        """Where `since` begins for what is yet to come."""
        return len(self.flows)

    def since(self, mark: int) -> list[local_pb2.Flow]:
        return self.flows[mark:]

    def wait(self, predicate: Callable[[], T], timeout: float) -> T:
        """Until the predicate, asked after each event, is true; its last answer, also if not."""
        with self._news:
            self._news.wait_for(predicate, timeout * PATIENCE)
        return predicate()
