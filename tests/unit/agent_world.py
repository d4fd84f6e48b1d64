# SPDX-License-Identifier: Apache-2.0
"""A host without a kernel: what `Agent` commands is done to values, and what happens is told to it.

It stands in for the daemon (one worker that does long commands in order, short ones at once), for
the kernel's datapath and for the snapshot file. The tagger is the real one, on fake maps and a fake
/proc. Every command is checked against what must never happen as it is given; `settle` lets
everything that is under way come to its end; what must be the case then says `agent_truth`.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

from agent.core import commands, events
from agent.core.agent import Agent
from agent.core.attest import Facts
from agent.core.commands import Command
from agent.core.events import Event, Source
from agent.core.model import EpochKey, Identity, Mode, Selector, Snapshot, Workload
from agent.core.snapshot import Held, check
from agent.edge.hasher import HashCache, Hasher
from agent.edge.hooks import Pins
from agent.edge.tagger import Tagger
from tests.unit import snapshots
from tests.unit.agent_fakes import FakeKernel, FakeReader, facts

LIFE_SECONDS = 3600
MAX_STEPS = 10_000
"""An agent that still has something to do after so many steps goes in circles."""


def policy(*workloads: tuple[int, Selector]) -> tuple[Workload, ...]:
    return tuple(Workload(number, f"w{number}", "seg", (match,)) for number, match in workloads)


@dataclass(frozen=True)
class Published:
    """A snapshot file's content; `reason` is why its signature or form is bad, if it is."""

    snapshot: Snapshot
    reason: str = ""

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(repr(self.snapshot).encode()).digest()

    @property
    def content(self) -> bytes:
        return repr(self.snapshot).encode()


