# SPDX-License-Identifier: Apache-2.0
"""The daemon's mind: `Agent.handle(event) -> list[Command]`. Pure: no I/O, no clock, no waiting.

The order at start is the safety argument: nothing is attached before maps and programs are pinned
and, where there is a policy, before it is in the kernel; processes are adopted before and after
attaching, so that none is held for having been there first. After a restart the pins are found in
place: nothing is ever cleared, the old policy judges until the new one has been built beside it.

The table of events and the order at start stand here; what becomes of a policy is `succession`'s.
"""

from __future__ import annotations

from agent.core import adoption, attest, events, stream
from agent.core.commands import (
    Attach,
    BeginControl,
    Command,
    Level,
    NotifyReady,
    NotifyStatus,
    ReadSnapshot,
    SetObserve,
    Stop,
    SweepExecutables,
    TagSockets,
    Verify,
    WalkSockets,
    log,
)
from agent.core.control import Control
from agent.core.events import Event, Source
from agent.core.guarding import Guarding
from agent.core.interest import Interest
from agent.core.model import Action, Snapshot, Workload
from agent.core.roster import Roster
from agent.core.standing import Stage, Standing, State
from agent.core.succession import Succession

SWEEP_TICKS = 6
"""Removed cgroups' executables are forgotten so often: every half a minute."""


