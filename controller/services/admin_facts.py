# SPDX-License-Identifier: Apache-2.0
"""What a host said of itself, in names: numbers of identities mean what its own policy says.

A host's word is shown as its word. It was bounded when it came in; here it is made printable.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agent.core.content import Entries, Section
from agent.core.model import Identity, IPAddress
from agent.pb import enrolment_pb2, policy_pb2, snapshot_pb2
from controller import addressing
from controller.records import HostRow

MAX_LISTENERS = 4096
_PROTOCOLS = {6: "tcp", 17: "udp"}


@dataclass(frozen=True, slots=True)
class Said:
    """workloads: that may run there. running: that do, with their processes."""

    addresses: tuple[IPAddress, ...]
    kernel: str
    state: str
    workloads: tuple[str, ...]
    running: Mapping[str, int]
    listeners: tuple[str, ...]


def read(row: HostRow, facts: bytes, entries: Entries) -> Said:
    """facts: as of enrolment; the newest report has more, if there is one. entries: of the host's
    newest release."""
    enrolled = enrolment_pb2.HostFacts.FromString(facts)
    report = policy_pb2.Report.FromString(row.seen.report)
    workloads = _workloads(entries)
    names = {int(Identity.HOST): "host", **_names(entries), **workloads}
    running: dict[str, int] = {}
    for one in report.identities:
        name = names.get(one.identity, f"identity {one.identity}")
        running[name] = running.get(name, 0) + one.processes
    packed = report.addresses or enrolled.addresses
    return Said(
        addresses=tuple(ipaddress.ip_address(a) for a in packed if len(a) in (4, 16)),
        kernel=_plain(report.kernel or enrolled.kernel),
        state=_plain(report.state),
        workloads=tuple(sorted(workloads.values())),
        running=running,
        listeners=tuple(_listeners(report, names)),
    )


def refused(row: HostRow, said: Said, taken: Mapping[IPAddress, str]) -> tuple[str, ...]:
    """Sentences. taken: who has the addresses now."""
    return () if row.revoked else addressing.claim(row, said.addresses, taken).refused


def _workloads(entries: Entries) -> dict[int, str]:
    items = entries.get(Section.WORKLOADS, {}).values()
    found = map(snapshot_pb2.Workload.FromString, items)
    return {w.identity: f"{w.segment}/{w.name}" for w in found}


def _names(entries: Entries) -> dict[int, str]:
    items = entries.get(Section.NAMES, {}).values()
    return {n.identity: n.name for n in map(policy_pb2.IdentityName.FromString, items)}


def _listeners(report: policy_pb2.Report, names: Mapping[int, str]) -> Iterator[str]:
    for one in report.listeners[:MAX_LISTENERS]:
        if len(one.address) not in (4, 16):
            continue
        address = ipaddress.ip_address(one.address)
        host = f"[{address}]" if address.version == 6 else str(address)
        protocol = _PROTOCOLS.get(one.protocol, str(one.protocol))
        name = names.get(one.identity, f"identity {one.identity}")
        yield f"{protocol} {host}:{one.port} {name}"


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
