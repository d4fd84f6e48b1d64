# SPDX-License-Identifier: Apache-2.0
"""What the agent tells its controller of its host: who runs and listens there, which addresses it
has, whether enforcement stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from agent.core.abi import Process
from agent.core.flows import enum_name
from agent.core.model import Identity, Verdict
from agent.core.standing import State
from agent.edge.listeners import Listening
from agent.pb import local_pb2
from agent.pb import policy_pb2 as pb

MAX_IDENTITIES = 4096
MAX_LISTENERS = 4096
MAX_TROUBLE = 1024
"""Bytes."""
UNINSTALLED = "uninstalled"
"""The last that is heard of an agent: no state of it, for then there is none."""


@dataclass(frozen=True, slots=True)
class Here:
    """What there is on the host. processes: by pid. addresses: as HostFacts has them.
    clock_offset_ms: by how much its clock is ahead of the controller's."""

    processes: Mapping[int, Process]
    listeners: Sequence[Listening]
    addresses: Sequence[bytes]
    kernel: str
    clock_offset_ms: int


def compose(status: local_pb2.StatusResponse, here: Here) -> pb.Report:
    """status: as `cordonctl status` has it."""
    running = Counter(entry.identity for entry in here.processes.values())
    running.pop(Identity.PENDING, None)
    refused = enum_name(Verdict, Verdict.REFUSE)
    return pb.Report(
        state=status.state,
        identities=(
            pb.RunningIdentity(identity=identity, processes=count)
            for identity, count in islice(sorted(running.items()), MAX_IDENTITIES)
        ),
        listeners=(pb.Listener(**one._asdict()) for one in here.listeners[:MAX_LISTENERS]),
        addresses=here.addresses,
        left_out=max(0, len(running) - MAX_IDENTITIES)
        + max(0, len(here.listeners) - MAX_LISTENERS),
        health=pb.Health(
            hooks_attached=status.hooks_attached,
            hooks_expected=status.hooks_expected,
            tampered=status.repairs,
            refused=sum(one.value for one in status.counters if one.verdict == refused),
            trouble=_trouble(status),
            clock_offset_ms=here.clock_offset_ms,
        ),
        kernel=here.kernel,
    )


def _trouble(status: local_pb2.StatusResponse) -> str:
    whole = status.hooks_attached == status.hooks_expected and not status.unseen
    if whole and status.state == State.IN_SYNC.value:
        return ""
    return bounded(status.summary)


def bounded(sentence: str) -> str:
    return sentence.encode()[:MAX_TROUBLE].decode(errors="ignore")


def lasting(report: pb.Report) -> bytes:
    """What is worth a new report when it is another: not what counts on all the time."""
    kept = pb.Report()
    kept.CopyFrom(report)
    for one in kept.identities:
        one.ClearField("processes")
    kept.health.ClearField("refused")
    kept.health.ClearField("clock_offset_ms")
    return kept.SerializeToString(deterministic=True)


def uninstalled(expected: int) -> pb.Report:
    """Of a host on which nothing of Cordon is left in the kernel. expected: hooks."""
    trouble = "uninstalled by an administrator, all traffic passes"
    return pb.Report(state=UNINSTALLED, health=pb.Health(hooks_expected=expected, trouble=trouble))