class Agent:
    """All that the daemon knows. What is public is for reading."""

    def __init__(self, control: Control | None = None) -> None:
        """control: the end of the policy stream; None where policy comes from a file."""
        self.control = control
        self.load_seconds = 0.0
        self.standing = Standing(controlled=control is not None)
        self.guarding = Guarding()
        self._told_state: State | None = None
        self._told_summary = ""
        self._loaded = False
        self._attach_pending = False
        self._ticks = 0
        self._walked = False
        self._ready = False
        self._roster = Roster()
        self.policy = Succession(control, self.standing, self._roster, self._go_on)

    @property
    def state(self) -> State:
        return self.standing.state

    @property
    def snapshot(self) -> Snapshot | None:
        """In force in the kernel, as far as this run knows."""
        return self.policy.snapshot

    @property
    def applied(self) -> events.PolicyApplied | None:
        return self.policy.applied

    @property
    def apply_seconds(self) -> float:
        """Of the policy in force: reading its file to switching the kernel."""
        return self.policy.apply_seconds

    @property
    def lifelines(self) -> tuple[str, ...]:
        rules = self.snapshot.rules if self.snapshot is not None else ()
        return tuple(sorted({r.name for r in rules if r.action is Action.LIFELINE}))

    @property
    def interest(self) -> Interest:
        """The facts that the policy in force asks for."""
        return self._roster.interest

    @property
    def workloads(self) -> tuple[Workload, ...]:
        return self.snapshot.workloads if self.snapshot is not None else ()

    @property
    def _starting(self) -> bool:
        """A policy may be on its way: whoever is judged without it would be `host`."""
        return self.standing.stage is not Stage.RUNNING

    def judge(self, facts: attest.Facts) -> attest.Attestation:
        """Who a process is under the policy in force."""
        return self._roster.judge(facts)

    def handle(self, event: Event) -> list[Command]:
        """What to do now that `event` has happened."""
        commands = self._dispatch(event)
        self.policy.follow_control()
        state, summary = self.state, self.standing.summary
        if state is not self._told_state:
            self._told_state = state
            level = Level.INFO if state.good or self.standing.pending else Level.WARNING
            commands.append(log(level, "state", state=state.value))
        if summary != self._told_summary:
            self._told_summary = summary
            commands.append(NotifyStatus(summary))
        return commands

    def _dispatch(self, event: Event) -> list[Command]:
        match event:
            case events.FactsRead() | events.FactsNotRead() if self._starting:
                return []  # it is held, and the walk that ends the start will tell
            case events.FactsRead():
                return self._roster.on_facts(event)
            case events.ProcessReported():
                return self._roster.on_reported(event.report)
            case events.ProcessStarted():
                return [WalkSockets(event.pid)]
            case events.FactsNotRead():
                return self._roster.on_not_read(event)
            case events.ExecutableHashed():
                return self._roster.on_hashed(event)
            case events.ProcessesWalked():
                return self._on_walked(event)
            case events.NotWalked():
                return self._roster.on_not_walked(event)
            case events.SocketsWalked():
                return self._on_sockets(event)
            case events.ReportsLost():
                said = log(Level.WARNING, "questions were lost, walking", count=event.count)
                return [said, self._roster.walk_anew()]
            case events.ObserversChanged():
                return [SetObserve(event.count > 0)]
            case events.Ticked():
                return self._on_tick(event.at)
            case events.StopRequested():
                said = log(Level.INFO, "stopping, enforcement goes on", signal=event.signal)
                return [said, Stop(0)]
            case _:
                return self._dispatch_policy(event)

    def _dispatch_policy(self, event: Event) -> list[Command]:
        match event:
            case (
                stream.StreamSaid()
                | stream.StreamEnded()
                | stream.TimerFired()
                | stream.CertificateRenewed()
                | stream.CertificateNotRenewed()
            ):
                assert self.control is not None, "streams are opened by it"
                return self.control.handle(event)
            case events.ControlMayBegin():
                return self._begin_control(event)
            case events.Started():
                self.standing.at, self.standing.stage = event.at, Stage.LOADING
                return [ReadSnapshot(Source.CACHE, None)]
            case events.SnapshotChanged():
                return self.policy.read_file()
            case events.SnapshotRead():
                return self.policy.on_snapshot(event)
            case events.SnapshotRefused():
                return self.policy.on_refused(event)
            case events.SnapshotMissing():
                return self.policy.on_missing(event)
            case events.PolicyApplied():
                return self.policy.on_applied(event)
            case events.PolicyNotApplied():
                return self.policy.on_not_applied(event)
            case _:
                return self._dispatch_datapath(event)

    def _dispatch_datapath(self, event: Event) -> list[Command]:
        match event:
            case events.Loaded():
                return self._on_loaded(event)
            case events.LoadFailed():
                return _give_up("cannot load the datapath", event.reason)
            case events.SocketsTagged():
                return _on_sockets_tagged(event)
            case events.AdoptionEnded():
                return self.policy.on_adoption_ended(event)
            case events.Attached():
                self._attach_pending = False
                return [
                    log(Level.INFO, "attached"),
                    self._roster.walk_attached(),
                    *self._may_begin(),
                ]
            case events.AttachFailed():
                return _give_up("cannot attach the datapath", event.reason)
            case events.Verified():
                return self._on_verified(event)
            case events.Repaired():
                # Nobody followed processes and sockets while it was gone.
                return [*self.guarding.on_repaired(event), self._roster.walk_anew(), Verify()]
            case events.NotRepaired():
                return self.guarding.on_not_repaired(event)
            case _:
                raise AssertionError(f"Unexpected event: {event}")

    # Loading, attaching.

    def _on_loaded(self, event: events.Loaded) -> list[Command]:
        self.load_seconds = event.seconds
        self._attach_pending = event.attach_pending
        self._loaded = True
        self.standing.inherited = event.generation != 0
        said = log(
            Level.INFO,
            "loaded",
            seconds=round(event.seconds, 3),
            attach_pending="yes" if event.attach_pending else "no",
        )
        return [said, *self.policy.begin()]

    def _begin_control(self, event: events.ControlMayBegin) -> list[Command]:
        assert self.control is not None, "only with one is it told"
        return self.control.begin(event.at, event.unix, event.random)

    def _go_on(self) -> list[Command]:
        """After loading and after each policy: adopt processes, then their sockets."""
        self.standing.stage = Stage.RUNNING
        return [self._roster.walk_anew(), *self._may_begin()]

    def _may_begin(self) -> list[Command]:
        """Controllers are looked for once everything is attached: the kernel lets connections that
        are older pass unjudged for a while, so they could prove no policy."""
        if self.control is None or self._attach_pending:
            return []
        return [BeginControl()]

    # Processes.

    def _on_walked(self, event: events.ProcessesWalked) -> list[Command]:
        commands, last = self._roster.on_walked(event)
        return [*commands, WalkSockets()] if last else commands

    def _on_sockets(self, event: events.SocketsWalked) -> list[Command]:
        """Tag what must be tagged; then attach if that is still due, else the start is done."""
        if event.complete:
            self._roster.on_all_seen()
        tags = adoption.plan(event.sockets, event.entries, complete=event.complete)
        commands: list[Command] = []
        if tags:
            namespaces = adoption.namespaces_of_listeners(tags)
            commands.append(TagSockets(tuple(tags), namespaces))
        if event.complete and self._attach_pending:
            commands.append(Attach())
        elif event.complete and not self._ready:
            self._walked = True
            commands.append(Verify())
        return commands

    def _on_verified(self, event: events.Verified) -> list[Command]:
        """Ready means found attached by the kernel's own word, not that an attach succeeded."""
        if self._attach_pending or not self._loaded:
            return []
        resumed = self.guarding.suspended and not event.suspended
        commands = self.guarding.on_verified(event)
        if resumed:
            commands.append(self._roster.walk_anew())  # for sockets that were opened meanwhile
        if self._walked and self.guarding.verified and not self._ready:
            self._ready = True
            commands.append(NotifyReady())
        self.standing.suspended = self.guarding.suspended
        return commands

    def _on_tick(self, at: float) -> list[Command]:
        self.standing.at = at
        commands = self._roster.look_again()
        self._ticks += 1
        if self._loaded and self._ticks % SWEEP_TICKS == 0:
            commands.append(SweepExecutables())
        return [*commands, *self.policy.on_tick(at)]


def _give_up(message: str, reason: str) -> list[Command]:
    """The service manager starts us again; what the kernel enforced, it goes on enforcing."""
    return [log(Level.ERROR, message, reason=reason), Stop(1)]


def _on_sockets_tagged(event: events.SocketsTagged) -> list[Command]:
    commands: list[Command] = [log(Level.INFO, "sockets adopted", count=event.count)]
    if event.trouble:
        message = (
            "services older than the agent answer without proof of who they are until they are "
            "restarted, ignoring"
        )
        commands.append(log(Level.WARNING, message, reason=event.trouble))
    return commands
