# SPDX-License-Identifier: Apache-2.0
"""Who every process of the instance is, under the policy in force. Pure.

The kernel asks about one process, a walk about all. Most answers follow at once; one that hangs on
the content of an executable is put off: the process is `pending` until its hash is there, and the
kernel's hold limit sees to it that nobody waits for longer than the policy says. Whom we could not
look at for want of descriptors or memory is `host` until there is enough again: every tick tries a
walk, which ends at the first process that it cannot open.
"""

from __future__ import annotations

from dataclasses import replace

from agent.core import attest, events, tagging
from agent.core.abi import Process
from agent.core.attest import Attestation, Facts
from agent.core.commands import (
    Command,
    HashExecutable,
    Level,
    Log,
    ReadFacts,
    WalkProcesses,
    WalkSockets,
)
from agent.core.events import ProcessReport
from agent.core.interest import Interest, follows_from_executable_key, interest
from agent.core.model import FIRST_WORKLOAD_IDENTITY, Identity, Snapshot, Workload

MAX_WALKS = 5
"""A walk that changed something is followed by another, for a child may have copied an old tag
meanwhile. Under endless churn this is the end of it; the next exec or policy does the rest."""
MAX_CONFLICTS_TOLD = 100


class Roster:
    """What is asked of processes, and the answers as commands."""

    def __init__(self) -> None:
        self.interest = Interest()
        self._workloads: tuple[Workload, ...] = ()
        self._cacheable = False
        self._in_force = False
        self._walks = 0
        self._adopting = False
        self._told: set[str] = set()
        self._missed = False  # somebody is not what he should be, for we could not look
        self._blind = False  # so that it is told once

    def put_in_force(self, snapshot: Snapshot) -> None:
        limit = snapshot.settings.hash_limit_mib << 20
        self.interest = interest(snapshot.workloads, limit)
        self._workloads = snapshot.workloads
        self._cacheable = follows_from_executable_key(snapshot.workloads)
        self._in_force = True
        self._told.clear()
        self._walks = 0

    def walk_anew(self) -> WalkProcesses:
        """The first of a row of walks."""
        self._walks = 0
        return self.walk()

    def walk_attached(self) -> WalkProcesses:
        """The hooks are attached: the walk that sees what nobody saw before."""
        self._adopting = True
        return self.walk_anew()

    def walk(self) -> WalkProcesses:
        return WalkProcesses(self.interest)

    def judge(self, facts: Facts) -> Attestation:
        return attest.attest(facts, self._workloads)

    def _judge_walked(self, facts: Facts, before: Process | None) -> Attestation:
        """While no policy is at hand, what an earlier run has attested stands."""
        if not self._in_force and before is not None and tagging.holds(before, facts):
            return Attestation(before.identity)
        return self.judge(facts)

    def on_reported(self, report: ProcessReport) -> list[Command]:
        return [ReadFacts(report, self.interest)]

    def on_facts(self, event: events.FactsRead) -> list[Command]:
        if tagging.superseded(event.report, event.before):
            return []
        facts = tagging.believed(event.facts, event.before)
        verdict = self.judge(facts)
        identity = Identity.PENDING if verdict.wants_hash else verdict.identity
        hash_failed = self.interest.hashes and facts.sha256 == ""
        cacheable = self._cacheable and not (
            verdict.conflict or verdict.wants_hash or hash_failed or facts is not event.facts
        )
        commands = self._warn_conflict(facts, verdict)
        commands += tagging.tag_reported(event, identity, cacheable)
        if identity >= FIRST_WORKLOAD_IDENTITY:
            # What it was started with, and what it made before anybody could say who it is.
            commands.append(WalkSockets(event.report.pid))
        if verdict.wants_hash:
            commands.append(self._hash(event.report, event.facts))
        return commands

    def _hash(self, report: ProcessReport, facts: Facts) -> HashExecutable:
        return HashExecutable(report, facts, self.interest.hash_limit_bytes)

    def on_not_read(self, event: events.FactsNotRead) -> list[Command]:
        self._missed |= event.again
        return tagging.tag_unreadable(event)

    def on_not_walked(self, event: events.NotWalked) -> list[Command]:
        told, self._blind, self._missed = self._blind, True, True
        message = "cannot look at processes, will retry at the next tick"
        return [] if told else [Log(Level.WARNING, message, (("reason", event.reason),))]

    def on_all_seen(self) -> None:
        """Processes and their sockets."""
        self._blind = False

    def look_again(self) -> list[Command]:
        """Some time has passed: there may be enough again of what we lacked."""
        if not self._missed:
            return []
        self._missed = False
        return [self.walk_anew()]

    def on_hashed(self, event: events.ExecutableHashed) -> list[Command]:
        """Look again at everyone who waited: without hashes, if there is none to be had."""
        wanted = self.interest
        commands: list[Command] = []
        if not event.sha256:
            wanted = replace(wanted, hashes=False)
            commands += self._tell_once(
                event.path,
                "cannot hash an executable, no sha256 matches it",
                (("path", event.path), ("reason", event.reason)),
            )
        commands += [ReadFacts(report, wanted) for report in event.reports]
        return commands

    def on_walked(self, event: events.ProcessesWalked) -> tuple[list[Command], bool]:
        """What to do, and whether this was the last walk of its row."""
        adopting, self._adopting = self._adopting, False
        identities: dict[int, int] = {}
        hashes: list[Command] = []
        warnings: list[Command] = []
        for pid, read in event.seen.items():
            before = event.actual.get(pid)
            before = tagging.unpinned(before) if adopting else before
            facts = tagging.believed(read, before)
            verdict = self._judge_walked(facts, before)
            warnings += self._warn_conflict(facts, verdict)
            identities[pid] = verdict.identity
            if verdict.wants_hash:
                identities[pid] = Identity.PENDING
                generation = before.generation if before is not None else 0
                hashes.append(self._hash(ProcessReport(pid, generation), read))
        commands = tagging.reconcile(event, identities, adopting=adopting)
        last = not commands or self._walks >= MAX_WALKS
        commands += [*hashes, *warnings]
        if not last:
            self._walks += 1
            commands.append(self.walk())
        return commands, last

    def _warn_conflict(self, facts: Facts, verdict: Attestation) -> list[Command]:
        if not verdict.conflict:
            return []
        return self._tell_once(facts.command, "identity conflict", (("reason", verdict.conflict),))

    def _tell_once(
        self, about: str, message: str, fields: tuple[tuple[str, str | int | float], ...]
    ) -> list[Command]:
        """Once for each command or file and policy, so that churn does not fill the log."""
        if about in self._told or len(self._told) >= MAX_CONFLICTS_TOLD:
            return []
        self._told.add(about)
        return [Log(Level.WARNING, message, fields)]
