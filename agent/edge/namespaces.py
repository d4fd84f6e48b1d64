# SPDX-License-Identifier: Apache-2.0
"""Doing something in the network namespace of another process.

In a thread of its own, which enters the namespace and ends there: this process never leaves its
own. A socket that is made there belongs to the namespace for good.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

_CLONE_NEWNET = 0x40000000

T = TypeVar("T")


def inside(pid: int, work: Callable[[], T]) -> T:
    """What `work` returns or raises. Raises OSError where the namespace cannot be entered."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    answers: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            _enter(namespace)
            answers.append(work())
        except BaseException as failure:
            failures.append(failure)

    try:
        thread = threading.Thread(target=run, name="namespace")
        thread.start()
        thread.join()
    finally:
        os.close(namespace)
    if failures:
        raise failures[0]
    return answers[0]


def _enter(namespace: int) -> None:
    """setns(2), which Python has from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f"entering a network namespace: {os.strerror(code)}")
