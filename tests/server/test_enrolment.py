# SPDX-License-Identifier: Apache-2.0
"""Enrolment over the wire: who gets a certificate, once, and who does not."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import pytest

from agent.edge import signed
from agent.pb import enrolment_pb2 as pb
from agent.pb import signed_pb2
from controller.access_records import HostGrant, Role
from controller.store import SqlStorage
from tests.server import client
from tests.server.client import Refusal
from tests.server.served import Served

Code = grpc.StatusCode
_COUNT = itertools.count(1)
INVALID = Refusal(
    Code.UNAUTHENTICATED,
    "TOKEN_INVALID",
    "the token is not good: unknown, used, expired or revoked",
    None,
)


@pytest.fixture
def name() -> str:
    """Of a host that nobody has enrolled."""
    return f"web-{next(_COUNT)}"


def _refused(call: Callable[[], object]) -> Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return client.refusal(caught.value)


def _request(token: str, key: client.Key | None = None, **more: object) -> pb.EnrolRequest:
    return pb.EnrolRequest(token=token, csr=client.csr(key or client.new_key()), **more)  # type: ignore[arg-type]


def _now() -> int:
    return int(time.time())


def test_a_host_gets_all_that_it_needs(served: Served, storage: SqlStorage, name: str) -> None:
    token = client.host_token(storage, HostGrant(name, {"role": "web"}), _now())
    key = client.new_key()
    facts = pb.HostFacts(kernel="6.1", addresses=[bytes([192, 0, 2, 1]), bytes([127, 0, 0, 1])])
    roots = client.roots(storage)
    answer = client.enrol(served, roots, _request(token, key, facts=facts))
    host = storage.host(name)
    assert host is not None
    assert (answer.host_name, answer.host) == (name, host.number)
    assert (answer.trust_domain, list(answer.controllers)) == ("example.org", ["localhost:7440"])
    assert host.labels == {"role": "web"}
    assert [str(address) for address in host.addresses] == ["192.0.2.1"]
    assert pb.HostFacts.FromString(storage.host_facts(name)) == facts
    mine = client.identity(key, answer.credentials)
    assert mine.roots == roots
    assert mine.certificate.public_key() == key.public_key()
    assert host.certificate_expires == answer.credentials.expires
    life = answer.credentials.expires - _now()
    assert 0.4 < (answer.credentials.renew_after - _now()) / life < 0.7
    public = storage.secrets().signing_keys[0].public
    payload = signed.open_signed(answer.policy_keys, signed.KEY_SET, [public])
    assert list(signed_pb2.PolicyKeySet.FromString(payload).keys) == [public]


def test_renewal_keeps_the_name_and_nothing_else(
    served: Served, storage: SqlStorage, name: str
) -> None:
    token = client.host_token(storage, HostGrant(name, {}), _now())
    key, fresh = client.new_key(), client.new_key()
    first = client.identity(
        key, client.enrol(served, client.roots(storage), _request(token, key)).credentials
    )
    answer = client.renew(served, first, fresh)
    second = client.identity(fresh, answer.credentials)
    assert second.certificate.public_key() == fresh.public_key()
    assert second.certificate.serial_number != first.certificate.serial_number
    assert answer.policy_keys == signed_pb2.Signed.FromString(storage.secrets().key_set)
    for still_good in (first, second):
        client.renew(served, still_good)


def test_a_token_is_good_once_but_for_the_same_key(
    served: Served, storage: SqlStorage, name: str
) -> None:
    token = client.host_token(storage, HostGrant(name, {}), _now())
    roots, key = client.roots(storage), client.new_key()
    first = client.enrol(served, roots, _request(token, key))
    again = client.enrol(served, roots, _request(token, key))
    assert again.host == first.host
    assert again.credentials.certificate_chain != first.credentials.certificate_chain
    assert _refused(lambda: client.enrol(served, roots, _request(token))) == INVALID


def test_of_hosts_that_race_with_one_token_one_is_enrolled(
    served: Served, storage: SqlStorage, name: str
) -> None:
    token = client.host_token(storage, HostGrant(name, {}), _now())
    roots = client.roots(storage)

    def attempt(_: int) -> int | Refusal:
        try:
            return client.enrol(served, roots, _request(token)).host
        except grpc.RpcError as error:
            return client.refusal(error)

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(attempt, range(4)))
    numbers = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert len(numbers) == 1
    assert [outcome for outcome in outcomes if outcome not in numbers] == [INVALID] * 3


def test_every_bad_token_reads_the_same(served: Served, storage: SqlStorage, name: str) -> None:
    """Last but one in the file's order of failures: each costs the address a try."""
    grant, roots = HostGrant(name, {}), client.roots(storage)
    good = client.host_token(storage, grant, _now())
    revoked = client.host_token(storage, grant, _now())
    storage.revoke_token(revoked.split(".")[1], client.OPERATOR, "", _now())
    secret = "B" if good.endswith("A") else "A"
    bad = [
        client.host_token(storage, grant, _now() - 60, ttl=30),
        revoked,
        good[:-1] + secret,
        client.login_token(storage, "eva", Role.EDITOR, _now()),
    ]
    for token in bad:
        request = _request(token)
        assert _refused(partial(client.enrol, served, roots, request)) == INVALID
    key = client.new_key()
    assert _refused(lambda: client.login(served, roots, good, key)) == INVALID
    assert client.enrol(served, roots, _request(good)).host_name == name


