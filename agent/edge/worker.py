# SPDX-License-Identifier: Apache-2.0
"""The daemon's one worker: what takes long, in the order that core wishes for it, beside the loop.

What comes of a job is an event, also where it fails as foreseen; whatever else is raised comes out
of `work`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from agent.core import commands, events
from agent.core.commands import Command
from agent.core.compile import PolicyTooLarge
from agent.core.events import Event
from agent.edge import cache_file, logs
from agent.edge.bpffs import BpffsError
from agent.edge.control_link import Job
from agent.edge.kernel import Kernel, Place
from agent.edge.libbpf import BpfError
from agent.edge.policy_cache import PolicySource
from agent.edge.scarcity import is_scarcity
from agent.edge.snapshot_source import SnapshotSource
from agent.edge.tagger import Tagger

Tell = Callable[[Event], None]


class Worker:
    """`put` and `take` are the loop's. Before `open` there is nothing but snapshots to read."""

    def __init__(
        self, cache: Path, place: Place, source: SnapshotSource | PolicySource, tell: Tell
    ) -> None:
        """cache: the file that snapshots are kept in. source: where policy comes from."""
        self._cache = cache
        self._place = place
        self._source = source
        self._tell = tell
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._kernel: Kernel
        self._tagger: Tagger

    def open(self, kernel: Kernel, tagger: Tagger) -> None:
        """The datapath is loaded."""
        self._kernel, self._tagger = kernel, tagger

    async def work(self) -> None:
        """One job after the other, for ever."""
        while True:
            job = await self._jobs.get()
            event = await job()
            if event is not None:
                self._tell(event)

    def put(self, job: Job) -> None:
        self._jobs.put_nowait(job)

    def take(self, command: Command) -> None:
        self.put(self._job(command))

    def _job(self, command: Command) -> Job:
        match command:
            case commands.ReadSnapshot():
                return lambda: self._read_snapshot(command)
            case commands.Attach():
                return self._attach
            case commands.ApplyPolicy():
                return lambda: self._apply(command)
            case commands.WalkProcesses():
                return lambda: asyncio.to_thread(self._tagger.walk, command)
            case commands.WalkSockets():
                return lambda: asyncio.to_thread(self._tagger.walk_sockets, command)
            case commands.TagSockets():
                return lambda: asyncio.to_thread(self._tagger.tag_sockets, command)
            case commands.SweepExecutables():
                return lambda: asyncio.to_thread(self._sweep)
            case commands.EndAdoption():
                return self._end_adoption
            case commands.WriteCache():
                return lambda: self._write_cache(command)
            case commands.Verify():
                return self.verify
            case commands.Repair():
                return self._repair
            case _:
                raise AssertionError(f"Unexpected command: {command}")

    async def _read_snapshot(self, command: commands.ReadSnapshot) -> Event:
        if isinstance(self._source, PolicySource):
            return await asyncio.to_thread(self._source.read_cache)
        return await asyncio.to_thread(self._source.read, command.source, command.held)

    async def _apply(self, command: commands.ApplyPolicy) -> Event:
        try:
            return await asyncio.to_thread(self._kernel.apply, command.snapshot)
        except (BpfError, ValueError) as error:
            too_large = isinstance(error, PolicyTooLarge)
            if isinstance(self._source, SnapshotSource):
                self._source.starved = is_scarcity(error)
            return events.PolicyNotApplied(command.snapshot.version, str(error), too_large)

    def _sweep(self) -> None:
        self._kernel.processes.forget_cgroups(self._place.root)

    async def _end_adoption(self) -> Event:
        return events.AdoptionEnded(self._kernel.end_adoption())

    async def _attach(self) -> Event:
        try:
            await asyncio.to_thread(self._kernel.attach)
        except BpfError as error:
            return events.AttachFailed(str(error))
        return events.Attached()

    async def verify(self) -> Event:
        """The daemon's guard asks this beside the worker too."""
        return await asyncio.to_thread(self._kernel.verify)

    async def _repair(self) -> Event:
        started = time.monotonic()
        try:
            await asyncio.to_thread(self._kernel.repair)
        except (OSError, BpffsError) as error:
            return events.NotRepaired(str(error))
        return events.Repaired(time.monotonic() - started)

    async def _write_cache(self, command: commands.WriteCache) -> None:
        try:
            await asyncio.to_thread(cache_file.write_atomically, self._cache, command.content)
        except OSError as error:
            logs.write("warning", "cannot write the policy cache, ignoring",
                       [("path", self._cache), ("reason", error.strerror)])  # fmt: skip
