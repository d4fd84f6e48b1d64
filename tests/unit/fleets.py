# SPDX-License-Identifier: Apache-2.0
"""A store in miniature for tests of what is pure: rows in, parts and wholes out, numbers kept. And
what the fleet's compiler makes of it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from agent.core.keyring import KeyRing
from agent.core.model import IPAddress, Snapshot
from agent.core.soundness import check_content
from agent.edge import content_codec
from agent.pb import policy_pb2 as pb
from controller.allocations import Allocations
from controller.documents import read_documents
from controller.fleet.compile import Fleet
from controller.records import (
    DocumentRow,
    FleetPart,
    FleetRows,
    FleetSettings,
    Head,
    HostRow,
    QuarantineRow,
    Seen,
    Target,
)
from controller.rules import network_keys, rule_keys
from controller.yamlfile import parse
from tests.unit.policies import BASE, NOW

DocumentKey = tuple[str, str]


def host(name: str, number: int, labels: Mapping[str, str], **changed: object) -> HostRow:
    addresses: tuple[IPAddress, ...] = (
        ipaddress.ip_address(f"192.0.2.{number}"),
        ipaddress.ip_address(f"fd00::{number:x}"),
    )
    fields: dict[str, object] = {
        "name": name, "number": number, "labels": dict(labels), "addresses": addresses,
        "networks": (), "fixed": False, "tags": True, "nat": False, "lost": False,
        "revoked": False, "record_serial": 1, "record_at": NOW, "enrolled_at": NOW,
        "enrolled_by": "test", "certificate_expires": NOW + 86400, "seen": Seen(),
    }  # fmt: skip
    return HostRow(**(fields | changed))  # type: ignore[arg-type]


@dataclass
class Rows:
    """Edit, then take the whole or the part that was edited since the last part."""

    version: int = 1
    at: int = NOW
    store_epoch: int = 1
    hosts: dict[str, HostRow] = field(default_factory=dict)
    documents: dict[DocumentKey, DocumentRow] = field(default_factory=dict)
    quarantined: dict[Target, int] = field(default_factory=dict)
    settings: FleetSettings = field(default_factory=FleetSettings)
    numbers: Allocations = field(default_factory=Allocations)
    _hosts: set[str] = field(default_factory=set)
    _documents: set[DocumentKey] = field(default_factory=set)

    def put_host(self, row: HostRow) -> None:
        self.hosts[row.name] = row
        self._hosts.add(row.name)

    def drop_host(self, name: str) -> None:
        self.hosts.pop(name, None)
        self._hosts.add(name)

    def put(self, text: str) -> None:
        """Documents, as YAML."""
        revision = read_documents(parse("p.yaml", text.encode()))
        self.numbers = self.numbers.extended(
            (d.document.name for d in revision.placed if d.document.kind == "Workload"),
            (),
            rule_keys(revision),
            network_keys(revision),
        )
        for part in (part for part in text.split("---\n") if part.strip()):
            (placed,) = read_documents(parse("p.yaml", part.encode())).placed
            key = (placed.document.kind, placed.document.name)
            self.documents[key] = DocumentRow(*key, part, "p.yaml", 1, self.numbers.revision)
            self._documents.add(key)

    def drop(self, kind: str, name: str) -> None:
        self.documents.pop((kind, name), None)
        self._documents.add((kind, name))

    def quarantine(self, target: Target, on: bool = True) -> None:
        if on:
            self.quarantined[target] = self.at + 3600
        else:
            self.quarantined.pop(target, None)
        if target.host:
            self._hosts.add(target.host)

    def _head(self) -> Head:
        return Head(self.store_epoch, self.version, self.numbers.revision)

    def _quarantines(self) -> list[QuarantineRow]:
        return [QuarantineRow(t, until, NOW, "test", "") for t, until in self.quarantined.items()]

    def whole(self) -> FleetRows:
        return FleetRows(
            head=self._head(),
            at=self.at,
            trust_domain="example.org",
            settings=self.settings,
            hosts=list(self.hosts.values()),
            documents=list(self.documents.values()),
            allocations=self.numbers,
            quarantines=self._quarantines(),
        )

    def part(self, seconds: int = 1) -> FleetPart:
        """The next version, `seconds` after the last."""
        self.version += 1
        self.at += seconds
        part = FleetPart(
            head=self._head(),
            at=self.at,
            everything=False,
            settings=self.settings,
            hosts={name: self.hosts.get(name) for name in self._hosts},
            documents={key: self.documents.get(key) for key in self._documents},
            allocations=self.numbers,
            quarantines=self._quarantines(),
        )
        self._hosts, self._documents = set(), set()
        return part


THREE = {
    "a": host("a", 1, {"role": "web"}),
    "b": host("b", 2, {"role": "db"}),
    "c": host("c", 3, {"role": "other"}),
}


def rows(*texts: str, hosts: Iterable[HostRow] = THREE.values()) -> Rows:
    made = Rows()
    for row in hosts:
        made.put_host(row)
    made.put(BASE + "".join(texts))
    return made


def loaded(made: Rows) -> Fleet:
    fleet = Fleet()
    fleet.load(made.whole())
    return fleet


def snapshot(fleet: Fleet, name: str) -> Snapshot:
    """What the agent of this host makes of what it is sent."""
    said, content = fleet.record(name), fleet.content(fleet.audience(name))
    record = pb.HostRecord(
        host=said.host, host_name=said.name, trust_domain=said.trust_domain,
        addresses=[a.packed for a in said.addresses], tags_off=said.tags_off, nat=said.nat,
    )  # fmt: skip
    release = pb.Release(store_epoch=1, version=1, issued=NOW, expires=NOW + 100)
    made = content_codec.snapshot(content.entries, record, KeyRing(), release)
    assert check_content(made) is None
    return made


def names(items: Iterable[object]) -> list[str]:
    return [item.name for item in items]  # type: ignore[attr-defined]


def until(moment: int) -> str:
    return f"until: {datetime.fromtimestamp(moment, UTC).isoformat()}\n"