def test_a_host_cannot_take_another_name_or_one_that_is_taken(
    served: Served, storage: SqlStorage, name: str
) -> None:
    roots = client.roots(storage)
    token = client.host_token(storage, HostGrant(name, {}), _now())
    other = _refused(lambda: client.enrol(served, roots, _request(token, host_name="db-1")))
    assert (other.code, other.reason) == (Code.PERMISSION_DENIED, "NAME_NOT_GRANTED")
    client.enrol(served, roots, _request(token, host_name=name))
    second = client.host_token(storage, HostGrant(name, {}), _now())
    taken = _refused(lambda: client.enrol(served, roots, _request(second)))
    assert (taken.code, taken.reason) == (Code.ALREADY_EXISTS, "HOST_EXISTS")


def test_a_replaced_host_is_out(served: Served, storage: SqlStorage, name: str) -> None:
    roots, key = client.roots(storage), client.new_key()
    token = client.host_token(storage, HostGrant(name, {}), _now())
    old = client.enrol(served, roots, _request(token, key))
    again = client.host_token(storage, HostGrant(name, {}, replace=True), _now())
    new = client.enrol(served, roots, _request(again))
    assert new.host != old.host
    gone = _refused(lambda: client.renew(served, client.identity(key, old.credentials)))
    assert (gone.code, gone.reason) == (Code.PERMISSION_DENIED, "REVOKED")


def test_a_revoked_host_is_out(served: Served, storage: SqlStorage, name: str) -> None:
    roots, key = client.roots(storage), client.new_key()
    token = client.host_token(storage, HostGrant(name, {}), _now())
    mine = client.identity(key, client.enrol(served, roots, _request(token, key)).credentials)
    storage.revoke_host(name, client.OPERATOR, "stolen", _now())
    gone = _refused(lambda: client.renew(served, mine))
    assert (gone.code, gone.reason) == (Code.PERMISSION_DENIED, "REVOKED")


def test_an_administrator_logs_in_and_renews_with_the_same_role(
    served: Served, storage: SqlStorage, name: str
) -> None:
    roots, key = client.roots(storage), client.new_key()
    token = client.login_token(storage, name, Role.EDITOR, _now())
    answer = client.login(served, roots, token, key)
    assert (answer.name, answer.role) == (name, "editor")
    mine = client.identity(key, answer.credentials)
    renewed = client.renew(served, mine)
    assert not renewed.HasField("policy_keys")
    assert abs(renewed.credentials.expires - answer.credentials.expires) <= 120
    storage.revoke_administrator(name, client.OPERATOR, "left", _now())
    gone = _refused(lambda: client.renew(served, mine))
    assert (gone.code, gone.reason) == (Code.PERMISSION_DENIED, "REVOKED")


@pytest.mark.parametrize(
    "facts",
    [
        pb.HostFacts(kernel="x" * 65),
        pb.HostFacts(machine_id=b"x"),
        pb.HostFacts(addresses=[b"12345"]),
        pb.HostFacts(addresses=[bytes(4)] * 65),
    ],
)
def test_facts_out_of_bounds_are_refused_and_spend_nothing(
    served: Served, storage: SqlStorage, name: str, facts: pb.HostFacts
) -> None:
    token = client.host_token(storage, HostGrant(name, {}), _now())
    roots = client.roots(storage)
    bad = _refused(lambda: client.enrol(served, roots, _request(token, facts=facts)))
    assert (bad.code, bad.reason) == (Code.INVALID_ARGUMENT, "BOUNDS")
    assert client.enrol(served, roots, _request(token)).host_name == name


def test_a_bad_request_is_refused_and_spends_nothing(
    served: Served, storage: SqlStorage, name: str
) -> None:
    token = client.host_token(storage, HostGrant(name, {}), _now())
    roots = client.roots(storage)
    request = pb.EnrolRequest(token=token, csr=b"nonsense")
    bad = _refused(lambda: client.enrol(served, roots, request))
    assert (bad.code, bad.reason) == (Code.INVALID_ARGUMENT, "CSR_INVALID")
    huge = pb.EnrolRequest(token=token, csr=bytes(70_000))
    assert _refused(lambda: client.enrol(served, roots, huge)).code is Code.RESOURCE_EXHAUSTED
    assert client.enrol(served, roots, _request(token)).host_name == name


def test_zz_whoever_guesses_is_slowed_down(served: Served, storage: SqlStorage) -> None:
    """Last: from then on this address is refused."""
    roots = client.roots(storage)
    for _ in range(40):
        seen = _refused(lambda: client.enrol(served, roots, _request("cordon1.guess")))
        if seen != INVALID:
            break
    assert (seen.code, seen.reason) == (Code.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert seen.retry is not None
    assert 0 < seen.retry <= 10
