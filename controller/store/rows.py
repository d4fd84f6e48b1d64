# SPDX-License-Identifier: Apache-2.0
"""Rows of the tables as the seam's values, and back where a value is more than its columns."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from agent.core.model import IPAddress
from controller.access_records import (
    AdministratorGrant,
    AdministratorRow,
    HostGrant,
    Role,
    TokenRow,
    TokenState,
)
from controller.records import (
    AuditRow,
    Cause,
    DocumentRow,
    FleetSettings,
    HostRow,
    QuarantineRow,
    RevisionRow,
    Seen,
    Target,
    VersionRow,
)


def version(row: Any) -> VersionRow:
    return VersionRow(row.version, row.at, Cause(row.cause), row.object)


def document(row: Any) -> DocumentRow:
    return DocumentRow(row.kind, row.name, row.text, row.file, row.line, row.revision)


def revision(row: Any) -> RevisionRow:
    return RevisionRow(
        row.number,
        row.version,
        row.at,
        row.who,
        row.why,
        row.documents,
        row.changes,
        row.rollback_of,
    )


def audit(row: Any) -> AuditRow:
    return AuditRow(
        row.number,
        row.at,
        row.who,
        row.address,
        row.what,
        row.object,
        row.why,
        row.refused,
        row.version,
    )


def settings(values: Mapping[str, int]) -> FleetSettings:
    """A setting that is newer than the row has its default."""
    return FleetSettings(**values)


def target(kind: str, name: str) -> Target:
    return Target(host=name) if kind == "host" else Target(workload=name)


def target_key(value: Target) -> tuple[str, str]:
    """(kind, name)."""
    assert bool(value.host) != bool(value.workload), "a quarantine has exactly one target"
    return ("host", value.host) if value.host else ("workload", value.workload)


def quarantine(row: Any) -> QuarantineRow:
    return QuarantineRow(target(row.kind, row.name), row.until, row.since, row.who, row.why)


def sorted_addresses(addresses: Iterable[IPAddress]) -> tuple[IPAddress, ...]:
    """Each once, IPv4 first: the order is no input of anybody's."""
    return tuple(sorted(set(addresses), key=lambda a: (a.version, int(a))))


def host(row: Any, addresses: Iterable[IPAddress]) -> HostRow:
    """row: hosts joined with host_seen, the latter's columns as `seen_...`."""
    return HostRow(
        name=row.name,
        number=row.number,
        labels=row.labels,
        addresses=sorted_addresses(addresses),
        networks=tuple(ipaddress.ip_network(text) for text in row.networks),
        fixed=row.fixed,
        tags=row.tags,
        nat=row.nat,
        lost=row.lost,
        revoked=row.revoked,
        record_serial=row.record_serial,
        record_at=row.record_at,
        enrolled_at=row.enrolled_at,
        enrolled_by=row.enrolled_by,
        certificate_expires=row.certificate_expires,
        seen=seen(row),
    )


def seen(row: Any) -> Seen:
    return Seen(
        row.seen_at,
        row.seen_controller,
        row.seen_agent_version,
        row.seen_store_epoch,
        row.seen_version,
        row.seen_refused_version,
        row.seen_refused,
        row.seen_trouble,
        row.seen_report,
    )


def administrator(row: Any) -> AdministratorRow:
    return AdministratorRow(row.name, Role(row.role), row.expires, row.revoked, row.seen)


def grant_json(grant: HostGrant | AdministratorGrant) -> dict[str, object]:
    if isinstance(grant, AdministratorGrant):
        return {**asdict(grant), "role": int(grant.role), "for": "administrator"}
    return {
        "for": "host",
        "name": grant.name,
        "labels": dict(grant.labels),
        "networks": [str(network) for network in grant.networks],
        "addresses": [str(address) for address in grant.addresses],
        "replace": grant.replace,
    }


def grant(stored: Mapping[str, Any]) -> HostGrant | AdministratorGrant:
    if stored["for"] == "administrator":
        role = Role(stored["role"])
        return AdministratorGrant(stored["name"], role, stored["certificate_seconds"])
    return HostGrant(
        name=stored["name"],
        labels=stored["labels"],
        networks=tuple(ipaddress.ip_network(text) for text in stored["networks"]),
        addresses=tuple(ipaddress.ip_address(text) for text in stored["addresses"]),
        replace=stored["replace"],
    )


def token(row: Any, now: int) -> TokenRow:
    return TokenRow(
        id=row.id,
        secret_hash=row.secret_hash,
        grant=grant(row.grant),
        state=_token_state(row, now),
        created=row.created,
        created_by=row.created_by,
        expires=row.expires,
        used=row.used,
        used_from=row.used_from,
        key_digest=row.key_digest,
    )


def _token_state(row: Any, now: int) -> TokenState:
    if row.used:
        return TokenState.SPENT
    if row.revoked:
        return TokenState.REVOKED
    return TokenState.EXPIRED if row.expires <= now else TokenState.ACTIVE
