# SPDX-License-Identifier: Apache-2.0
"""What the agent tells its controller of its host: who runs there, whether enforcement stands."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from agent.core.flows import enum_name
from agent.core.model import Identity, Verdict
from agent.core.standing import State
from agent.pb import local_pb2
from agent.pb import policy_pb2 as pb

MAX_IDENTITIES = 4096
MAX_TROUBLE = 1024
"""Bytes."""
UNINSTALLED = "uninstalled"
"""The last that is heard of an agent: no state of it, for then there is none."""


def compose(
    status: local_pb2.StatusResponse, running: Mapping[int, int], clock_offset_ms: int
) -> pb.Report:
    """status: as `cordonctl status` has it. running: identity -> processes. clock_offset_ms: by how
    much this host's clock is ahead of the controller's."""
    known = {one: count for one, count in running.items() if one != Identity.PENDING}
    refused = enum_name(Verdict, Verdict.REFUSE)
    return pb.Report(
        state=status.state,
        identities=(
            pb.RunningIdentity(identity=identity, processes=count)
            for identity, count in islice(sorted(known.items()), MAX_IDENTITIES)
        ),
        left_out=max(0, len(known) - MAX_IDENTITIES),
        health=pb.Health(
            hooks_attached=status.hooks_attached,
            hooks_expected=status.hooks_expected,
            tampered=status.repairs,
            refused=sum(one.value for one in status.counters if one.verdict == refused),
            trouble=_trouble(status),
            clock_offset_ms=clock_offset_ms,
        ),
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
    kept = pb.Report(state=report.state, left_out=report.left_out)
    kept.identities.extend(pb.RunningIdentity(identity=one.identity) for one in report.identities)
    kept.health.CopyFrom(report.health)
    kept.health.ClearField("refused")
    kept.health.ClearField("clock_offset_ms")
    return kept.SerializeToString(deterministic=True)


def uninstalled(expected: int) -> pb.Report:
    """Of a host on which nothing of Cordon is left in the kernel. expected: hooks."""
    trouble = "uninstalled by an administrator, all traffic passes"
    return pb.Report(state=UNINSTALLED, health=pb.Health(hooks_expected=expected, trouble=trouble))
