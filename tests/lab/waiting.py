# SPDX-License-Identifier: Apache-2.0
"""Bounded waits: every wait in a test has an end and says what it waited for.

Polling and not events, because what is waited for lies in the kernel or in another process.
"""

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = float(os.environ.get("CORDON_LAB_PATIENCE", "1"))
"""How many times longer the lab waits for what has to come: an emulated processor is a dozen times
slower. What a test takes for silence is as long as ever, because TCP's own timers are."""


def wait_until(
    predicate: Callable[[], T], reason: str, timeout: float = 5.0, interval: float = 0.01
) -> T:
    """Call `predicate` until it answers something true, and return that answer.

    `reason` completes the sentence "waited N s for ...". Raises AssertionError at the end of
    `timeout` seconds. An exception of the predicate is not caught: it is an answer, too.
    """
    timeout *= PATIENCE
    deadline = time.monotonic() + timeout
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout:g} s for {reason}; last answer: {answer!r}")
        time.sleep(interval * PATIENCE)  # a slow machine has little left over for our asking