class World:
    """One host.

    too_large: versions that the kernel has no room for. given: kinds of all long commands so far.
    """

    def __init__(self) -> None:
        self.now = float(snapshots.NOW)
        self.file: Published | None = None
        self.cache: Published | None = None
        self.kernel = FakeKernel()
        self.reader = FakeReader(Path("/"), Path("/"))
        self.version = 0
        self.published: list[Published] = []
        self._started = 0
        self.too_large: set[int] = set()
        self.load_fails = self.attach_fails = self.sockets_scarce = False
        hasher = Hasher(HashCache(), lambda _hashed: None)  # no policy here asks for a hash
        self.tagger = Tagger(self.reader, self.kernel.maps, hasher, Pins(Path("/nowhere")))
        self._known: dict[bytes, Published] = {}
        self.begin()

    @property
    def cached(self) -> Snapshot | None:
        return self.cache.snapshot if self.cache else None

    # What an operator and a machine do.

    def begin(self) -> None:
        """A new agent on what the old one left."""
        self.agent = Agent()
        self.jobs: deque[Command] = deque()
        self.given: list[str] = []
        self.result: Event | None = None
        self.loaded = self.applying = self.walked_attached = False
        self.ready = 0
        self.stopped: int | None = None
        self.observe = False
        self.status = ""
        self.logged: list[commands.Log] = []
        self.file_was_good = False
        self.least_version = self.cache.snapshot.version if self.cache else 0
        self.tell(events.Started(self.now))

    def publish(self, *workloads: tuple[int, Selector]) -> Published:
        """A newer good snapshot, as the compiler makes them."""
        self.version += 1
        made = replace(
            snapshots.snapshot(
                version=self.version,
                modes=dict.fromkeys((Identity.HOST, *(w[0] for w in workloads)), Mode.ENFORCE),
            ),
            workloads=policy(*workloads),
            issued=int(self.now),
            expires=int(self.now) + LIFE_SECONDS,
            receive_secrets=(EpochKey(int(self.now) // 600, bytes(16)),),
        )
        assert check(made, host="a", now=self.now) is None
        self.published.append(Published(made))
        self.put_file(self.published[-1])
        return self.published[-1]

    def put_file(self, file: Published | None) -> None:
        """Any content, or none; the watch tells it at once."""
        self.file = file
        self.tell(events.SnapshotChanged())

    def tick(self, seconds: float) -> None:
        self.now += seconds
        lost, self.kernel.lost = self.kernel.lost, 0
        if lost and self.loaded:
            self.tell(events.ReportsLost(lost))
        self.tell(events.Ticked(self.now))

    def starts(self) -> int:
        """A start time that no process has had."""
        self._started += 1
        return self._started

    def exec(self, of: Facts) -> None:
        self.reader.living[of.pid] = of
        self.reader.missed.discard(of.pid)
        self.kernel.exec(of)

    def fork(self, parent: int, child: int, started: int) -> None:
        made = replace(self.reader.living[parent], pid=child, started=started)
        self.reader.living[child] = made
        if parent in self.reader.missed:
            self.reader.missed.add(child)  # it has its parent's entry
        self.kernel.fork(parent, child)

    def become(self, pid: int, user: str) -> None:
        """setuid: seen with the next socket call."""
        was = self.reader.living[pid]
        self.reader.living[pid] = replace(facts(pid, was.exe, user), started=was.started)
        self.kernel.speak(self.reader.living[pid])

    def exit(self, pid: int) -> None:
        del self.reader.living[pid]
        self.reader.unreadable.discard(pid)
        self.reader.missed.discard(pid)
        self.kernel.exit(pid)

    # The daemon.

    def tell(self, *told: Event) -> None:
        """Hand events to the agent and do what it answers; what that brings about comes after."""
        pending = deque(told)
        while pending and self.stopped is None:
            event = pending.popleft()
            if isinstance(event, events.PolicyApplied | events.PolicyNotApplied):
                self.applying = False
            answer = self.agent.handle(event)
            self._note_file(event, answer)
            for command in answer:
                pending.extend(self._execute(command))

    def _note_file(self, event: Event, answer: list[Command]) -> None:
        """Whether the file has been good in this run; it may yet be older than what came since."""
        if isinstance(event, events.SnapshotRead) and event.source is Source.FILE:
            refused = any(isinstance(c, commands.Log) and "refused" in c.message for c in answer)
            self.file_was_good |= not refused

    def work(self) -> bool:
        """The worker does the oldest job, in a thread: what came of it is heard later.

        False if there is none, or it has not been heard out on the last one.
        """
        if not self.jobs or self.result is not None or self.stopped is not None:
            return False
        self.result = self._do(self.jobs.popleft())
        return True

    def hear(self) -> bool:
        """The agent is told what came of the last job. False if there is nothing to tell."""
        if self.result is None or self.stopped is not None:
            return False
        result, self.result = self.result, None
        self.tell(result)
        return True

    def report(self) -> bool:
        """One question of the kernel reaches the agent. False if there is none."""
        if not self.kernel.reports or self.stopped is not None:
            return False
        self.tell(events.ProcessReported(self.kernel.reports.popleft()))
        return True

    def settle(self) -> World:
        for _ in range(MAX_STEPS):
            if not (self.hear() or self.work() or self.report()):
                return self
        raise AssertionError("the agent goes in circles")

    def _execute(self, command: Command) -> list[Event]:
        """Short ones at once, long ones by the worker; nothing after the end."""
        match command:
            case commands.ReadFacts():
                return self.tagger.read_facts(command)
            case commands.TagProcess():
                return self.tagger.tag(command)
            case commands.TagUnreadable():
                self.tagger.tag_unreadable(command)
            case commands.ForgetProcess():
                self.kernel.maps.delete(command.pid, command.before)
            case commands.RememberExecutable():
                self.kernel.maps.remember_executable(command.key, command.identity)
            case commands.ForgetExecutables():
                self.kernel.maps.forget_executables()
            case commands.WalkSockets(pid=int()):
                return [self._walk_sockets(complete=False)]
            case commands.FeedWatchdog():
                assert self.kernel.attached, "the watchdog is fed before anything is attached"
            case commands.SetObserve():
                self.observe = command.on
            case commands.Log():
                self.logged.append(command)
            case commands.NotifyStatus():
                self.status = command.text
            case commands.NotifyReady():
                self._note_ready()
            case commands.Stop():
                self.stopped = command.code
            case _:
                self._check_order(command)
                self.jobs.append(command)
                self.given.append(type(command).__name__)
        return []

    def _note_ready(self) -> None:
        self.ready += 1
        assert self.ready == 1, "ready is told once"
        assert self.kernel.attached, "ready before anything is attached"
        assert self.walked_attached, "ready before the processes that were there are adopted"

    def _check_order(self, command: Command) -> None:
        if isinstance(command, commands.Attach):
            assert self.loaded, "attach before the load"
        if isinstance(command, commands.ApplyPolicy):
            assert self.loaded, "a policy before the load"
            assert not self.applying, "two policies at once"
            self.applying = True

    def _do(self, job: Command) -> Event | None:
        match job:
            case commands.ReadSnapshot():
                return self._read(job.source, job.held)
            case commands.Load():
                return self._load()
            case commands.Attach():
                return self._attach()
            case commands.ApplyPolicy():
                return self._apply(job.snapshot)
            case commands.WalkProcesses():
                self.walked_attached |= self.kernel.attached
                return self.tagger.walk(job)
            case commands.WalkSockets():
                return self._walk_sockets(complete=True)
            case commands.Verify():
                return events.Verified(() if self.kernel.attached else ("every hook",))
            case commands.SweepExecutables():
                return None
            case commands.WriteCache():
                self.cache = self._known[job.content]
                return None
        raise AssertionError(f"Unexpected command: {job}")

    def _walk_sockets(self, *, complete: bool) -> Event:
        if self.sockets_scarce:
            return events.NotWalked("Too many open files")
        return events.SocketsWalked((), self.kernel.maps.all(), complete)

    def _read(self, source: Source, held: Held | None) -> Event:
        found = self.cache if source is Source.CACHE else self.file
        if found is None:
            return events.SnapshotMissing(source, "/path")
        reason = found.reason or check(
            found.snapshot,
            host="a",
            now=found.snapshot.issued if source is Source.CACHE else self.now,
            digest=found.digest,
            held=held,
        )
        if reason:
            return events.SnapshotRefused(source, reason, held.order if held else None)
        self._known[found.content] = found
        return events.SnapshotRead(source, found.snapshot, found.content, found.digest)

    def _load(self) -> Event:
        if self.load_fails:
            return events.LoadFailed("made up")
        found, self.kernel.loaded, self.loaded = self.kernel.loaded, True, True
        in_force = self.kernel.policy.version << 16 if self.kernel.policy else 0
        return events.Loaded(0.0 if found else 1.0, not self.kernel.attached, in_force)

    def _attach(self) -> Event:
        if self.attach_fails:
            return events.AttachFailed("made up")
        self.kernel.attached = True
        return events.Attached()

    def _apply(self, snapshot: Snapshot) -> Event:
        if snapshot.version in self.too_large:
            return events.PolicyNotApplied(snapshot.version, "the map is full")
        assert snapshot.version >= self.least_version, "an older policy replaces a newer one"
        self.kernel.policy, self.least_version = snapshot, snapshot.version
        return events.PolicyApplied(snapshot.version, snapshot.version << 16, 1, 0.0)
