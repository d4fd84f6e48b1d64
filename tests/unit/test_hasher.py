# SPDX-License-Identifier: Apache-2.0
"""Hashing beside the loop: what is told, what is bounded, what is remembered."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.core.events import ExecutableHashed, ProcessReport
from agent.edge import hasher
from agent.edge.hasher import HashCache, Hashed, Hasher, TooMany, hash_file, version_of

CONTENT = b"\x7fELF" * 1000
LIMIT = 1 << 20


def open_file(path: Path) -> int:
    return os.open(path, os.O_RDONLY)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    path.write_bytes(CONTENT)
    return path


def run(
    work: Callable[[Hasher], None], expected: int, cache: HashCache | None = None, **settings: float
) -> list[ExecutableHashed]:
    """What is told until `expected` files have been."""

    async def body() -> list[ExecutableHashed]:
        told: list[ExecutableHashed] = []
        enough = asyncio.Event()

        def tell(event: ExecutableHashed) -> None:
            told.append(event)
            if len(told) >= expected:
                enough.set()

        made = Hasher(cache or HashCache(), tell, **settings)
        task = asyncio.create_task(made.work())
        work(made)
        await asyncio.wait_for(enough.wait(), 20)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return told

    return asyncio.run(body())


def test_hash_is_told_to_all_who_wait_and_remembered(file: Path) -> None:
    cache = HashCache()

    def work(made: Hasher) -> None:
        for pid in (1, 2, 2):
            made.ask(ProcessReport(pid, 0), open_file(file), str(file), LIMIT)

    (event,) = run(work, 1, cache)
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert event == ExecutableHashed((ProcessReport(1, 0), ProcessReport(2, 0)), str(file), digest)
    assert cache.get(version_of(file.stat())) == Hashed(digest)


def test_file_beyond_the_limit_has_no_hash_and_says_so(file: Path) -> None:
    cache = HashCache()
    (event,) = run(lambda h: h.ask(ProcessReport(1, 0), open_file(file), "p", 10), 1, cache)
    assert (event.sha256, event.reason) == ("", "it has 4000 bytes, the limit is 10")
    cache.forget_failures()
    assert cache.get(version_of(file.stat())) is None


def test_file_that_changes_meanwhile_has_no_hash(file: Path) -> None:
    version = version_of(file.stat())
    file.write_bytes(CONTENT[::-1])
    os.utime(file, ns=(1, 1))
    found = hash_file(open_file(file), version, 10)
    assert found == Hashed("", "it changed while it was read")


def test_file_that_ends_early_has_no_hash(file: Path) -> None:
    version = version_of(file.stat())
    os.truncate(file, 10)
    assert hash_file(open_file(file), version, 10).sha256 == ""


def test_reading_has_a_bound_of_time(file: Path) -> None:
    found = hash_file(open_file(file), version_of(file.stat()), -1)
    assert found == Hashed("", "reading it took more than -1 s")


def test_file_system_that_does_not_answer_stops_nobody(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first read hangs; the job is given up, and the next one is done by another thread."""
    import threading

    release = threading.Event()
    real = hasher.hash_file

    def hanging(fd: int, version: hasher.Version, seconds: float) -> Hashed:
        if version[4] == 3:
            release.wait(20)
        return real(fd, version, seconds)

    monkeypatch.setattr(hasher, "hash_file", hanging)
    stuck = tmp_path / "stuck"
    stuck.write_bytes(b"abc")

    def work(made: Hasher) -> None:
        made.ask(ProcessReport(1, 0), open_file(stuck), "stuck", LIMIT)
        made.ask(ProcessReport(2, 0), open_file(file), "file", LIMIT)

    first, second = run(work, 2, seconds=-0.95)
    release.set()
    assert (first.path, first.sha256) == ("stuck", "")
    assert "did not answer" in first.reason
    assert second.path == "file"


def test_queue_is_bounded(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hasher, "MAX_FILES", 1)
    monkeypatch.setattr(hasher, "MAX_WAITING", 1)
    other = tmp_path / "other"
    other.write_bytes(b"x")
    before = len(os.listdir("/proc/self/fd"))

    def work(made: Hasher) -> None:
        made.ask(ProcessReport(1, 0), open_file(file), "file", LIMIT)
        with pytest.raises(TooMany, match="files wait"):
            made.ask(ProcessReport(2, 0), open_file(other), "other", LIMIT)
        with pytest.raises(TooMany, match="processes wait"):
            made.ask(ProcessReport(3, 0), open_file(file), "file", LIMIT)

    run(work, 1)
    assert len(os.listdir("/proc/self/fd")) <= before, "no descriptor is left open"


def test_cache_is_bounded_and_drops_what_was_asked_for_longest_ago() -> None:
    cache = HashCache(bound=2)
    one, two, three = ((number, 0, 0, 0, 0) for number in range(3))
    cache.put(one, Hashed("1"))
    cache.put(two, Hashed("2"))
    cache.get(one)
    cache.put(three, Hashed("3"))
    assert [cache.get(v) for v in (one, two, three)] == [Hashed("1"), None, Hashed("3")]
