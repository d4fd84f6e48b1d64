# SPDX-License-Identifier: Apache-2.0
"""`doctor` on the running instance: is it enforcing, does the kernel count trouble, who else is at
the same hooks? Asks the agent's own answers and the kernel; changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from agent.core.diagnosis import Finding, ok, problem, warning
from agent.edge import links
from agent.edge.guard import is_suspended
from agent.edge.hooks import HOOKS, Pins
from agent.edge.libbpf import BpfError
from agent.pb import local_pb2 as pb

AREA = "instance"
_STRIPPED = 0.05
_STRIPPED_LEAST = 20
_RESTART = "systemctl restart cordon-agent; it leaves no gap"
_RESUME = "an administrator has suspended it; cordon-agent resume ends that"


def agent(status: pb.StatusResponse) -> Iterator[Finding]:
    """Of the agent's own account."""
    if status.state in ("in_sync", "cached"):
        yield ok(AREA, f"the agent runs, state {status.state}: {status.summary}")
    else:
        yield warning(
            AREA,
            f"the agent's state is {status.state}: {status.summary}",
            "changes of policy do not reach this host",
            "see the lines about files, and docs/runbook.md",
        )
    modes = list(status.modes.values())
    enforced = modes.count("enforce")
    if modes and not enforced:
        yield warning(
            AREA,
            f"none of {len(modes)} workloads is in mode enforce",
            "everything passes; what would be refused is only counted",
            "set `mode: enforce` for a segment once `observe --verdict audit` is quiet",
        )
    elif modes:
        yield ok(AREA, f"{enforced} of {len(modes)} workloads are in mode enforce")


def silent_agent(reason: str) -> Finding:
    return problem(
        AREA,
        f"the agent does not answer: {reason}",
        "what it enforced before, the kernel goes on enforcing; new programs count as host",
        "systemctl start cordon-agent, and its log if it does not stay",
    )


def counters(status: pb.StatusResponse) -> Iterator[Finding]:
    """What the kernel has counted since the datapath was loaded."""
    outcome = {c.reason: c.value for c in status.counters if c.kind == "outcome"}
    yield from _tags(outcome)
    yield from _losses(outcome)
    forged = sum(
        c.value for c in status.counters if c.kind == "verdict" and c.reason.startswith("tag_")
    )
    if forged:
        yield warning(
            "traffic",
            f"{forged} tags were forged, replayed, malformed or of another epoch",
            "they were refused, or in audit mode only counted",
            "cordonctl observe --verdict refuse; docs/runbook.md, CordonForgedTags",
        )


def _tags(outcome: Mapping[str, int]) -> Iterator[Finding]:
    absent, verified = outcome.get("tag_absent", 0), outcome.get("tag_verified", 0)
    if absent >= _STRIPPED_LEAST and absent > _STRIPPED * (absent + verified):
        yield warning(
            "traffic",
            f"{absent} of {absent + verified} handshakes with managed hosts came without a tag",
            "their senders count as unproven",
            "find the path that strips TCP options, or the peer without an agent: docs/runbook.md, "
            "CordonTagsStripped",
        )
    elif verified:
        yield ok("traffic", f"{verified} tags verified, {absent} handshakes without one")
    if outcome.get("tag_no_room"):
        yield warning(
            "traffic",
            f"{outcome['tag_no_room']} SYNs and SYN-ACKs had no room for the tag",
            "their connections count as unproven at the other end",
            "MPTCP, TCP Fast Open or MD5 signatures are in use: switch them off where identity "
            "matters",
        )


def _losses(outcome: Mapping[str, int]) -> Iterator[Finding]:
    if outcome.get("process_map_full"):
        yield problem(
            "traffic",
            f"{outcome['process_map_full']} processes found no place in the map `processes`",
            "they count as host and not as their workload",
            "end what starts so many processes",
        )
    for name, what, lost in (
        ("hold_expired", "processes were not attested in time", "they counted as host meanwhile"),
        ("handshake_lost", "handshakes were forgotten", "their connections were judged by address"),
        ("flow_event_lost", "flow events were lost", "observe and explain have gaps"),
        ("process_event_lost", "process events were lost", "attestation came later"),
    ):
        if outcome.get(name):
            yield warning("traffic", f"{outcome[name]} {what}", lost, "give the agent more CPU")


def hooks(pins: Pins, root: Path) -> Iterator[Finding]:
    """Whether our programs run where they should, and whose else do."""
    try:
        cgroup = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        yield problem(AREA, f"{root}: {error.strerror}", "nothing is enforced", "see cgroup_root")
        return
    try:
        yield from _at_cgroup(pins, cgroup)
    except BpfError as error:
        yield problem(AREA, str(error), "what is attached cannot be said", "run this as root")
    finally:
        os.close(cgroup)


def _at_cgroup(pins: Pins, cgroup: int) -> Iterator[Finding]:
    ours = {hook.function: _linked(pins.links / hook.function) for hook in HOOKS}
    gone = [hook for hook in HOOKS if ours[hook.function] is None]
    strangers: dict[str, list[str]] = {}
    for hook in HOOKS:
        if hook.attach_type is None:
            continue
        running = links.prog_query_cgroup(cgroup, hook.attach_type, effective=True)
        if hook not in gone and ours[hook.function] not in running:
            gone.append(hook)
        for number in set(running) - set(ours.values()):
            name = f"{links.program_name(number) or '(no name)'} (id {number})"
            strangers.setdefault(name, []).append(hook.attach_type.name)
    suspended = is_suspended(pins)
    for hook in gone:
        way_out = _RESUME if suspended and hook.judges else _RESTART
        yield problem(AREA, f"{hook.function} is not attached", hook.lost, way_out)
    if not gone:
        yield ok(AREA, f"all {len(HOOKS)} programs are attached and run")
    for name, places in sorted(strangers.items()):
        yield warning(
            AREA,
            f"another program, {name}, runs at {', '.join(places)}",
            "it can refuse what Cordon allows, or change addresses before Cordon sees them; it "
            "cannot allow what Cordon refuses",
            "bpftool cgroup tree shows whose it is; nothing to do if it is meant to be there",
        )


def _linked(path: Path) -> int | None:
    """The program that a pinned link runs; None where there is no such pin."""
    try:
        fd = links.obj_get(path)
    except BpfError:
        return None
    try:
        return links.link_program_id(fd)
    finally:
        os.close(fd)
