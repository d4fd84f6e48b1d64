# SPDX-License-Identifier: Apache-2.0
"""The pinned datapath of one instance as one object: what the daemon opens after loading.

It joins the thin edges (control page, policy maps, process maps, rings) and knows the order in
which a first policy and an attachment need them; it decides nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from agent.core.abi import (
    FLOW_EVENT,
    GENERATION_FLAG_BITS,
    PROCESS_EVENT,
    ControlFlag,
    FlowEvent,
    Outcome,
    ProcessEventKind,
)
from agent.core.compile import compile_policy
from agent.core.events import (
    Event,
    PolicyApplied,
    ProcessReport,
    ProcessReported,
    ProcessStarted,
    Verified,
)
from agent.core.model import Settings as PolicySettings
from agent.core.model import Snapshot
from agent.edge import cgroups, clock, counters, guard, hooks
from agent.edge.control_page import ControlPage
from agent.edge.guard import Guard
from agent.edge.maps import BpfMap
from agent.edge.policy_maps import POLICY_MAPS, PolicyMaps, Settings
from agent.edge.process_maps import ProcessMaps
from agent.edge.ringbuf import RingBuffer
from agent.edge.scarcity import is_scarcity

HOLD_RTO_SECONDS = 0.020
"""First SYN time-out of a held socket: attestation takes less than 1 ms, a jiffy up to 10."""
_MILLISECOND = 1_000_000
_SECOND = 1_000_000_000
_U32_MAX = 0xFFFFFFFF
_CLOCK_LAG_SECONDS = 0.5
"""The kernel side compares with its coarse clock, which lags by up to a jiffy."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the instance lives: its pins, its cgroup root and the mount that is in.

    hold_limit_ms: overrides the policy's setting.
    """

    pins: hooks.Pins
    root: Path
    mount: Path
    hold_limit_ms: int | None = None


class Kernel:
    """Raises BpfError where the pins are not those that the loader makes."""

    def __init__(self, place: Place) -> None:
        self._place = place
        folder = place.pins.maps
        with ExitStack() as opened:
            self._control = ControlPage(folder)
            opened.callback(self._control.close)
            self.processes = ProcessMaps(folder)
            opened.callback(self.processes.close)
            self._policy = PolicyMaps(folder, self._control)
            opened.callback(self._policy.close)
            self._guard = Guard(place.pins, place.root)
            opened.callback(self._guard.close)
            self._rings = opened.enter_context(ExitStack())
            self._opened = opened.pop_all()

    @property
    def generation(self) -> int:
        return self._control.generation

    @property
    def attached(self) -> int:
        """Hooks that run our programs, by the kernel's own word; 0 if the cgroup is gone.

        Raises OSError for want of descriptors or memory, which says nothing of hooks.
        """
        try:
            return self._guard.attached
        except OSError as error:
            if is_scarcity(error):
                raise
            return 0

    def prepare(self) -> None:
        """What must be there before anything is attached, with a policy or without."""
        self._name_root()
        self._control.write("hold_rto_jiffies", clock.jiffies(HOLD_RTO_SECONDS))
        self.set_observe(on=False)
        self.set_sum_up(on=False)
        self.refresh_clock()
        if not self._control.generation:
            defaults = self._settings(0, PolicySettings())
            self._control.write("epoch_ns", defaults.epoch_ns)
            self._control.write("hold_limit_ns", defaults.hold_limit_ns)
            self._control.write("refusals_per_second", defaults.refusals_per_second)

    def _name_root(self) -> None:
        root, mount = self._place.root, self._place.mount
        self._control.write("cgroup_root", cgroups.cgroup_id(root))
        level = cgroups.levels_above() + cgroups.level(root, mount)
        self._control.write("cgroup_level", level)

    def refresh_clock(self) -> None:
        self._control.write("wall_offset_ns", clock.wall_offset_ns())

    def lost_reports(self) -> int:
        """Since the datapath was first loaded: processes that the kernel could not ask about."""
        return counters.outcome(self._place.pins.maps, Outcome.PROCESS_EVENT_LOST)

    def set_observe(self, *, on: bool) -> None:
        self._set(ControlFlag.OBSERVE, on=on)

    def set_sum_up(self, *, on: bool) -> None:
        """What is allowed, or has ended, is told too; who reads the ring must look by himself."""
        self._set(ControlFlag.SUM_UP, on=on)

    def _set(self, flag: ControlFlag, *, on: bool) -> None:
        flags = self._control.read("flags") & ~flag
        self._control.write("flags", flags | (flag if on else 0))

    def apply(self, snapshot: Snapshot) -> PolicyApplied:
        """Compile and switch. Raises BpfError or ValueError; nothing is switched then."""
        started = time.monotonic()
        policy = compile_policy(snapshot)
        if not self._control.generation:
            grace = snapshot.settings.adoption_grace_seconds
            self._control.write("adopted_until_s", min(int(started) + grace, _U32_MAX))
        applied = self._policy.apply(
            {name: getattr(policy, name) for name in POLICY_MAPS},
            int(policy.flags),
            snapshot.receive_secrets,
            self._settings(snapshot.host, snapshot.settings),
        )
        seconds = time.monotonic() - started
        return PolicyApplied(
            snapshot.version,
            applied.generation,
            applied.entries,
            seconds,
            self.adoption_ends(),
        )

    def adoption_ends(self) -> float:
        """Unix seconds; 0 if it is over, or has not begun for want of a policy."""
        left = self.adoption_left()
        return clock.unix_seconds() + left + _CLOCK_LAG_SECONDS if left else 0.0

    def adoption_left(self) -> float:
        """Seconds for which sockets older than the first policy pass."""
        if not self._control.generation:
            return 0.0
        return max(0.0, self._control.read("adopted_until_s") - time.monotonic())

    def end_adoption(self) -> int:
        """Have every socket judged anew: those whose grace is over among them. Returns the new
        generation: same policy, same slot, the next serial number."""
        generation = self._control.generation + (1 << GENERATION_FLAG_BITS)
        self._control.write("generation", generation)
        return generation

    def _settings(self, host: int, settings: PolicySettings) -> Settings:
        hold_limit_ms = self._place.hold_limit_ms
        if hold_limit_ms is None:
            hold_limit_ms = settings.hold_limit_ms
        return Settings(
            host=host,
            epoch_ns=settings.epoch_seconds * _SECOND,
            hold_limit_ns=hold_limit_ms * _MILLISECOND,
            refusals_per_second=settings.refusal_events_per_second,
        )

    def attach(self) -> None:
        """Raises BpfError; nothing more is attached then than before."""
        hooks.attach(self._place.pins, self._place.root)
        guard.clear_suspended(self._place.pins)

    def verify(self) -> Verified:
        """Whether the kernel runs what was loaded; a question that fails is a fault, too.

        Where we lack what it takes to ask, nothing is known to be missing.
        """
        missing: tuple[str, ...] = ()
        unseen = ""
        try:
            missing = self._guard.missing()
        except OSError as error:
            if is_scarcity(error):
                unseen = os.strerror(error.errno or 0)
            else:
                missing = (f"cgroup {self._place.root}: {error.strerror}",)
        return Verified(missing, self._guard.suspended, unseen)

    def repair(self) -> None:
        """Raises BpfError, BpffsError or OSError; what could be put back has been by then."""
        self._name_root()  # it may be another folder of the same name
        self._guard.repair()

    def process_events(self, receive: Callable[[Event], None]) -> RingBuffer:
        """The kernel's questions and news about processes, one call each."""

        def decode(record: bytes) -> None:
            event = PROCESS_EVENT.unpack(record)
            if event.kind == ProcessEventKind.STARTED:
                receive(ProcessStarted(event.tgid))
                return
            report = ProcessReport(event.tgid, event.generation, event.executable)
            receive(ProcessReported(report))

        return self._ring("process_events", decode)

    def flow_events(self, receive: Callable[[FlowEvent], None]) -> RingBuffer:
        return self._ring("flow_events", lambda record: receive(FLOW_EVENT.unpack(record)))

    def _ring(self, name: str, decode: Callable[[bytes], None]) -> RingBuffer:
        with BpfMap.open_pinned(self._place.pins.maps / name) as ring_map:
            ring = RingBuffer(ring_map.fd, decode)
        self._rings.callback(ring.close)
        return ring

    def close(self) -> None:
        """What is pinned and attached stays."""
        self._opened.close()
