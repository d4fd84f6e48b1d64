# SPDX-License-Identifier: Apache-2.0
"""What an administrator does with hosts and administrators."""

from __future__ import annotations

import ipaddress

import pytest

from controller.access_records import Role
from controller.records import (
    STALE_SECONDS,
    Cause,
    HostChange,
    HostQuery,
    HostRow,
    HostState,
    LabelsJudged,
    Page,
    Seen,
    Target,
)
from controller.storage import Conflict, Moved, NotFound, Refused
from controller.store import SqlStorage
from tests.store.making import (
    NOW,
    OPERATOR,
    addresses,
    certify,
    changes,
    document,
    join,
    login,
)


def _host(storage: SqlStorage, name: str = "web-1") -> HostRow:
    host = storage.host(name)
    assert host is not None
    return host


def _names(storage: SqlStorage, query: HostQuery) -> list[str]:
    return [host.name for host in storage.hosts(query, Page()).items]


def test_revocation_ends_certificates_addresses_and_the_quarantine(storage: SqlStorage) -> None:
    host = join(storage, "web-1", "192.0.2.7")
    certify(storage, host, 11)
    certify(storage, join(storage, "web-2"), 12)
    storage.set_quarantine(Target(host="web-1"), NOW + 60, OPERATOR, "w", NOW)
    version = storage.revoke_host("web-1", OPERATOR, "stolen", NOW)
    assert version == storage.head().version
    revoked = storage.revoked()
    assert revoked.hosts == {host.number}
    assert revoked.serials == {11}
    assert _host(storage).revoked
    assert [h.name for h in storage.fleet().hosts] == ["web-2"]
    assert not storage.quarantines()
    assert join(storage, "db-1", "192.0.2.7").addresses == addresses("192.0.2.7")
    with pytest.raises(NotFound):
        storage.revoke_host("web-1", OPERATOR, "again", NOW)
    assert join(storage, "web-1", now=NOW + 1).number > host.number, "numbers are never reused"


def test_labels_are_refused_that_were_judged_by_something_else(storage: SqlStorage) -> None:
    labels = join(storage, "web-1", labels={"a": "1"}).labels

    def change(revision: int) -> int:
        judged = LabelsJudged(revision, labels)
        more = HostChange(set_labels={"a": "2"}, judged=judged)
        return storage.update_host("web-1", more, OPERATOR, "w", NOW)

    storage.apply(changes(document("a")), 0, OPERATOR, "w", NOW)
    with pytest.raises(Moved):
        change(0)
    assert change(1)
    with pytest.raises(Moved):
        change(1)
    assert _host(storage).labels == {"a": "2"}


def test_a_change_bumps_the_record_if_the_record_shows_it(storage: SqlStorage) -> None:
    serial = join(storage, "web-1", "192.0.2.7", labels={"a": "1", "b": "2"}).record_serial
    change = HostChange(set_labels={"a": "3", "c": "4"}, remove_labels=("b", "z"))
    version = storage.update_host("web-1", change, OPERATOR, "w", NOW + 5)
    host = _host(storage)
    assert host.labels == {"a": "3", "c": "4"}
    assert (host.record_serial, host.record_at) == (serial + 1, NOW + 5)
    (row,) = storage.changes(version - 1)
    assert (row.cause, row.object) == (Cause.HOST, "web-1")
    assert storage.update_host("web-1", change, OPERATOR, "w", NOW) == 0
    storage.update_host("web-1", HostChange(tags=False, nat=True), OPERATOR, "w", NOW)
    host = _host(storage)
    assert (host.tags, host.nat, host.record_serial) == (False, True, serial + 2)
    wide = HostChange(networks=(ipaddress.ip_network("192.0.2.0/24"),))
    assert storage.update_host("web-1", wide, OPERATOR, "w", NOW)
    assert _host(storage).record_serial == serial + 2


def test_addresses_of_an_operator_stay_until_they_are_given_free(storage: SqlStorage) -> None:
    join(storage, "web-1", "192.0.2.7")
    fixed = HostChange(addresses=addresses("192.0.2.9", "2001:db8::9"))
    storage.update_host("web-1", fixed, OPERATOR, "w", NOW)
    host = _host(storage)
    assert (host.fixed, host.addresses) == (True, addresses("192.0.2.9", "2001:db8::9"))
    with pytest.raises(Refused, match="given by an operator"):
        storage.claim_addresses("web-1", addresses("192.0.2.7"), NOW)
    storage.update_host("web-1", HostChange(addresses=()), OPERATOR, "w", NOW)
    assert storage.claim_addresses("web-1", addresses("192.0.2.7"), NOW)
    assert _host(storage).addresses == addresses("192.0.2.7")


def test_networks_take_away_what_lies_outside(storage: SqlStorage) -> None:
    join(storage, "web-1", "192.0.2.7", "198.51.100.7")
    change = HostChange(networks=(ipaddress.ip_network("192.0.2.0/24"),))
    storage.update_host("web-1", change, OPERATOR, "w", NOW)
    assert _host(storage).addresses == addresses("192.0.2.7")
    with pytest.raises(Refused, match=r"198\.51\.100\.7: is in none of the host's networks"):
        storage.claim_addresses("web-1", addresses("192.0.2.7", "198.51.100.7"), NOW)
    assert _host(storage).addresses == addresses("192.0.2.7")


