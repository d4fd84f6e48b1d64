# SPDX-License-Identifier: Apache-2.0
"""Hashes of executables: read through descriptors of the very files, beside everything else.

One job runs at a time, in a thread of its own, and has a bound of time: a file system that does not
answer cannot be interrupted, so its thread is left behind and the next job gets another one, until
`MAX_STUCK` of them wait; then a job fails at once. The cache answers for a version of a file
(device, inode, ctime, mtime, size): whoever writes to a file changes its ctime, which only the
kernel sets. A file that changes while it is read has no hash.

What could not be hashed is remembered too, so that it is not tried for each process, until the
policy changes; a file that is too large for the policy's limit is looked at anew under another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.core.events import ExecutableHashed, ProcessReport

HASH_SECONDS = 10.0
MAX_FILES = 256
MAX_WAITING = 16384
"""Processes that wait for one file. Beyond either bound a process is attested without the hash."""
MAX_CACHED = 16384
MAX_STUCK = 4
_CHUNK = 1 << 20

Version = tuple[int, int, int, int, int]
"""Device, inode, ctime, mtime (ns), size."""


def version_of(found: os.stat_result) -> Version:
    return found.st_dev, found.st_ino, found.st_ctime_ns, found.st_mtime_ns, found.st_size


@dataclass(frozen=True, slots=True)
class Hashed:
    """What came of a file. sha256: empty if it has none, for `reason`."""

    sha256: str
    reason: str = ""


class HashCache:
    """Versions of files and their hashes; the one that was asked for longest ago goes first."""

    def __init__(self, bound: int = MAX_CACHED) -> None:
        self._bound = bound
        self._known: OrderedDict[Version, Hashed] = OrderedDict()
        self._lock = threading.Lock()  # the loop and a walk ask at the same time

    def get(self, version: Version) -> Hashed | None:
        with self._lock:
            found = self._known.get(version)
            if found is not None:
                self._known.move_to_end(version)
            return found

    def put(self, version: Version, hashed: Hashed) -> None:
        with self._lock:
            self._known[version] = hashed
            if len(self._known) > self._bound:
                self._known.popitem(last=False)

    def forget_failures(self) -> None:
        with self._lock:
            for version in [v for v, hashed in self._known.items() if not hashed.sha256]:
                del self._known[version]


class TooMany(Exception):
    """The queue is full."""


@dataclass
class _Job:
    """waiting: who asks for it, by pid and generation."""

    fd: int
    limit: int
    path: str
    waiting: dict[tuple[int, int], ProcessReport] = field(default_factory=dict)


class Hasher:
    """`ask` never waits; `work` runs for as long as the daemon does.

    tell: called in the loop for each file that was asked for, whatever came of it.
    """

    def __init__(
        self,
        cache: HashCache,
        tell: Callable[[ExecutableHashed], None],
        seconds: float = HASH_SECONDS,
    ) -> None:
        self._cache = cache
        self._tell = tell
        self._seconds = seconds
        self._jobs: OrderedDict[Version, _Job] = OrderedDict()
        self._stirred = asyncio.Event()
        self._stuck: set[threading.Thread] = set()

    def ask(self, report: ProcessReport, fd: int, path: str, limit: int) -> None:
        """Hash an open file of at most `limit` bytes; takes the descriptor over. `path` is for
        people. Raises TooMany or OSError."""
        try:
            version = version_of(os.fstat(fd))
            job = self._jobs.get(version)
            if job is None and len(self._jobs) >= MAX_FILES:
                raise TooMany(f"{MAX_FILES} files wait to be hashed")
            if job is not None and len(job.waiting) >= MAX_WAITING:
                raise TooMany(f"{MAX_WAITING} processes wait for the hash of {path}")
        except BaseException:
            os.close(fd)
            raise
        if job is not None:
            os.close(fd)
        else:
            job = self._jobs[version] = _Job(fd, limit, path)
            self._stirred.set()
        job.waiting[report.pid, report.generation] = report

    async def work(self) -> None:
        """One file after the other. Never raises but for its cancellation."""
        try:
            while True:
                await self._stirred.wait()
                self._stirred.clear()
                while self._jobs:
                    version, job = next(iter(self._jobs.items()))
                    hashed = await self._hash(version, job)
                    self._cache.put(version, hashed)
                    del self._jobs[version]
                    self._tell(_event(job, hashed))
        finally:
            for job in self._jobs.values():
                with contextlib.suppress(OSError):  # the one under way closes its own
                    os.close(job.fd)
            self._jobs.clear()

    async def _hash(self, version: Version, job: _Job) -> Hashed:
        fd, job.fd = job.fd, -1
        self._stuck = {thread for thread in self._stuck if thread.is_alive()}
        if version[4] > job.limit or len(self._stuck) >= MAX_STUCK:
            os.close(fd)
            if version[4] > job.limit:
                return Hashed("", f"it has {version[4]} bytes, the limit is {job.limit}")
            return Hashed("", "other files' reading does not come to an end")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Hashed] = loop.create_future()

        def tell(hashed: Hashed) -> None:
            if not answer.done():
                answer.set_result(hashed)

        def work() -> None:
            hashed = hash_file(fd, version, self._seconds)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(tell, hashed)

        thread = threading.Thread(target=work, name="hash", daemon=True)
        thread.start()
        try:
            return await asyncio.wait_for(answer, self._seconds + 1)
        except TimeoutError:
            self._stuck.add(thread)
            return Hashed("", f"its file system did not answer within {self._seconds:g} s")


def _event(job: _Job, hashed: Hashed) -> ExecutableHashed:
    return ExecutableHashed(tuple(job.waiting.values()), job.path, hashed.sha256, hashed.reason)


def hash_file(fd: int, version: Version, seconds: float) -> Hashed:
    """Closes the descriptor. Never raises."""
    digest = hashlib.sha256()
    deadline = time.monotonic() + seconds
    try:
        with open(fd, "rb", buffering=0) as file:
            left = version[4]
            while left > 0 and (piece := file.read(min(_CHUNK, left))):
                left -= len(piece)
                digest.update(piece)
                if time.monotonic() > deadline:
                    return Hashed("", f"reading it took more than {seconds:g} s")
            if left or version_of(os.fstat(file.fileno())) != version:
                return Hashed("", "it changed while it was read")
    except OSError as error:
        return Hashed("", str(error.strerror))
    return Hashed(digest.hexdigest())
