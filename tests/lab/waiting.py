# SPDX-License-Identifier: Apache-2.0
"""Bounded waits: every wait in a test has an end and says what it waited for.

Polling and not events, because what is waited for lies in the kernel or in another process.
"""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    predicate: Callable[[], T], reason: str, timeout: float = 5.0, interval: float = 0.01
) -> T:
    """Call `predicate` until it answers something true, and return that answer.

    `reason` completes the sentence "waited N s for ...". Raises AssertionError at the end of
    `timeout` seconds. An exception of the predicate is not caught: it is an answer, too.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout:g} s for {reason}; last answer: {answer!r}")
        time.sleep(interval)
