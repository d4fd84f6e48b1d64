# SPDX-License-Identifier: Apache-2.0
"""`explain`, asked of what the fleet's hosts are sent: the same answer as of a folder's files, and
quarantine in it. Of a party's hosts only as many snapshots are made as `explain` looks at.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import yaml

from agent.core.content import Entries, Section
from agent.core.model import Action, EpochKey, Mode, Snapshot
from agent.edge import content_codec
from agent.pb import admin_pb2 as pb
from agent.pb import policy_pb2, snapshot_pb2
from controller.allocations import FIRST_RESERVED_RULE
from controller.board import Desk
from controller.explain import MAX_HOSTS, End, Explanation, explain
from controller.fleet.changes import HostRecordFields
from controller.parties import some
from controller.services.stream_codec import host_record

_MODES = {
    Mode.OFF: snapshot_pb2.MODE_OFF,
    Mode.AUDIT: snapshot_pb2.MODE_AUDIT,
    Mode.ENFORCE: snapshot_pb2.MODE_ENFORCE,
}
_DIRECTIONS = (snapshot_pb2.DIRECTION_INGRESS, snapshot_pb2.DIRECTION_EGRESS)
_KINDS = {Action.ALLOW: "Allow", Action.DENY: "Deny", Action.LIFELINE: "Lifeline"}


class NotThere(Exception):
    """What was asked for is not in the fleet; the sentence says what is."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What hosts have or get, at one moment. contents: by audience."""

    version: int
    records: Mapping[str, HostRecordFields]
    contents: Mapping[bytes, Entries]


def sent(desk: Desk) -> Sent:
    """For a thread, while the desk goes on."""
    contents = {}
    for audience, release in desk.releases.current.items():
        known = desk.known(release.digest)
        assert known is not None, "the newest content of an audience is kept"
        contents[audience] = known.entries
    return Sent(desk.head.version, dict(desk.records), contents)


def ask(fleet: Sent, source: str, target: str, port: str) -> Explanation:
    """Raises NotThere, ValueError with a sentence for what cannot be asked."""
    homes = _homes(fleet)
    names = {name for text in (source, target) for name in _hosts(fleet, homes, text)}
    snapshots = {name: _snapshot(fleet, name) for name in sorted(names)}
    return explain(snapshots, source, target, port)


def _homes(fleet: Sent) -> Mapping[str, set[bytes]]:
    """Workloads as `segment/name` -> the audiences where they may run."""
    homes: dict[str, set[bytes]] = {}
    decoded: dict[int, Sequence[str]] = {}
    for audience, entries in fleet.contents.items():
        section = entries.get(Section.WORKLOADS, {})
        names = decoded.get(id(section))
        if names is None:  # audiences of one class share it
            found = map(snapshot_pb2.Workload.FromString, section.values())
            names = decoded[id(section)] = [f"{w.segment}/{w.name}" for w in found]
        for name in names:
            homes.setdefault(name, set()).add(audience)
    return homes


def _hosts(fleet: Sent, homes: Mapping[str, set[bytes]], text: str) -> Iterable[str]:
    """Whose answers matter for this party. Raises NotThere."""
    if text == "world":
        return ()
    if text.startswith("host:"):
        name = text.removeprefix("host:")
        if name not in fleet.records:
            raise NotThere(f"there is no host {name!r}{some(sorted(fleet.records))}")
        return (name,)
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return _homes_of(fleet, homes, text)
    having = (r.name for r in fleet.records.values() if any(a in network for a in r.addresses))
    return sorted(having)[:MAX_HOSTS]


def _homes_of(fleet: Sent, homes: Mapping[str, set[bytes]], text: str) -> Iterable[str]:
    wanted = {full for full in homes if text in (full, full.partition("/")[2])}
    if not wanted:
        known = sorted(full.partition("/")[2] for full in homes)
        raise NotThere(
            f"expected a workload that runs somewhere, host:NAME, an address, a network or world, "
            f"got {text[:80]!r}{some(known)}"
        )
    audiences = set().union(*(homes[full] for full in wanted))
    return sorted(r.name for r in fleet.records.values() if r.audience in audiences)[:MAX_HOSTS]


class _Keyed:
    """As if every key that hosts are sent were here: which they are, is secret."""

    receive_secrets: tuple[EpochKey, ...] = ()

    def keys(self, host: int) -> tuple[EpochKey, ...]:
        return (EpochKey(0, bytes(16)),)


def _snapshot(fleet: Sent, name: str) -> Snapshot:
    record = fleet.records[name]
    release = policy_pb2.Release(version=fleet.version)
    entries = fleet.contents[record.audience]
    return content_codec.snapshot(entries, host_record(record), _Keyed(), release)


def explained(found: Explanation, version: int) -> pb.ExplainResponse:
    return pb.ExplainResponse(
        result=found.result,
        ends=map(_end, found.ends),
        notes=found.notes,
        missing=(yaml.safe_dump(dict(one), sort_keys=False) for one in found.missing),
        version=version,
    )


def _end(end: End) -> pb.ExplainedEnd:
    decision = end.decision
    return pb.ExplainedEnd(
        host=end.host,
        direction=_DIRECTIONS[end.direction],
        peer=end.peer,
        mode=_MODES[end.mode],
        verdict=decision.verdict.name.lower(),
        reason=decision.reason.name.lower(),
        rule=decision.rule or 0,
        document=_document(end),
    )


def _document(end: End) -> str:
    """A rule that no document wrote, such as quarantine's, has a name alone."""
    rule = end.rule
    if rule is None:
        return ""
    written = rule.number < FIRST_RESERVED_RULE
    return f"{_KINDS[rule.action]}/{rule.name}" if written else rule.name
