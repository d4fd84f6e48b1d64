# SPDX-License-Identifier: Apache-2.0
"""The one loop: events from the edges to core, commands from core to the edges.

Short commands are carried out at once; what takes long goes to one worker, in order, so that a
process which asks who it is never waits for a policy to be compiled. This is the only place that
catches broadly: whatever nobody foresaw ends the daemon with its trace in the log, the service
manager starts it again, and enforcement in the kernel never stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.config import Config
from agent.core import commands, events, stream
from agent.core.agent import Agent
from agent.core.commands import Command
from agent.core.control import Control
from agent.core.events import Event
from agent.edge import cgroups, clock, loader_child, local_server, logs, sd_notify, turns
from agent.edge.control_link import ControlLink
from agent.edge.flow_feed import FlowFeed
from agent.edge.flow_log import FlowLog
from agent.edge.flow_shipper import FlowShipper
from agent.edge.hasher import Hasher
from agent.edge.kernel import Kernel, Place
from agent.edge.libbpf import BpfError
from agent.edge.listeners import Listeners
from agent.edge.local_view import LocalView
from agent.edge.policy_cache import PolicySource
from agent.edge.procfs import ProcessReader
from agent.edge.refuser import Refuser
from agent.edge.reporter import Reporter
from agent.edge.ringbuf import RingBuffer
from agent.edge.snapshot_source import SnapshotSource
from agent.edge.snapshot_watch import SnapshotWatch
from agent.edge.tagger import Tagger
from agent.edge.telemetry import Telemetry
from agent.edge.worker import Worker

TICK_SECONDS = 5.0
VERIFY_SECONDS = 2.0
"""How long enforcement can be absent without anybody's knowledge; a look takes a millisecond."""


