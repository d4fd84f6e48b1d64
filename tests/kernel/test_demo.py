# SPDX-License-Identifier: Apache-2.0
"""The demo, run as a user runs it: it holds, it says so, and it leaves nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.lab import traces_of, wait_until
from tests.lab.names import PREFIX, start_time

ROOT = Path(__file__).resolve().parents[2]
DEMO = [sys.executable, "-m", "tests.lab.demo"]
RUN_SECONDS = 240
"""Some 20 s where nothing else runs."""


@contextmanager
def demo(output: IO[str], *prefix: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running demo in a session of its own, and the name of its lab. It hears Ctrl-C also where
    these tests run in a shell's background, and so without it."""
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *prefix, *DEMO],
        cwd=ROOT,
        env=dict(os.environ),  # and not what a library of ours may have put beside it
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process, f"{PREFIX}{process.pid}-{start_time(process.pid)}-0"
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(RUN_SECONDS)


def test_the_demo_holds_and_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "output"
    with log.open("w") as output, demo(output) as (process, name):
        status = process.wait(RUN_SECONDS)
    text = log.read_text()
    last = re.fullmatch(r"demo: (\d+) checks, (\d+) held", text.splitlines()[-1])
    assert last, text
    assert last[1] == last[2], text
    assert int(last[1]) >= 25
    assert status == 0
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text, "no colour where there is no terminal"
    assert traces_of(name) == []


@pytest.mark.parametrize(
    "moment", ["Cordon in a minute", "A live connection", "what is allowed passes"]
)
def test_ctrl_c_leaves_nothing(tmp_path: Path, moment: str) -> None:
    log = tmp_path / "output"
    with log.open("w") as output, demo(output) as (process, name):
        wait_until(lambda: moment in log.read_text(), f"the demo says {moment!r}", RUN_SECONDS)
        wait_until(lambda: traces_of(name), "the demo has built something", RUN_SECONDS)
        os.killpg(process.pid, signal.SIGINT)
        status = process.wait(RUN_SECONDS)
    text = log.read_text()
    assert status == 130, text
    assert text.splitlines()[-1] == "demo: interrupted; all that it made is removed"
    assert traces_of(name) == []


NO_BTF = 'mount -t tmpfs none /sys/kernel/btf; exec "$@"'
EMPTY_BTF = 'mount --bind /dev/null /sys/kernel/btf/vmlinux; exec "$@"'


@pytest.mark.parametrize(
    ("prefix", "sentence"),
    [
        (["unshare", "--user"], "it needs root"),
        (["unshare", "--mount", "sh", "-c", NO_BTF, "-"], "the kernel does not describe itself"),
        (["unshare", "--mount", "sh", "-c", EMPTY_BTF, "-"], "the agent on"),
    ],
    ids=["no root", "no BTF", "unreadable BTF"],
)
def test_what_the_machine_lacks_is_said_in_a_sentence(
    tmp_path: Path, prefix: list[str], sentence: str
) -> None:
    log = tmp_path / "output"
    with log.open("w") as output, demo(output, *prefix) as (process, name):
        status = process.wait(RUN_SECONDS)
    text = log.read_text()
    assert status == 2, text
    assert f"demo: cannot run: {sentence}" in text
    assert "Traceback" not in text
    assert traces_of(name) == []
