# SPDX-License-Identifier: Apache-2.0
"""Statements about hosts that more than one group of methods needs."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, literal, select, update

from agent.core.model import IPAddress
from controller.records import Actor, Cause, HostRow
from controller.storage import Conflict, NotFound
from controller.store import rows
from controller.store.tables import (
    certificates,
    host_addresses,
    host_seen,
    hosts,
    quarantines,
)
from controller.store.writer import Writer

CHUNK = 400
"""Parameters of one IN: SQLite has a limit, and a plan is cached per length."""

_SEEN = [c.label(f"seen_{c.name}") for c in host_seen.c if c.name != "number"]


def select_hosts() -> Select[Any]:
    """Rows for `rows.host`."""
    return select(hosts, *_SEEN).join(host_seen, host_seen.c.number == hosts.c.number)


def select_seen() -> Select[Any]:
    """Names, and rows for `rows.seen` without reports: they are large, and few ask for them."""
    columns = (c for c in _SEEN if c.name != "seen_report")
    nothing = literal(b"").label("seen_report")
    return select(hosts.c.name, *columns, nothing).join_from(hosts, host_seen)


def chunks(items: Iterable[Any]) -> Iterable[Sequence[Any]]:
    listed = list(items)
    return (listed[at : at + CHUNK] for at in range(0, len(listed), CHUNK))


def read_hosts(connection: Connection, query: Select[Any]) -> list[HostRow]:
    """In the order of the query; addresses by one query if there are many, by number if few."""
    found = connection.execute(query).all()
    addresses = _addresses(connection, [row.number for row in found])
    return [rows.host(row, addresses.get(row.number, ())) for row in found]


def _addresses(connection: Connection, numbers: list[int]) -> Mapping[int, Sequence[IPAddress]]:
    by_number: defaultdict[int, list[IPAddress]] = defaultdict(list)
    query = select(host_addresses.c.number, host_addresses.c.address)
    few = len(numbers) <= CHUNK
    for number, address in connection.execute(
        query.where(host_addresses.c.number.in_(numbers)) if few else query
    ):
        by_number[number].append(ipaddress.ip_address(address))
    return by_number


def living(connection: Connection, name: str) -> HostRow:
    """Raises NotFound."""
    query = select_hosts().where(hosts.c.name == name, ~hosts.c.revoked)
    found = read_hosts(connection, query)
    if not found:
        raise NotFound(f"no host {name!r} is enrolled")
    return found[0]


def replace_addresses(writer: Writer, host: HostRow, wanted: Sequence[IPAddress]) -> None:
    """Raises Conflict if another host has one of them."""
    old, new = set(host.addresses), set(wanted)
    if gone := old - new:
        delete_addresses(writer.connection, gone)
    add_addresses(writer.connection, host.number, new - old)


def delete_addresses(connection: Connection, addresses: Iterable[IPAddress]) -> None:
    texts = [str(address) for address in addresses]
    connection.execute(delete(host_addresses).where(host_addresses.c.address.in_(texts)))


def add_addresses(connection: Connection, number: int, addresses: Iterable[IPAddress]) -> None:
    """Raises Conflict."""
    texts = [str(address) for address in rows.sorted_addresses(addresses)]
    if not texts:
        return
    query = select(hosts.c.name, host_addresses.c.address).join_from(host_addresses, hosts)
    taken = connection.execute(query.where(host_addresses.c.address.in_(texts))).first()
    if taken:
        raise Conflict(f"{taken.address}: is of host {taken.name}")
    values = [{"address": text, "number": number} for text in texts]
    connection.execute(insert(host_addresses), values)


def bump_record(writer: Writer, number: int) -> None:
    """The host's record says something new."""
    writer.connection.execute(
        update(hosts)
        .where(hosts.c.number == number)
        .values(record_serial=hosts.c.record_serial + 1, record_at=writer.at)
    )


def end_host(writer: Writer, host: HostRow) -> None:
    """Its certificates and addresses go, its number stays its own."""
    connection = writer.connection
    connection.execute(update(hosts).where(hosts.c.number == host.number).values(revoked=True))
    connection.execute(
        update(certificates).where(certificates.c.host == host.number).values(revoked=True)
    )
    connection.execute(delete(host_addresses).where(host_addresses.c.number == host.number))


def lift_quarantine_of_host(writer: Writer, name: str) -> None:
    """A name that may enrol anew starts free; one that is replaced does not come here."""
    is_host = quarantines.c.kind == "host"
    writer.connection.execute(delete(quarantines).where(is_host, quarantines.c.name == name))


def host_version(writer: Writer, name: str, actor: Actor, what: str, why: str = "") -> int:
    version = writer.version(Cause.HOST, name)
    writer.note(actor, what, name, why)
    return version