class Daemon:
    """One run of one instance."""

    def __init__(
        self, config: Config, config_path: Path, place: Place, key: Ed25519PublicKey | None
    ) -> None:
        """key: None where policy comes from a controller. Raises IdentityError."""
        self._config = config
        self._config_path = config_path
        self._place = place
        self._link: ControlLink | None = None
        self._watch: SnapshotWatch | None = None
        source: SnapshotSource | PolicySource
        if key is None:
            self._link = _link(config, self._tell)
            source = self._link.source
        else:
            assert config.snapshot is not None, "the key is that of snapshot files"
            source = SnapshotSource(config.snapshot, config.cache, key, config.host_name)
            self._watch = SnapshotWatch(source, config.snapshot, self._tell)
        self._worker = Worker(config.cache, place, source, self._tell)
        control = Control(self._link.enrolled()) if self._link else None
        self._agent = Agent(control)
        host_name = self._link.host_name if self._link else config.host_name
        self._reader = ProcessReader(place.root, place.mount)
        self._hasher = Hasher(self._reader.hashes, self._tell)
        self._view = LocalView(config.instance, host_name, self._agent, self._reader)
        shipper = _shipper(config, self._link, self._view)
        log = FlowLog(config.flow_history, self._observers_changed)
        self._flows = FlowFeed(log, shipper, self._view.names_under)
        self._telemetry = Telemetry(config, self._agent, shipper)
        self._reporter: Reporter | None = None
        if control is not None and self._link is not None:
            listeners = Listeners(place.pins.maps)
            self._reporter = Reporter(control, self._view, listeners, self._link.say)
        self._told: deque[Event] = deque()
        self._busy = False
        self._opened = ExitStack()
        self._loaded = False
        self._lost = 0
        self._observe = False
        self._kernel: Kernel
        self._tagger: Tagger

    async def run(self) -> int:
        """Until told to stop; returns the exit status."""
        turns.shorten()
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(
                number, self._tell, events.StopRequested(signal.Signals(number).name)
            )
        if self._watch is not None:
            self._opened.enter_context(contextlib.closing(self._watch))
            self._watch.open()
        service = local_server.LocalService(self._view, self._flows.log)
        server = await local_server.serve(self._config.socket, service)
        self._opened.enter_context(contextlib.closing(self._telemetry))
        tasks = [
            asyncio.create_task(self._guard(part), name=part.__name__)
            for part in (
                self._worker.work,
                *((self._watch.poll,) if self._watch else ()),
                self._tick,
                self._hasher.work,
                self._guard_datapath,
                self._flows.drain,
                *((self._flows.shipper.run,) if self._flows.shipper else ()),
                *((self._reporter.run,) if self._reporter else ()),
            )
        ]
        try:
            self._tell(events.Started(clock.unix_seconds()))
            return await self._ended
        finally:
            sd_notify.notify("STOPPING=1")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._flows.close()
            if self._link is not None:
                await self._link.close()
            await server.stop(local_server.STOP_SECONDS)
            self._opened.close()

    # Parts that run beside each other.

    async def _guard(self, part: Callable[[], Awaitable[None]]) -> None:
        try:
            await part()
        except Exception:
            self._crash()

    async def _tick(self) -> None:
        setting = clock.SettingWatch()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            was_set = setting.was_set()  # what was of the future may be good now
            if self._watch is not None and (was_set or self._watch.starved):
                self._tell(events.SnapshotChanged())
            self._flows.refresh_clock()
            if self._loaded:
                self._kernel.refresh_clock()
                self._look_for_losses()
            self._tell(events.Ticked(clock.unix_seconds()))

    async def _guard_datapath(self) -> None:
        """Beside the worker, so that a long command does not keep the watchdog hungry."""
        while True:
            await asyncio.sleep(VERIFY_SECONDS)
            if self._loaded:
                self._tell(await self._worker.verify())

    def _look_for_losses(self) -> None:
        try:
            before, self._lost = self._lost, self._kernel.lost_reports()
        except BpfError:
            return  # somebody took the pins away: the guard's next look puts them back
        if self._lost != before:
            self._tell(events.ReportsLost(self._lost - before))

    # Events in.

    def _tell(self, event: Event) -> None:
        """Hand an event to core and carry out what it answers; in order, never nested."""
        self._told.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._told and not self._ended.done():
                event = self._told.popleft()
                logs.trace("told", event)
                self._telemetry.happened(event)
                for command in self._agent.handle(event):
                    logs.trace("wish", command)
                    self._execute(command)
        except Exception:
            self._crash()
        finally:
            self._busy = False

    def _crash(self) -> None:
        logs.write("error", "unexpected, the agent ends and enforcement goes on",
                   [("trace", traceback.format_exc().strip())])  # fmt: skip
        self._end(70)

    def _end(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

    def _observers_changed(self, count: int) -> None:
        self._tell(events.ObserversChanged(count))

    # Commands out: short ones at once, long ones by the worker.

    def _execute(self, command: Command) -> None:
        match command:
            case commands.ReadFacts():
                self._told.extend(self._tagger.read_facts(command))
            case commands.TagProcess():
                self._told.extend(self._tagger.tag(command))
                self._telemetry.tagged(command)
            case commands.WalkSockets(pid=int()):
                self._told.append(self._tagger.walk_sockets(command))
            case commands.HashExecutable():
                self._told.extend(self._tagger.hash(command))
            case commands.TagUnreadable():
                self._tagger.tag_unreadable(command)
            case commands.ForgetProcess():
                self._kernel.processes.delete(command.pid, command.before)
            case commands.RememberExecutable():
                self._kernel.processes.remember_executable(command.key, command.identity)
            case commands.ForgetExecutables():
                self._kernel.processes.forget_executables()
                self._reader.forget()
            case commands.Log():
                logs.write(command.level.value, command.message, command.fields)
            case _:
                self._execute_rare(command)

    def _execute_rare(self, command: Command) -> None:
        match command:
            case commands.Load():
                self._worker.put(self._load)
            case commands.SetObserve():
                self._observe = command.on
                if self._loaded:
                    self._kernel.set_observe(on=command.on)
            case commands.Stop():
                self._end(command.code)
            case commands.BeginControl() | stream.StreamCommand():
                self._execute_control(command)
            case commands.NotifyReady():
                turns.settle_memory()
                sd_notify.carry_out(command)
            case commands.NotifyStatus() | commands.FeedWatchdog():
                sd_notify.carry_out(command)
            case _:
                self._worker.take(command)

    def _execute_control(self, command: commands.BeginControl | stream.StreamCommand) -> None:
        assert self._link is not None, "only with a controller is it wished for"
        if isinstance(command, commands.BeginControl):
            self._told.append(self._link.may_begin())
            return
        job = self._link.execute(command)
        if job is not None:
            self._worker.put(job)

    async def _load(self) -> Event:
        try:
            report = await loader_child.run_loader(self._config_path)
            self._open()
        except (loader_child.LoadError, BpfError, cgroups.CgroupError) as error:
            return events.LoadFailed(str(error))
        return events.Loaded(report.seconds, report.attach_pending, self._kernel.generation)

    def _open(self) -> None:
        """Open what is pinned and listen to it, before anything is attached."""
        self._kernel = self._opened.enter_context(contextlib.closing(Kernel(self._place)))
        self._kernel.prepare()
        self._kernel.set_observe(on=self._observe)
        self._tagger = Tagger(self._reader, self._kernel.processes, self._hasher, self._place.pins)
        self._worker.open(self._kernel, self._tagger)
        self._view.open(self._kernel, self._place.pins)
        refuser = Refuser(self._place.pins.maps, on=self._config.refuse == "reject")
        self._opened.enter_context(contextlib.closing(refuser))
        self._telemetry.open(self._place.pins, refuser)
        self._listen(self._kernel.process_events(self._tell))
        self._listen(self._flows.open(self._kernel, refuser))
        self._lost = self._kernel.lost_reports()  # of earlier runs: the walk makes up for them
        self._loaded = True

    def _listen(self, ring: RingBuffer) -> None:
        number = ring.fileno()
        self._loop.add_reader(number, self._consume, ring)
        self._opened.callback(self._loop.remove_reader, number)

    def _consume(self, ring: RingBuffer) -> None:
        try:
            ring.consume()
        except Exception:
            self._crash()


def _link(config: Config, tell: Callable[[Event], None]) -> ControlLink:
    return ControlLink(
        config.identity, config.cache, lifeline=config.controller_lifeline, tell=tell
    )


def _shipper(config: Config, link: ControlLink | None, view: LocalView) -> FlowShipper | None:
    return FlowShipper(link.ask, view.names_under) if link and config.ship_flows else None
