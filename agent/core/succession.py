# SPDX-License-Identifier: Apache-2.0
"""Which policy follows which: what is read, from a file or from a controller, becomes what the
kernel judges by, or is refused with its reason. Pure.

The cache is read first, for it is what the file is measured by. One policy at a time is on its way
into the kernel, and none before the load; what was in force stays until another one is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from agent.core import events
from agent.core.commands import (
    ApplyPolicy,
    Command,
    EndAdoption,
    ForgetExecutables,
    Level,
    Load,
    ReadSnapshot,
    WriteCache,
    log,
)
from agent.core.control import Control
from agent.core.events import Source
from agent.core.held import NackReason
from agent.core.intake import Candidate, Intake
from agent.core.model import Snapshot
from agent.core.roster import Roster
from agent.core.standing import Standing


class Succession:
    """What is public is for reading, and is of the policy in force.

    apply_seconds: reading its file to switching the kernel.
    """

    def __init__(
        self,
        control: Control | None,
        standing: Standing,
        roster: Roster,
        go_on: Callable[[], list[Command]],
    ) -> None:
        """control: None where policy comes from a file. standing, roster: are told what is in
        force. go_on: what is to be done next where no policy is applied any more."""
        self.snapshot: Snapshot | None = None
        self.applied: events.PolicyApplied | None = None
        self.apply_seconds = 0.0
        self._control = control
        self._standing = standing
        self._roster = roster
        self._go_on = go_on
        self._intake = Intake()
        self._loaded = False
        self._adoption_ends = 0.0

    # Reading.

    def read_file(self) -> list[Command]:
        return [ReadSnapshot(Source.FILE, self._intake.held)]

    def _after_read(self, source: Source) -> list[Command]:
        if source is Source.CACHE:
            return [*([] if self._control is not None else self.read_file()), Load()]
        return self._apply_next()

    def on_snapshot(self, event: events.SnapshotRead) -> list[Command]:
        candidate = Candidate(
            event.source, event.snapshot, event.content, event.digest, event.seconds
        )
        if self._control is not None:
            self._control.read(event)
            self._intake.put(candidate)
            return self._after_read(event.source)
        refused = self._intake.offer(candidate)
        if refused:
            return self.on_refused(events.SnapshotRefused(event.source, refused))
        if event.source is Source.FILE:
            self._standing.file_is_good(event.digest)
        return self._after_read(event.source)

    def on_refused(self, event: events.SnapshotRefused) -> list[Command]:
        if event.source is Source.CACHE:
            said = log(
                Level.WARNING, "the policy cache is not usable, ignoring", reason=event.reason
            )
            return [said, *self._after_read(event.source)]
        if event.source is Source.CONTROLLER:
            assert self._control is not None, "it has asked"
            refused = self._control.not_applied(NackReason.CONTENT, event.reason)
            return [*refused, *self._apply_next()]
        if self._intake.has_lost(event.held):
            return self.read_file()
        self._standing.file_is_refused(event.reason)
        return [
            log(Level.WARNING, "snapshot refused, the last good one stays", reason=event.reason)
        ]

    def on_missing(self, event: events.SnapshotMissing) -> list[Command]:
        if event.source is Source.CACHE:
            return self._after_read(event.source)
        self._standing.file_is_missing()
        return [log(Level.WARNING, "no snapshot file, waiting for one", path=event.path)]

    # Applying.

    def begin(self) -> list[Command]:
        """The datapath is loaded."""
        self._loaded = True
        return self._apply_next() or self._go_on()

    def _apply_next(self) -> list[Command]:
        """One at a time, and never before the load."""
        if not self._loaded:
            return []
        candidate = self._intake.take()
        return [ApplyPolicy(candidate.snapshot)] if candidate is not None else []

    def on_applied(self, event: events.PolicyApplied) -> list[Command]:
        done = self._intake.succeed()
        self._put_in_force(done, event)
        said = log(
            Level.INFO,
            "policy in force",
            version=event.version,
            entries=event.entries,
            serial=event.generation >> 16,
            seconds=round(self.apply_seconds, 4),
        )
        commands: list[Command] = [said]
        if self._control is not None:
            commands += self._control.applied(event)
        if done.source is Source.FILE:
            commands.append(WriteCache(done.content))
        return [*commands, ForgetExecutables(), *self._apply_next(), *self._go_on()]

    def _put_in_force(self, done: Candidate, event: events.PolicyApplied) -> None:
        self.snapshot, self.applied = done.snapshot, event
        self.apply_seconds = done.seconds + event.seconds
        digest = done.digest if self._control is None else b""
        self._standing.in_force(done.snapshot.version, done.snapshot.expires, digest)
        self._adoption_ends = event.adoption_ends
        self._roster.put_in_force(done.snapshot)

    def on_not_applied(self, event: events.PolicyNotApplied) -> list[Command]:
        failed = self._intake.fail()
        said = log(
            Level.ERROR,
            "policy not applied, what was in force stays",
            version=event.version,
            reason=event.reason,
        )
        refused = self._tell_control(failed.source, event)
        after = self._apply_next() or self._go_on()
        if self._control is not None:
            return [said, *refused, *after]
        if self._standing.is_of_file(failed.digest):
            self._standing.file_is_refused(event.reason)
            return [said, *after]
        # The file was measured by what is not to be.
        return [said, *after, *self.read_file()]

    def _tell_control(self, source: Source, event: events.PolicyNotApplied) -> list[Command]:
        if self._control is None:
            return []
        if source is Source.CACHE:
            self._control.cache_not_applied()
            return []
        reason = NackReason.TOO_LARGE if event.too_large else NackReason.KERNEL
        return self._control.not_applied(reason, event.reason)

    def follow_control(self) -> None:
        """Where policy comes from a controller, it is what the standing says of the file."""
        if self._control is None:
            return
        if self._control.refused:
            self._standing.file_is_refused(self._control.refused)
        elif self._control.in_sync:
            self._standing.file_is_good(b"")
        else:
            self._standing.file_is_missing()

    # Sockets older than the first policy.

    def on_tick(self, at: float) -> list[Command]:
        """at: unix seconds."""
        if not self._adoption_ends or at < self._adoption_ends:
            return []
        self._adoption_ends = 0.0
        return [EndAdoption()]

    def on_adoption_ended(self, event: events.AdoptionEnded) -> list[Command]:
        if self.applied is not None:
            self.applied = replace(self.applied, generation=event.generation)
        return [log(Level.INFO, "the grace of adopted connections is over, they are judged")]
