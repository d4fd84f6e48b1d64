# SPDX-License-Identifier: Apache-2.0
"""The daemon's mind: `Agent.handle(event) -> list[Command]`. Pure: no I/O, no clock, no waiting.

The order at start is the safety argument: nothing is attached before maps and programs are pinned
and, where there is a policy, before it is in the kernel; processes are adopted before and after
attaching, so that none is held for having been there first. After a restart the pins are found in
place: nothing is ever cleared, the old policy judges until the new one has been built beside it.
"""

from __future__ import annotations

from agent.core import attest, events, tagging
from agent.core.abi import Process
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
    WalkProcesses,
    WriteCache,
)
from agent.core.events import Event, Source
from agent.core.intake import Candidate, Intake
from agent.core.model import Action, Snapshot
from agent.core.standing import Stage, Standing, State

MAX_WALKS = 5
"""A walk that changed something is followed by another, for a child may have copied an old tag
meanwhile. Under endless churn this is the end of it; the next exec or policy does the rest."""


def _log(level: Level, message: str, **fields: str | int | float) -> Log:
    return Log(level, message, tuple(fields.items()))


class Agent:
    """All that the daemon knows. What is public is for reading."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        """In force in the kernel, as far as this run knows."""
        self.applied: events.PolicyApplied | None = None
        self.apply_seconds = 0.0
        """Of the policy in force: reading its file to switching the kernel."""
        self.load_seconds = 0.0
        self.standing = Standing()
        self._intake = Intake()
        self._told_state: State | None = None
        self._told_summary = ""
        self._loaded = False
        self._attach_pending = False
        self._ready = False
        self._walks = 0
        self._exe_paths: frozenset[str] = frozenset()
        self._cacheable = False
        self._conflicts = tagging.Conflicts()

    @property
    def state(self) -> State:
        return self.standing.state

    @property
    def lifelines(self) -> tuple[str, ...]:
        rules = self.snapshot.rules if self.snapshot is not None else ()
        return tuple(sorted({r.name for r in rules if r.action is Action.LIFELINE}))

    @property
    def exe_paths(self) -> frozenset[str]:
        """Paths of executables that the policy in force names."""
        return self._exe_paths

    @property
    def _starting(self) -> bool:
        """A policy may be on its way: whoever is judged without it would be `host`."""
        return self.standing.stage is not Stage.RUNNING

    def judge(self, facts: attest.Facts) -> attest.Attestation:
        """Who a process is under the policy in force."""
        return attest.attest(facts, self.snapshot.workloads if self.snapshot is not None else ())

    def handle(self, event: Event) -> list[Command]:
        """What to do now that `event` has happened."""
        commands = self._dispatch(event)
        state, summary = self.state, self.standing.summary
        if state is not self._told_state:
            self._told_state = state
            level = Level.INFO if state.good else Level.WARNING
            commands.append(_log(level, "state", state=state.value))
        if summary != self._told_summary:
            self._told_summary = summary
            commands.append(NotifyStatus(summary))
        return commands

    def _dispatch(self, event: Event) -> list[Command]:
        match event:
            case events.FactsRead() | events.FactsNotRead() if self._starting:
                return []  # it is held, and the walk that ends the start will tell
            case events.FactsRead():
                return self._on_facts(event)
            case events.ProcessReported():
                return [ReadFacts(event.report, self._exe_paths)]
            case events.FactsNotRead():
                return tagging.tag_unreadable(event)
            case events.ProcessesWalked():
                return self._on_walked(event)
            case events.ReportsLost():
                self._walks = 0
                said = _log(Level.WARNING, "questions were lost, walking", count=event.count)
                return [said, WalkProcesses(self._exe_paths)]
            case events.ObserversChanged():
                return [SetObserve(event.count > 0)]
            case events.Ticked():
                self.standing.at = event.at
                return []
            case events.StopRequested():
                said = _log(Level.INFO, "stopping, enforcement goes on", signal=event.signal)
                return [said, Stop(0)]
            case _:
                return self._dispatch_policy(event)

    def _dispatch_policy(self, event: Event) -> list[Command]:
        match event:
            case events.Started():
                self.standing.at, self.standing.stage = event.at, Stage.LOADING
                return [ReadSnapshot(Source.CACHE, None)]
            case events.SnapshotChanged():
                return [ReadSnapshot(Source.FILE, self._intake.held)]
            case events.SnapshotRead():
                return self._on_snapshot(event)
            case events.SnapshotRefused():
                return self._on_refused(event)
            case events.SnapshotMissing():
                return self._on_missing(event)
            case events.PolicyApplied():
                return self._on_applied(event)
            case events.PolicyNotApplied():
                return self._on_not_applied(event)
            case _:
                return self._dispatch_datapath(event)

    def _dispatch_datapath(self, event: Event) -> list[Command]:
        match event:
            case events.Loaded():
                return self._on_loaded(event)
            case events.LoadFailed():
                return _give_up("cannot load the datapath", event.reason)
            case events.Attached():
                self._attach_pending, self._walks = False, 0
                return [_log(Level.INFO, "attached"), WalkProcesses(self._exe_paths)]
            case events.AttachFailed():
                return _give_up("cannot attach the datapath", event.reason)
            case _:
                raise AssertionError(f"Unexpected event: {event}")

    # Snapshots. The cache is read first, for it is what the file is measured by.

    def _after_read(self, source: Source) -> list[Command]:
        if source is Source.CACHE:
            return [ReadSnapshot(Source.FILE, self._intake.held), Load()]
        return self._apply_next()

    def _on_snapshot(self, event: events.SnapshotRead) -> list[Command]:
        refused = self._intake.offer(
            Candidate(event.source, event.snapshot, event.content, event.digest, event.seconds)
        )
        if refused:
            return self._on_refused(events.SnapshotRefused(event.source, refused))
        if event.source is Source.FILE:
            self.standing.file_is_good(event.digest)
        return self._after_read(event.source)

    def _on_refused(self, event: events.SnapshotRefused) -> list[Command]:
        if event.source is Source.CACHE:
            said = _log(
                Level.WARNING, "the policy cache is not usable, ignoring", reason=event.reason
            )
            return [said, *self._after_read(event.source)]
        if self._intake.has_lost(event.held_version):
            return [ReadSnapshot(Source.FILE, self._intake.held)]
        self.standing.file_is_refused(event.reason)
        return [
            _log(Level.WARNING, "snapshot refused, the last good one stays", reason=event.reason)
        ]

    def _on_missing(self, event: events.SnapshotMissing) -> list[Command]:
        if event.source is Source.CACHE:
            return self._after_read(event.source)
        self.standing.file_is_missing()
        return [_log(Level.WARNING, "no snapshot file, waiting for one", path=event.path)]

    # Loading, applying, attaching.

    def _on_loaded(self, event: events.Loaded) -> list[Command]:
        self.load_seconds = event.seconds
        self._attach_pending = event.attach_pending
        self._loaded = True
        self.standing.inherited = event.generation != 0
        said = _log(
            Level.INFO,
            "loaded",
            seconds=round(event.seconds, 3),
            attach_pending="yes" if event.attach_pending else "no",
        )
        return [said, *(self._apply_next() or self._go_on())]

    def _apply_next(self) -> list[Command]:
        """One at a time, and never before the load."""
        if not self._loaded:
            return []
        candidate = self._intake.take()
        return [ApplyPolicy(candidate.snapshot)] if candidate is not None else []

    def _on_applied(self, event: events.PolicyApplied) -> list[Command]:
        done = self._intake.succeed()
        self._put_in_force(done, event)
        said = _log(
            Level.INFO,
            "policy in force",
            version=event.version,
            entries=event.entries,
            serial=event.generation >> 16,
            seconds=round(self.apply_seconds, 4),
        )
        commands: list[Command] = [said, *self._warn_unsupported(done.snapshot)]
        if done.source is Source.FILE:
            commands.append(WriteCache(done.content))
        return [*commands, ForgetExecutables(), *self._apply_next(), *self._go_on()]

    def _put_in_force(self, done: Candidate, event: events.PolicyApplied) -> None:
        self.snapshot, self.applied = done.snapshot, event
        self.apply_seconds = done.seconds + event.seconds
        self.standing.in_force(done.snapshot.version, done.snapshot.expires)
        self._exe_paths = attest.exe_paths(done.snapshot.workloads)
        self._cacheable = attest.follows_from_executable_key(done.snapshot.workloads)
        self._conflicts.clear()
        self._walks = 0

    def _warn_unsupported(self, snapshot: Snapshot) -> list[Command]:
        names = attest.unsupported(snapshot.workloads)
        if not names:
            return []
        message = "selectors sha256 and container are not read by this agent and match nothing"
        return [_log(Level.WARNING, message, workloads=",".join(names))]

    def _on_not_applied(self, event: events.PolicyNotApplied) -> list[Command]:
        failed = self._intake.fail()
        said = _log(
            Level.ERROR,
            "policy not applied, what was in force stays",
            version=event.version,
            reason=event.reason,
        )
        after = self._apply_next() or self._go_on()
        if self.standing.is_of_file(failed.digest):
            self.standing.file_is_refused(event.reason)
            return [said, *after]
        # The file was measured by what is not to be.
        return [said, *after, ReadSnapshot(Source.FILE, self._intake.held)]

    def _go_on(self) -> list[Command]:
        """After loading and after each policy: adopt processes, and attach if that is still due."""
        self.standing.stage = Stage.RUNNING
        walk = WalkProcesses(self._exe_paths)
        return [walk, Attach()] if self._attach_pending else [walk]

    # Processes.

    def _on_facts(self, event: events.FactsRead) -> list[Command]:
        verdict = self.judge(event.facts)
        cacheable = self._cacheable and not verdict.conflict
        return [
            *self._conflicts.tell(event.facts, verdict),
            *tagging.tag_reported(event, verdict.identity, cacheable),
        ]

    def _judge_walked(self, facts: attest.Facts, before: Process | None) -> attest.Attestation:
        """While no policy is at hand, what an earlier run has attested stands."""
        if self.snapshot is None and before is not None and tagging.holds(before, facts):
            return attest.Attestation(before.identity)
        return self.judge(facts)

    def _on_walked(self, event: events.ProcessesWalked) -> list[Command]:
        verdicts = {
            pid: self._judge_walked(facts, event.actual.get(pid))
            for pid, facts in event.seen.items()
        }
        commands = tagging.reconcile(event, {p: v.identity for p, v in verdicts.items()})
        again = bool(commands) and self._walks < MAX_WALKS
        for pid, verdict in verdicts.items():
            commands += self._conflicts.tell(event.seen[pid], verdict)
        if again:
            self._walks += 1
            commands.append(WalkProcesses(self._exe_paths))
        elif not self._ready and not self._attach_pending:
            self._ready = True
            commands.append(NotifyReady())
        return commands


def _give_up(message: str, reason: str) -> list[Command]:
    """The service manager starts us again; what the kernel enforced, it goes on enforcing."""
    return [_log(Level.ERROR, message, reason=reason), Stop(1)]
