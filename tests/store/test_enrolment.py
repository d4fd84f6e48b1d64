# SPDX-License-Identifier: Apache-2.0
"""Tokens and certificates."""

from __future__ import annotations

import ipaddress
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from controller.access_records import (
    AdministratorGrant,
    CertificateRow,
    HostGrant,
    Joining,
    NewToken,
    Role,
    TokenState,
)
from controller.records import Actor, Cause, HostRow, Page, Target
from controller.storage import Conflict, HostExists, NotFound, Refused, TokenSpent
from controller.store import SqlStorage
from tests.store.making import (
    NOW,
    OPERATOR,
    addresses,
    certify,
    digest,
    host_token,
    join,
    login,
)

WEB = HostGrant("web-1", {"role": "web"})
JOINING = Joining(digest("key"), addresses("192.0.2.7"), b"facts", NOW)
ACTOR = Actor("spiffe://example.org/host/web-1", "192.0.2.7")


def test_a_token_comes_back_as_it_was_given(storage: SqlStorage) -> None:
    grant = HostGrant(
        "web-1",
        {"role": "web", "odd": 'a"b'},
        (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32")),
        addresses("10.0.0.1", "2001:db8::1"),
        replace=True,
    )
    token = NewToken("t", digest("t"), grant, NOW + 900)
    made = storage.create_token(token, OPERATOR, "because", NOW)
    assert storage.token("t", NOW) == made
    assert (made.grant, made.state, made.secret_hash) == (grant, TokenState.ACTIVE, digest("t"))
    assert (made.created, made.created_by, made.expires) == (NOW, OPERATOR.who, NOW + 900)
    operator = AdministratorGrant("olga", Role.OPERATOR, 600)
    storage.create_token(NewToken("u", digest("u"), operator, NOW + 900), OPERATOR, "", NOW)
    shown = storage.token("u", NOW)
    assert shown is not None
    assert shown.grant == operator
    assert storage.token("v", NOW) is None


def test_enrolment_makes_a_host_with_a_number_that_nobody_had(storage: SqlStorage) -> None:
    before = storage.head().version
    host_token(storage, "t", WEB)
    host = storage.enrol("t", JOINING, ACTOR)
    assert (host.name, host.number, host.labels) == ("web-1", 1, {"role": "web"})
    assert host.addresses == addresses("192.0.2.7")
    assert (host.enrolled_at, host.enrolled_by) == (NOW, OPERATOR.who)
    assert storage.host("web-1") == host
    assert storage.host_facts("web-1") == b"facts"
    (version,) = storage.changes(before)
    assert (version.cause, version.object) == (Cause.HOST, "web-1")
    assert join(storage, "web-2").number == 2
    token = storage.token("t", NOW)
    assert token is not None
    assert (token.state, token.used, token.used_from) == (TokenState.SPENT, NOW, "192.0.2.7")


def test_the_same_key_gets_the_same_host_again_and_another_key_nothing(
    storage: SqlStorage,
) -> None:
    host_token(storage, "t", WEB)
    host = storage.enrol("t", JOINING, ACTOR)
    head = storage.head()
    assert storage.enrol("t", JOINING, ACTOR) == host
    assert storage.head() == head
    with pytest.raises(TokenSpent):
        storage.enrol("t", replace(JOINING, key_digest=digest("another")), ACTOR)
    with pytest.raises(TokenSpent):
        storage.enrol("t", replace(JOINING, at=NOW + 900), ACTOR)
    storage.revoke_host("web-1", OPERATOR, "w", NOW)
    with pytest.raises(TokenSpent, match="was revoked"):
        storage.enrol("t", JOINING, ACTOR)


def test_tokens_that_are_no_good(storage: SqlStorage) -> None:
    host_token(storage, "revoked", WEB)
    storage.revoke_token("revoked", OPERATOR, "lost", NOW)
    host_token(storage, "expired", WEB, NOW - 900)
    login_grant = AdministratorGrant("olga", Role.OPERATOR, 600)
    storage.create_token(NewToken("login", digest("x"), login_grant, NOW + 9), OPERATOR, "", NOW)
    for id_ in ("revoked", "expired", "login", "unknown"):
        with pytest.raises(TokenSpent):
            storage.enrol(id_, JOINING, ACTOR)
    host_token(storage, "host", WEB)
    with pytest.raises(TokenSpent):
        storage.login("host", digest("key"), OPERATOR, NOW)
    states = {row.id: row.state for row in storage.tokens(Page(), NOW).items}
    assert states["revoked"] is TokenState.REVOKED
    assert states["expired"] is TokenState.EXPIRED
    assert storage.host("web-1") is None
    with pytest.raises(NotFound):
        storage.revoke_token("unknown", OPERATOR, "", NOW)


def test_a_used_token_cannot_be_revoked(storage: SqlStorage) -> None:
    join(storage, "web-1")
    with pytest.raises(Refused, match="was used"):
        storage.revoke_token(f"web-1-{NOW}", OPERATOR, "", NOW)


def test_of_many_that_race_with_one_token_one_is_enrolled(
    storage: SqlStorage, other: SqlStorage
) -> None:
    host_token(storage, "t", WEB)

    def attempt(number: int) -> HostRow | None:
        joining = replace(JOINING, key_digest=digest(f"key {number}"))
        try:
            return (storage, other)[number % 2].enrol("t", joining, ACTOR)
        except TokenSpent:
            return None

    with ThreadPoolExecutor(8) as pool:
        won = [host for host in pool.map(attempt, range(16)) if host]
    assert len(won) == 1
    assert storage.fleet().hosts == won
    assert not storage.check()


def test_of_many_that_race_for_one_address_one_gets_it(
    storage: SqlStorage, other: SqlStorage
) -> None:
    for number in range(8):
        host_token(storage, f"t{number}", HostGrant(f"web-{number}", {}))
    refusals: list[str] = []

    def attempt(number: int) -> HostRow | None:
        joining = replace(JOINING, key_digest=digest(f"key {number}"))
        try:
            return (storage, other)[number % 2].enrol(f"t{number}", joining, ACTOR)
        except Conflict as error:
            refusals.append(str(error))
            return None

    with ThreadPoolExecutor(8) as pool:
        won = [host for host in pool.map(attempt, range(8)) if host]
    assert len(won) == 1
    assert refusals == [f"192.0.2.7: is of host {won[0].name}"] * 7
    (address,) = addresses("192.0.2.7")
    assert storage.taken([address, *addresses("::1")]) == {address: won[0].name}


def test_a_name_is_replaced_only_if_the_token_says_so(storage: SqlStorage) -> None:
    old = join(storage, "web-1", "192.0.2.7")
    certify(storage, old, 77)
    storage.set_quarantine(Target(host="web-1"), NOW + 900, OPERATOR, "w", NOW)
    host_token(storage, "t", WEB)
    with pytest.raises(HostExists):
        storage.enrol("t", JOINING, ACTOR)
    token = storage.token("t", NOW)
    assert token is not None
    assert token.state is TokenState.ACTIVE
    new = join(storage, "web-1", "192.0.2.7", replace=True, now=NOW + 1)
    assert new.number != old.number
    assert storage.host("web-1") == new
    revoked = storage.revoked()
    assert revoked.hosts == {old.number}
    assert revoked.serials == {77}
    assert len(storage.quarantines()) == 1, "whoever is cut off does not get out by enrolling anew"


def test_a_login_makes_an_administrator_and_a_revoked_one_can_come_back(
    storage: SqlStorage,
) -> None:
    assert login(storage, "olga").role is Role.OPERATOR
    made = login(storage, "eva", Role.EDITOR)
    assert (made.role, made.expires, made.revoked) == (Role.EDITOR, NOW + 3600, False)
    storage.revoke_administrator("eva", OPERATOR, "left", NOW + 1)
    assert storage.revoked().administrators == {"eva"}
    serials = storage.revoked().serials
    assert len(serials) == 1
    with pytest.raises(TokenSpent):
        storage.login(f"login-eva-{NOW}", digest(f"key of login-eva-{NOW}"), OPERATOR, NOW + 2)
    login(storage, "eva", Role.VIEWER, NOW + 3)
    assert storage.revoked().administrators == frozenset()
    assert storage.revoked().serials == serials, "the old certificate stays refused"


def test_no_certificate_is_noted_for_somebody_who_was_revoked(storage: SqlStorage) -> None:
    host = join(storage, "web-1")
    certify(storage, host, 5)
    known = storage.host("web-1")
    assert known is not None
    assert known.certificate_expires == NOW + 3600
    storage.revoke_host("web-1", OPERATOR, "w", NOW)
    with pytest.raises(Refused, match="was revoked"):
        certify(storage, host, 6)
    login(storage, "olga")
    login(storage, "eva", Role.EDITOR)
    storage.revoke_administrator("eva", OPERATOR, "w", NOW)
    row = CertificateRow(7, "spiffe://example.org/admin/editor/eva", 0, NOW + 9)
    with pytest.raises(Refused, match="was revoked"):
        storage.note_certificate(row, NOW)
    stranger = replace(row, subject="spiffe://example.org/admin/editor/nobody")
    with pytest.raises(Refused):
        storage.note_certificate(stranger, NOW)


def test_serials_of_any_size_are_kept(storage: SqlStorage) -> None:
    host = join(storage, "web-1")
    serial = (1 << 159) + 12345
    certify(storage, host, serial)
    storage.revoke_host("web-1", OPERATOR, "w", NOW)
    assert storage.revoked().serials == {serial}


def test_tokens_come_newest_first_in_pages(storage: SqlStorage) -> None:
    for number in range(5):
        host_token(storage, f"t{number}", WEB, NOW + number // 2)
    first = storage.tokens(Page(size=2), NOW)
    second = storage.tokens(Page(2, first.next), NOW)
    third = storage.tokens(Page(2, second.next), NOW)
    pages = [[row.id for row in page.items] for page in (first, second, third)]
    assert pages == [["t4", "t2"], ["t3", "t0"], ["t1"]]
    assert not third.next


def test_what_is_secret_is_in_no_repr(storage: SqlStorage) -> None:
    host_token(storage, "t", WEB)
    assert repr(digest("t")) not in repr(storage.token("t", NOW))
    secrets = storage.secrets()
    for hidden in (secrets.root, secrets.authorities[0].private, secrets.signing_keys[0].private):
        assert repr(hidden)[2:-1] not in repr(secrets)
