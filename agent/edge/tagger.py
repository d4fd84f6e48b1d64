# SPDX-License-Identifier: Apache-2.0
"""Carries out what core wants with processes: reads facts, writes tags, looks once more.

The order is what makes it safe: the kernel's entry is read before the facts, the entry is written
only if it is still that one, and after writing the process is looked at again. An exec, a change of
user or cgroup, an exit or a reuse of the number that slips between is seen at one of the three.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.core.abi import Process
from agent.core.adoption import SocketFacts
from agent.core.commands import (
    HashExecutable,
    ReadFacts,
    TagProcess,
    TagSockets,
    TagUnreadable,
    WalkProcesses,
    WalkSockets,
)
from agent.core.events import (
    Event,
    ExecutableHashed,
    FactsNotRead,
    FactsRead,
    NotWalked,
    ProcessesWalked,
    ProcessReport,
    ProcessReported,
    SocketsTagged,
    SocketsWalked,
)
from agent.edge import adopter, clock
from agent.edge.hasher import Hasher, TooMany
from agent.edge.hooks import Pins
from agent.edge.maps import MapFull
from agent.edge.process_maps import ProcessMaps
from agent.edge.procfs import FactsUnreadable, ProcessGone, ProcessReader, Scarce
from agent.edge.scarcity import is_scarcity


class Tagger:
    """What a method returns is what happened."""

    def __init__(
        self, reader: ProcessReader, maps: ProcessMaps, hasher: Hasher, pins: Pins
    ) -> None:
        self._pins = pins
        self._reader = reader
        self._maps = maps
        self._hasher = hasher

    def read_facts(self, command: ReadFacts) -> list[Event]:
        """Nothing, if the process has ended."""
        report = command.report
        before = self._maps.get(report.pid)
        try:
            facts = self._reader.read(report.pid, command.interest)
        except ProcessGone:
            return []
        except FactsUnreadable as error:
            return [_not_read(report, before, error)]
        return [FactsRead(report, facts, before, clock.monotonic_ns())]

    def tag(self, command: TagProcess) -> list[Event]:
        """Nothing, if the tag holds. A full map leaves a process without an entry: it is `host`."""
        facts, after = command.facts, command.after
        try:
            newer = self._maps.replace(facts.pid, command.before, after)
        except MapFull:
            return []
        if newer is not None:
            return [ProcessReported(ProcessReport(facts.pid, newer.generation))]
        try:
            if self._reader.unchanged(facts):
                return []
        except ProcessGone:
            self._maps.delete(facts.pid, after)
            return []
        except FactsUnreadable:
            pass
        return [ProcessReported(ProcessReport(facts.pid, after.generation))]

    def tag_unreadable(self, command: TagUnreadable) -> None:
        self._maps.replace(command.pid, command.before, command.after)

    def hash(self, command: HashExecutable) -> list[Event]:
        """Nothing, where the hasher will tell or the process has ended."""
        facts, report = command.facts, command.report
        try:
            fd = self._reader.open_executable(facts)
            if fd is None:
                return [ProcessReported(report)]  # it has become another program
            self._hasher.ask(report, fd, facts.exe, command.limit_bytes)
        except ProcessGone:
            return []
        except Scarce as error:
            return [_not_read(report, self._maps.get(report.pid), error)]
        except (FactsUnreadable, OSError, TooMany) as error:
            return [ExecutableHashed((report,), facts.exe, "", str(error))]
        return []

    def walk(self, command: WalkProcesses) -> Event:
        """The entries first: what is in them and not seen alive after has ended."""
        actual = self._maps.all()
        try:
            seen, living = self._reader.walk(command.interest)
        except Scarce as error:
            return NotWalked(str(error))
        return ProcessesWalked(seen, living, actual, clock.monotonic_ns())

    def walk_sockets(self, command: WalkSockets) -> Event:
        """The entries last: what a process is when its sockets have been seen."""
        pids = self._maps.all() if command.pid is None else (command.pid,)
        try:
            sockets = adopter.walk(pids, self._pins.maps)
        except OSError as error:
            return _not_walked(error)
        entries = self._entries_for(sockets, command.pid)
        return SocketsWalked(tuple(sockets), entries, command.pid is None)

    def _entries_for(self, sockets: Iterable[SocketFacts], pid: int | None) -> dict[int, Process]:
        if pid is None:
            return self._maps.all()
        owners = {seen.state.tgid for seen in sockets if seen.state is not None}
        found = ((owner, self._maps.get(owner)) for owner in owners | {pid})
        return {owner: entry for owner, entry in found if entry is not None}

    def tag_sockets(self, command: TagSockets) -> Event:
        try:
            tagged = adopter.tag(command.tags, command.namespaces, self._pins)
        except OSError as error:
            return _not_walked(error)
        return SocketsTagged(tagged.count, tagged.trouble)


def _not_walked(error: OSError) -> Event:
    if not is_scarcity(error):
        raise error
    return NotWalked(str(error))


def _not_read(
    report: ProcessReport, before: Process | None, error: FactsUnreadable
) -> FactsNotRead:
    again = isinstance(error, Scarce)
    return FactsNotRead(report, before, str(error), clock.monotonic_ns(), again)
