# SPDX-License-Identifier: Apache-2.0
"""What the agent asks of the scheduler, asked of the real one from a thread of its own."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Callable

import pytest

from agent.edge import scheduling

_SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}


def attributes() -> scheduling.SchedAttr:
    """Of the calling thread."""
    answer = scheduling.SchedAttr()
    number = _SCHED_GETATTR[platform.machine()]
    size = ctypes.sizeof(answer)
    assert ctypes.CDLL(None).syscall(number, 0, ctypes.byref(answer), size, 0) == 0
    return answer


def in_a_thread(
    *work: Callable[[], object],
) -> scheduling.SchedAttr:
    """The scheduler knows threads: what one asks for ends with it."""
    answers: list[scheduling.SchedAttr] = []

    def run() -> None:
        for step in work:
            step()
        answers.append(attributes())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return answers[0]


def test_the_thread_that_asks_keeps_its_share_and_hands_nothing_down() -> None:
    before = in_a_thread()
    after = in_a_thread(scheduling.ask_for_short_turns)
    assert (after.policy, after.nice, after.priority) == (before.policy, before.nice, 0)
    assert after.flags == scheduling.RESET_ON_FORK


@pytest.mark.skipif(
    tuple(map(int, platform.release().split(".")[:2])) < (6, 12), reason="slices came with 6.12"
)
def test_the_thread_that_asks_gets_short_turns() -> None:
    assert in_a_thread(scheduling.ask_for_short_turns).runtime == scheduling.SLICE_NS


def test_a_policy_that_an_operator_chose_stays() -> None:
    def batch() -> None:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))

    after = in_a_thread(batch, scheduling.ask_for_short_turns)
    assert (after.policy, after.flags) == (os.SCHED_BATCH, 0)


def test_an_unknown_machine_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(OSError, match="no known number on vax"):
        scheduling.ask_for_short_turns()