def test_an_address_of_another_host_is_refused_and_nothing_changes(storage: SqlStorage) -> None:
    join(storage, "web-1", "192.0.2.7")
    join(storage, "web-2", "192.0.2.8")
    head, host = storage.head(), _host(storage, "web-2")
    with pytest.raises(Conflict, match=r"192\.0\.2\.7: is of host web-1"):
        storage.claim_addresses("web-2", addresses("192.0.2.7", "192.0.2.9"), NOW)
    change = HostChange({"x": "y"}, addresses=addresses("192.0.2.7"))
    with pytest.raises(Conflict):
        storage.update_host("web-2", change, OPERATOR, "w", NOW)
    assert (storage.head(), _host(storage, "web-2")) == (head, host)


def test_hosts_are_found_by_label_state_and_page(storage: SqlStorage) -> None:
    for number in range(5):
        labels = {"parity": ("even", "odd")[number % 2], "a-b": "a \"b\" 'c' %_"}
        join(storage, f"web-{number}", labels=labels)
    storage.revoke_host("web-0", OPERATOR, "w", NOW)
    storage.note_seen({"web-1": Seen(at=NOW + 50, controller="ctl-1")}, NOW + 50)
    storage.end_leases(NOW + 40, NOW + 60)
    assert _names(storage, HostQuery()) == ["web-1", "web-2", "web-3", "web-4"]
    assert _names(storage, HostQuery(labels={"parity": "even"})) == ["web-2", "web-4"]
    odd = {"parity": "even", "a-b": "a \"b\" 'c' %_"}
    assert _names(storage, HostQuery(labels=odd)) == ["web-2", "web-4"]
    assert _names(storage, HostQuery(labels={'a"b.c[0]$': "x"})) == []
    assert _names(storage, HostQuery(labels={"parity": "' OR 1=1 --"})) == []
    assert _names(storage, HostQuery(labels={"nothing": "even"})) == []
    storage.note_seen({"web-2": Seen(at=NOW + 70, controller="ctl-1")}, NOW + 70)
    later = NOW + 51 + STALE_SECONDS
    for moment, states, expected in [
        (NOW + 60, {HostState.REVOKED}, ["web-0"]),
        (NOW + 60, {HostState.CONNECTED}, ["web-1", "web-2"]),
        (later, {HostState.CONNECTED}, ["web-2"]),
        (later, {HostState.SILENT}, ["web-1"]),
        (later, {HostState.LOST, HostState.SILENT}, ["web-1", "web-3", "web-4"]),
        (later, {HostState.ENROLLED}, []),
    ]:
        query = HostQuery(states=frozenset(states), now=moment)
        assert _names(storage, query) == expected
        found = storage.hosts(query, Page()).items
        assert {host.state(moment) for host in found} == (states if expected else set())
    join(storage, "web-5")
    assert _names(storage, HostQuery(states=frozenset({HostState.ENROLLED}))) == ["web-5"]
    storage.revoke_host("web-5", OPERATOR, "w", NOW)
    first = storage.hosts(HostQuery(), Page(size=3))
    second = storage.hosts(HostQuery(), Page(3, first.next))
    assert [h.name for h in (*first.items, *second.items)] == [f"web-{n}" for n in (1, 2, 3, 4)]
    assert (first.total, second.next) == (4, "")


def test_the_last_operator_stays(storage: SqlStorage) -> None:
    login(storage, "olga")
    login(storage, "eva", Role.EDITOR)
    with pytest.raises(Refused, match="last operator"):
        storage.revoke_administrator("olga", OPERATOR, "w", NOW)
    login(storage, "otto")
    with pytest.raises(Refused, match="last operator"):
        storage.revoke_administrator("olga", OPERATOR, "otto's certificate has ended", NOW + 3600)
    storage.revoke_administrator("olga", OPERATOR, "w", NOW)
    assert {row.name: row.revoked for row in storage.administrators()} == {
        "eva": False,
        "olga": True,
        "otto": False,
    }
    with pytest.raises(NotFound):
        storage.revoke_administrator("nobody", OPERATOR, "w", NOW)


def test_revoking_an_administrator_leaves_a_host_of_that_name_alone(storage: SqlStorage) -> None:
    login(storage, "olga")
    login(storage, "web-1", Role.VIEWER)
    certify(storage, join(storage, "web-1"), 99)
    storage.revoke_administrator("web-1", OPERATOR, "w", NOW)
    assert 99 not in storage.revoked().serials


def test_an_administrator_is_seen_to_the_minute(storage: SqlStorage) -> None:
    login(storage, "olga")
    storage.note_administrator_seen("olga", NOW + 59)
    assert storage.administrators()[0].seen == NOW
    storage.note_administrator_seen("olga", NOW + 61)
    assert storage.administrators()[0].seen == NOW + 61
