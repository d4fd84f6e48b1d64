# SPDX-License-Identifier: Apache-2.0
"""The daemon's mind: `Agent.handle(event) -> list[Command]`. Pure: no I/O, no clock, no waiting.

The order at start is the safety argument: nothing is attached before maps and programs are pinned
and, where there is a policy, before it is in the kernel; processes are adopted before and after
attaching, so that none is held for having been there first. After a restart the pins are found in
place: nothing is ever cleared, the old policy judges until the new one has been built beside it.

starting -> loading -> (cached | syncing) -> in_sync <-> stale -> expired

- syncing: no snapshot has ever been good here; everything passes and is counted.
- cached: the last good one of an earlier run is in force; the file has not been good in this run.
- stale: the file has since gone, or is refused, or could not be applied; the last good one stays.
- expired: the one in force has passed its expiry. Enforcement goes on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

from agent.core import attest, events, tagging
from agent.core.commands import (
    ApplyPolicy,
    Attach,
    Command,
    ForgetExecutables,
    Level,
    Load,
    Log,
    NotifyReady,
    NotifyStatus,
    ReadFacts,
    ReadSnapshot,
    SetObserve,
    Stop,
    TagUnreadable,
    WalkProcesses,
    WriteCache,
)
from agent.core.events import Event, Source
from agent.core.model import Action, Snapshot

MAX_WALKS = 5
"""A walk that changed something is followed by another, for a child may have copied an old tag
meanwhile. Under endless churn this is the end of it; what is left is told by its next socket."""


class State(Enum):
    STARTING = "starting"
    LOADING = "loading"
    SYNCING = "syncing"
    CACHED = "cached"
    IN_SYNC = "in_sync"
    STALE = "stale"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A good snapshot; its bytes are kept only until they are in the cache."""

    source: Source
    snapshot: Snapshot
    content: bytes
    digest: bytes


def _log(level: Level, message: str, **fields: str | int | float) -> Log:
    return Log(level, message, tuple(fields.items()))


