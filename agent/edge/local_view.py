# SPDX-License-Identifier: Apache-2.0
"""What the local control socket shows, as protobuf: joins core's knowledge with the kernel's.

Only reads. The calls that walk /proc run in a thread of their own, beside the daemon's loop: they
read core's state, which the loop replaces as a whole and never edits in place.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import yaml

from agent.core import flow_explanation, tagging, whois
from agent.core.abi import Process, SocketFlag, SocketState
from agent.core.agent import Agent
from agent.core.attest import Facts
from agent.core.flows import Flow, Names, enum_name, proof_name
from agent.core.model import Identity, Mode, Reason, Snapshot, Verdict
from agent.edge import clock, counters, sockets_view
from agent.edge.hooks import HOOKS, Pins
from agent.edge.kernel import Kernel
from agent.edge.libbpf import BpfError
from agent.edge.procfs import FactsUnreadable, ProcessGone, ProcessReader
from agent.pb import local_pb2 as pb

_NAMELESS = Names()


@dataclass(frozen=True, slots=True)
class _Known:
    """What policies call things; replaced as a whole, for threads read it."""

    snapshot: Snapshot | None = None
    now: Names = _NAMELESS
    before: Names = _NAMELESS
    lasting: Names = _NAMELESS


class LocalView:
    """kernel: None until the datapath is loaded; everything of it is then empty."""

    def __init__(self, instance: str, host_name: str, agent: Agent, reader: ProcessReader) -> None:
        self._instance = instance
        self._host_name = host_name
        self._agent = agent
        self._reader = reader
        self._started = time.monotonic()
        self._kernel: Kernel | None = None
        self._pins: Pins | None = None
        self._known = _Known()

    def open(self, kernel: Kernel, pins: Pins) -> None:
        """The datapath is loaded."""
        self._kernel, self._pins = kernel, pins

    @property
    def names(self) -> Names:
        """Of the policy in force."""
        return self._names_known().now

    def _names_known(self) -> _Known:
        known, snapshot, applied = self._known, self._agent.snapshot, self._agent.applied
        if snapshot is None or applied is None:
            return known
        if snapshot is known.snapshot and applied.generation == known.now.generation:
            return known
        if applied.version != snapshot.version:
            return known  # core is between the two
        names = Names.of(snapshot, applied.generation)
        self._known = _Known(snapshot, names, known.now, names.lasting)
        return self._known

    def names_under(self, generation: int) -> Names:
        """Of the policy that judged under this generation of the kernel's.

        The kernel switches a moment before core is told, and records wait in a ring: for a
        generation that is neither in force nor the one before, what all policies share.
        """
        known = self._names_known()
        for names in (known.now, known.before):
            if names.generation == generation:
                return names
        return known.lasting

    def status(self) -> pb.StatusResponse:
        agent, snapshot = self._agent, self._agent.snapshot
        response = pb.StatusResponse(
            instance=self._instance,
            host_name=self._host_name,
            state=agent.state.value,
            summary=agent.standing.summary,
            refused=agent.standing.refused,
            hooks_expected=len(HOOKS),
            load_seconds=agent.load_seconds,
            lifelines=agent.lifelines,
            repairs=agent.guarding.repairs,
            tampering=agent.guarding.last,
            unseen=agent.guarding.unseen,
            uptime_seconds=int(time.monotonic() - self._started),
        )
        if snapshot is not None:
            response.host = snapshot.host
            response.policy_version = snapshot.version
            response.policy_expires = snapshot.expires
            response.rules = len(snapshot.rules)
            response.workloads = len(snapshot.workloads)
            response.peers = len(snapshot.peers)
            for workload in snapshot.workloads:
                name = f"{workload.segment}/{workload.name}"
                response.modes[name] = self._mode(workload.identity)
        if agent.applied is not None:
            response.entries = agent.applied.entries
            response.apply_seconds = agent.apply_seconds
        self._add_kernel(response)
        return response

    def _add_kernel(self, response: pb.StatusResponse) -> None:
        if self._kernel is None or self._pins is None:
            return
        response.generation = self._kernel.generation
        response.adoption_seconds_left = self._kernel.adoption_left()
        self._add_hooks(response, self._kernel)
        response.processes = self._kernel.processes.count()
        try:
            counts = list(counters.read_counters(self._pins.maps))
        except BpfError:
            return  # somebody took the pins away: the rest is needed all the more
        for count in counts:
            response.counters.add(
                kind=count.kind,
                direction=count.direction,
                verdict=count.verdict,
                reason=count.reason,
                value=count.value,
            )

    def _add_hooks(self, response: pb.StatusResponse, kernel: Kernel) -> None:
        try:
            response.hooks_attached = kernel.attached
        except OSError as error:
            response.unseen = os.strerror(error.errno or 0)
            response.summary += f" Whether hooks are attached cannot be seen: {response.unseen}."
            return
        if response.hooks_attached < len(HOOKS) and not self._agent.standing.suspended:
            response.summary += f" Only {response.hooks_attached} of {len(HOOKS)} hooks are " \
                                "attached: TRAFFIC PASSES UNJUDGED."  # fmt: skip

    def _mode(self, identity: int) -> str:
        snapshot = self._agent.snapshot
        modes = snapshot.modes if snapshot is not None else {}
        return modes.get(identity, modes.get(Identity.HOST, Mode.AUDIT)).name.lower()

    def tagged(self) -> dict[int, Process]:
        """Who has an identity, by pid."""
        return self._kernel.processes.all() if self._kernel is not None else {}

    def processes(self, pid: int) -> pb.ProcessesResponse:
        found = (self._process(number, entry) for number, entry in self._entries(pid))
        return pb.ProcessesResponse(processes=[process for process in found if process is not None])

    def _entries(self, pid: int) -> Iterable[tuple[int, Process]]:
        if self._kernel is None:
            return ()
        if not pid:
            return sorted(self._kernel.processes.all().items())
        entry = self._kernel.processes.get(pid)
        return [(pid, entry)] if entry is not None else ()

    def _process(self, pid: int, entry: Process) -> pb.Process | None:
        """Evidence is found by attesting again: nothing is kept for each process."""
        facts = self._facts(pid, entry)
        return self._described(facts, entry) if facts is not None else None

    def _facts(self, pid: int, entry: Process) -> Facts | None:
        try:
            return tagging.believed(self._reader.read(pid, self._agent.interest), entry)
        except (ProcessGone, FactsUnreadable):
            return None

    def _described(self, facts: Facts, entry: Process) -> pb.Process:
        verdict = self._agent.judge(facts)
        segment, _, workload = self.names.identity(entry.identity).rpartition("/")
        return pb.Process(
            pid=facts.pid,
            parent=facts.parent,
            command=facts.command,
            identity=entry.identity,
            workload=workload,
            segment=segment,
            mode=self._mode(entry.identity),
            state=_process_state(entry.identity),
            evidence=map(_text, verdict.evidence) if verdict.identity == entry.identity else (),
            uid=facts.uid,
            cgroup=_text(facts.cgroup),
            exe=_text(facts.exe),
            age_seconds=clock.age_seconds(facts.started),
        )

    def whois(self, pid: int) -> pb.WhoisResponse:
        """Empty for a process that is not of this instance."""
        response = pb.WhoisResponse()
        for _, entry in self._entries(pid) if pid else ():
            facts = self._facts(pid, entry)
            if facts is None:
                break
            response.process.CopyFrom(self._described(facts, entry))
            response.conflict = _text(self._agent.judge(facts).conflict)
            for name, value in whois.described(facts).items():
                response.facts[name] = _text(value)
            for one in whois.candidates(facts, self._agent.workloads):
                response.candidates.add(**{**asdict(one), "found": _text(one.found)})
        return response

    def explain(self, flow: Flow) -> pb.ExplainFlowResponse:
        """Why a verdict is what it is, and what the policy in force says of it."""
        answer = pb.ExplainFlowResponse(flow=flow_message(flow))
        for process in self.processes(flow.pid).processes if flow.pid else ():
            answer.process.CopyFrom(process)
        snapshot = self._agent.snapshot
        if snapshot is None:
            answer.because = flow_explanation.because(flow)
            return answer
        found = flow_explanation.explain(flow, snapshot)
        answer.mode = found.mode.name.lower()
        answer.proof, answer.because = found.proof, found.because
        answer.now_version = snapshot.version
        if found.now is not None:
            answer.now_verdict = found.now.verdict.name.lower()
            answer.now_reason = found.now.reason.name.lower()
            answer.now_rule = self.names.rule(found.now.rule)
        if found.allow is not None:
            answer.allow = yaml.safe_dump(dict(found.allow), sort_keys=False)
        answer.notes.extend(found.notes)
        return answer

    def sockets(self, pid: int) -> pb.SocketsResponse:
        if self._pins is None:
            return pb.SocketsResponse()
        pids = [number for number, _ in self._entries(pid)]
        seen, more = sockets_view.sockets_of(pids, self._pins.maps)
        return pb.SocketsResponse(sockets=self._sockets(seen), more=more)

    def _sockets(self, seen: Iterable[sockets_view.SocketSeen]) -> Iterator[pb.Socket]:
        for one in seen:
            message = pb.Socket(
                protocol=one.protocol,
                state=one.state,
                local_address=one.local[0],
                local_port=one.local[1],
                remote_address=one.remote[0],
                remote_port=one.remote[1],
                pid=one.pid,
                cookie=one.cookie,
                ipv6=one.family == socket.AF_INET6,
            )
            if one.kernel is not None:
                self._add_state(message, one.kernel)
            yield message

    def _add_state(self, message: pb.Socket, state: SocketState) -> None:
        names = self.names
        message.local_identity = state.local
        message.local_workload = names.identity(state.local)
        message.peer_identity = state.peer
        message.peer_workload = names.identity(state.peer)
        message.proof = proof_name(state.proof)
        message.verdict = enum_name(Verdict, state.verdict) if state.verdict else ""
        message.reason = enum_name(Reason, state.reason) if state.reason else ""
        message.rule = state.rule
        message.rule_name = names.rule(state.rule)
        message.generation = state.generation
        connected = bool(message.remote_address)
        message.adopted = connected and bool(state.flags & SocketFlag.ADOPTED)
        if message.adopted and self._kernel is not None:
            message.adopted_seconds_left = self._kernel.adoption_left()


def _text(path: str) -> str:
    r"""A path may hold any byte, text only UTF-8: another byte is shown as \xff."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _process_state(identity: int) -> str:
    if identity == Identity.PENDING:
        return "pending"
    return "host" if identity == Identity.HOST else "attested"


def flow_message(flow: Flow) -> pb.Flow:
    """Both have the same fields."""
    return pb.Flow(**asdict(flow))
