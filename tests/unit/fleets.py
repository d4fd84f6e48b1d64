# SPDX-License-Identifier: Apache-2.0
"""A store in miniature for tests of what is pure: rows in, parts and wholes out, numbers kept."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.core.model import IPAddress
from controller.allocations import Allocations
from controller.documents import read_documents
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
from tests.unit.policies import NOW

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