class Agent:
    """All that the daemon knows. Everything public is for reading."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        """In force in the kernel, as far as this run knows."""
        self.refused = ""
        """Why the newest snapshot is not in force; empty if it is."""
        self.applied: events.PolicyApplied | None = None
        self.load_seconds = 0.0
        self._stage = State.STARTING
        self._at = 0.0
        self._attach_pending = False
        self._attached = False
        self._ready = False
        self._walks = 0
        self._file_good = False
        self._file_was_good = False
        self._digest = b""
        self._applying: Candidate | None = None
        self._waiting: list[Candidate] = []
        self._told: State | None = None
        self._conflicts: set[str] = set()
        self._cacheable = True

    @property
    def state(self) -> State:
        if self._stage is not State.IN_SYNC:
            return self._stage
        if self.snapshot is None:
            return State.SYNCING
        if self._at >= self.snapshot.expires:
            return State.EXPIRED
        if self._file_good:
            return State.IN_SYNC
        return State.STALE if self._file_was_good else State.CACHED

    @property
    def floor(self) -> int:
        """The version below which no snapshot is taken."""
        at_hand = [c.snapshot.version for c in self._waiting]
        if self._applying is not None:
            at_hand.append(self._applying.snapshot.version)
        if self.snapshot is not None:
            at_hand.append(self.snapshot.version)
        return max(at_hand, default=0)

    @property
    def lifelines(self) -> tuple[str, ...]:
        rules = self.snapshot.rules if self.snapshot is not None else ()
        return tuple(sorted({r.name for r in rules if r.action is Action.LIFELINE}))

    def judge(self, facts: attest.Facts) -> attest.Attestation:
        """Who a process is under the policy in force."""
        return attest.attest(facts, self.snapshot.workloads if self.snapshot is not None else ())

    @property
    def exe_paths(self) -> frozenset[str]:
        """Paths of executables that the policy in force names."""
        return self._exe_paths

    _exe_paths: frozenset[str] = frozenset()

    def handle(self, event: Event) -> list[Command]:
        """What to do now that `event` has happened."""
        commands = self._dispatch(event)
        state = self.state
        if state is not self._told:
            self._told = state
            commands += [_log(_state_level(state), "state", state=state.value), self._notify()]
        return commands

    def _dispatch(self, event: Event) -> list[Command]:
        match event:
            case events.FactsRead():
                return self._on_facts(event)
            case events.ProcessReported():
                return [ReadFacts(event.report, self._exe_paths)]
            case events.FactsNotRead():
                return _on_facts_not_read(event)
            case events.ProcessesWalked():
                return self._on_walked(event)
            case events.ObserversChanged():
                return [SetObserve(event.count > 0)]
            case events.Ticked():
                self._at = event.at
                return []
            case events.StopRequested():
                return [_log(Level.INFO, "stopping, enforcement goes on", signal=event.signal),
                        Stop(0)]  # fmt: skip
            case _:
                return self._dispatch_policy(event)

    def _dispatch_policy(self, event: Event) -> list[Command]:
        match event:
            case events.Started():
                self._at, self._stage = event.at, State.LOADING
                return [ReadSnapshot(Source.CACHE, 0)]
            case events.SnapshotRead():
                return self._on_snapshot(event)
            case events.SnapshotRefused():
                return self._on_refused(event)
            case events.SnapshotMissing():
                return self._on_missing(event)
            case events.Loaded():
                return self._on_loaded(event)
            case events.LoadFailed():
                return _give_up("cannot load the datapath", event.reason)
            case events.PolicyApplied():
                return self._on_applied(event)
            case events.PolicyNotApplied():
                return self._on_not_applied(event)
            case events.Attached():
                self._attached, self._attach_pending, self._walks = True, False, 0
                return [_log(Level.INFO, "attached"), WalkProcesses(self._exe_paths)]
            case events.AttachFailed():
                return _give_up("cannot attach the datapath", event.reason)
            case _:
                raise AssertionError(f"Unexpected event: {event}")

    # Snapshots.

    def _after_read(self, source: Source) -> list[Command]:
        """The cache is read first, for its version is the floor for the file."""
        if source is Source.CACHE:
            return [ReadSnapshot(Source.FILE, self.floor), Load()]
        return []

    def _on_snapshot(self, event: events.SnapshotRead) -> list[Command]:
        digest = hashlib.sha256(event.content).digest()
        if event.source is Source.FILE:
            problem = self._same_version_differs(event.snapshot, digest)
            if problem:
                return self._refuse_file(problem)
            self._file_good = self._file_was_good = True
            self.refused = ""
        if self._at_hand(digest):
            return self._after_read(event.source)
        self._waiting.append(Candidate(event.source, event.snapshot, event.content, digest))
        return [*self._after_read(event.source), *self._apply_next()]

    def _at_hand(self, digest: bytes) -> bool:
        known = [c.digest for c in self._waiting]
        if self._applying is not None:
            known.append(self._applying.digest)
        return digest in known or (not known and digest == self._digest)

    def _same_version_differs(self, snapshot: Snapshot, digest: bytes) -> str:
        if snapshot.version != self.floor or self._at_hand(digest) or digest == self._digest:
            return ""
        return (
            f"version {snapshot.version} is in force already with other content: a changed policy "
            "needs a higher version, compile it again"
        )

    def _on_refused(self, event: events.SnapshotRefused) -> list[Command]:
        if event.source is Source.CACHE:
            return [
                _log(Level.WARNING, "the policy cache is not usable, ignoring",
                     reason=event.reason),
                *self._after_read(event.source),
            ]  # fmt: skip
        return self._refuse_file(event.reason)

    def _refuse_file(self, reason: str) -> list[Command]:
        self._file_good = False
        self.refused = reason
        return [_log(Level.WARNING, "snapshot refused, the last good one stays", reason=reason)]

    def _on_missing(self, event: events.SnapshotMissing) -> list[Command]:
        if event.source is Source.CACHE:
            return self._after_read(event.source)
        self._file_good = False
        return [_log(Level.WARNING, "no snapshot file, waiting for one", path=event.path)]

    # Loading, applying, attaching.

    def _on_loaded(self, event: events.Loaded) -> list[Command]:
        self.load_seconds = event.seconds
        self._attach_pending = event.attach_pending
        self._stage = State.IN_SYNC
        self._attached = not event.attach_pending
        commands: list[Command] = [
            _log(Level.INFO, "loaded", seconds=round(event.seconds, 3),
                 attach_pending=int(event.attach_pending))
        ]  # fmt: skip
        return commands + (self._apply_next() or self._go_on())

    def _apply_next(self) -> list[Command]:
        """Hand the newest candidate to the kernel, one at a time and never before the load."""
        if self._stage is not State.IN_SYNC or self._applying is not None or not self._waiting:
            return []
        newest = max(self._waiting, key=lambda c: c.snapshot.version)
        self._waiting.remove(newest)
        if self.snapshot is not None:
            self._waiting.clear()  # older than what is about to be, and never gone back to
        self._applying = newest
        return [ApplyPolicy(newest.snapshot)]

    def _on_applied(self, event: events.PolicyApplied) -> list[Command]:
        done = self._applying
        assert done is not None, "a policy was applied that nobody asked for"
        self._applying = None
        self._waiting = [c for c in self._waiting if c.snapshot.version > event.version]
        self._adopt(done, event)
        commands: list[Command] = [
            _log(Level.INFO, "policy in force", version=event.version, entries=event.entries,
                 generation=event.generation >> 16, seconds=round(event.seconds, 4))
        ]  # fmt: skip
        commands += self._warn_unsupported()
        if done.source is Source.FILE:
            commands.append(WriteCache(done.content))
        commands.append(ForgetExecutables())
        return [*commands, *self._apply_next(), *self._go_on(), self._notify()]

    def _adopt(self, done: Candidate, event: events.PolicyApplied) -> None:
        self.snapshot, self.applied, self._digest = done.snapshot, event, done.digest
        self._exe_paths = attest.exe_paths(done.snapshot.workloads)
        self._cacheable = attest.follows_from_executable_key(done.snapshot.workloads)
        self._conflicts.clear()
        self._walks = 0

    def _warn_unsupported(self) -> list[Command]:
        assert self.snapshot is not None, "called under a policy"
        names = attest.unsupported(self.snapshot.workloads)
        if not names:
            return []
        return [
            _log(Level.WARNING, "selectors sha256 and container are not read by this agent and "
                 "match nothing", workloads=",".join(names))
        ]  # fmt: skip

    def _on_not_applied(self, event: events.PolicyNotApplied) -> list[Command]:
        failed = self._applying
        self._applying = None
        if failed is not None and failed.source is Source.FILE:
            self._file_good = False
        self.refused = event.reason
        log = _log(Level.ERROR, "policy not applied, what was in force stays",
                   version=event.version, reason=event.reason)  # fmt: skip
        return [log, *(self._apply_next() or self._go_on())]

    def _go_on(self) -> list[Command]:
        """After loading and after each policy: adopt processes, and attach if that is still due."""
        walk = WalkProcesses(self._exe_paths)
        return [walk, Attach()] if self._attach_pending else [walk]

    # Processes.

    def _on_facts(self, event: events.FactsRead) -> list[Command]:
        verdict = self.judge(event.facts)
        cacheable = self._cacheable and self.snapshot is not None and not verdict.conflict
        commands = tagging.tag_reported(event, verdict.identity, cacheable)
        return [*self._warn_conflict(verdict), *commands]

    def _warn_conflict(self, verdict: attest.Attestation) -> list[Command]:
        """Once for each command and policy, so that a fork bomb does not fill the log."""
        if not verdict.conflict or len(self._conflicts) >= 100:
            return []
        known = verdict.conflict.partition(" (")[2]
        if known in self._conflicts:
            return []
        self._conflicts.add(known)
        return [_log(Level.WARNING, "identity conflict", reason=verdict.conflict)]

    def _on_walked(self, event: events.ProcessesWalked) -> list[Command]:
        conflicts: list[Command] = []

        def judge(facts: attest.Facts) -> attest.Attestation:
            verdict = self.judge(facts)
            conflicts.extend(self._warn_conflict(verdict))
            return verdict

        commands = conflicts + tagging.reconcile(event, judge)
        if len(commands) > len(conflicts) and self._walks < MAX_WALKS:
            self._walks += 1
            commands.append(WalkProcesses(self._exe_paths))
            return commands
        if self._attached and not self._ready:
            self._ready = True
            commands.append(NotifyReady())
        return commands

    # What people are told.

    def _notify(self) -> NotifyStatus:
        return NotifyStatus(self.summary())

    def summary(self) -> str:
        """One sentence: what is in force and what is wrong."""
        state = self.state
        if state in (State.STARTING, State.LOADING):
            return "The datapath is being loaded."
        if self.snapshot is None:
            base = "No policy has been in force in this run"
            return f"{base}: {self.refused}" if self.refused else f"{base}; waiting for a snapshot."
        base = f"Policy version {self.snapshot.version} is in force"
        wrong = {
            State.CACHED: " from the cache, the snapshot file is not there",
            State.STALE: ", and the snapshot file is gone",
            State.EXPIRED: ", has expired and goes on being enforced",
        }.get(state, "")
        if self.refused:
            return f"{base}; a newer one is refused: {self.refused}"
        return f"{base}{wrong}."


def _state_level(state: State) -> Level:
    good = (State.STARTING, State.LOADING, State.IN_SYNC, State.CACHED)
    return Level.INFO if state in good else Level.WARNING


def _give_up(message: str, reason: str) -> list[Command]:
    """The service manager starts us again; what the kernel enforced before, it goes on enforcing."""
    return [_log(Level.ERROR, message, reason=reason), Stop(1)]


def _on_facts_not_read(event: events.FactsNotRead) -> list[Command]:
    after = tagging.host_entry(event)
    if after is None or event.before is None:
        return []
    return [
        _log(Level.WARNING, "cannot attest a process, it counts as host", pid=event.report.pid,
             reason=event.reason),
        TagUnreadable(event.report.pid, event.before, after),
    ]  # fmt: skip
