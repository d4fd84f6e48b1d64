# SPDX-License-Identifier: Apache-2.0
"""Hosts and tokens by administrators, with real streams at the other end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from agent.pb import admin_pb2 as pb
from agent.pb import policy_pb2
from controller import ca, tokens
from controller.access_records import Role
from controller.store import SqlStorage
from tests.lab.waiting import wait_until
from tests.server import client
from tests.server.administering import (
    PATIENCE,
    POLICY,
    Administrator,
    Follower,
    Hosts,
    administrator,
    refusal,
)
from tests.server.served import Served

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def operator(served: Served) -> Iterator[Administrator]:
    with served.site.store() as storage, administrator(served, storage, Role.OPERATOR) as one:
        one.policy(POLICY)
        yield one


@pytest.fixture
def hosts(served: Served, storage: SqlStorage) -> Iterator[Hosts]:
    """None of an earlier test."""
    for host in storage.fleet().hosts:
        storage.revoke_host(host.name, client.OPERATOR, "a test's end", int(time.time()))
    with Hosts(served, storage) as made:
        yield made


@pytest.fixture
def pair(hosts: Hosts) -> tuple[Follower, Follower]:
    """a runs web, b runs db, and web may connect to db."""
    web = hosts.follow(hosts.enrol("a", "192.0.2.1", {"role": "web"}))
    db = hosts.follow(hosts.enrol("b", "192.0.2.2", {"role": "db"}))
    wait_until(lambda: web.peers == {"b"}, "a to hear of b", PATIENCE)
    return web, db


def names(operator: Administrator, **request: Any) -> list[str]:
    return [host.name for host in operator("ListHosts", **request).hosts]


def test_hosts_are_listed_by_state_label_and_page(
    operator: Administrator, hosts: Hosts, pair: tuple[Follower, Follower]
) -> None:
    hosts.enrol("c", "192.0.2.3", {"role": "other"})
    operator("RevokeHost", name="b", why="w")
    states = [pb.HOST_STATE_CONNECTED]
    wait_until(lambda: names(operator, states=states) == ["a"], "the list", PATIENCE)
    assert names(operator) == ["a", "c"]
    assert names(operator, states=[pb.HOST_STATE_ENROLLED]) == ["c"]
    assert "b" in names(operator, states=[pb.HOST_STATE_REVOKED])
    assert names(operator, labels={"role": "web"}) == ["a"]
    assert names(operator, labels={"role": "none"}) == []
    first = operator("ListHosts", page_size=1)
    assert (first.total, [h.name for h in first.hosts]) == (2, ["a"])
    last = operator("ListHosts", page_size=1, page_token=first.next_page_token)
    assert ([h.name for h in last.hosts], last.next_page_token) == (["c"], "")
    assert dict(last.hosts[0].labels) == {"role": "other"}
    assert last.hosts[0].addresses == ["192.0.2.3"]


def test_a_page_that_is_too_large_for_a_message_is_a_shorter_one(
    operator: Administrator, hosts: Hosts
) -> None:
    labels = {f"l{n}": "x" * 1024 for n in range(64)}
    for number in range(70):
        hosts.enrol(f"h{number:02}", labels=labels)
    found, token = [], ""
    while True:
        page = operator("ListHosts", page_size=1000, page_token=token)
        assert page.ByteSize() <= 4 * 1024 * 1024
        found += [host.name for host in page.hosts]
        if not (token := page.next_page_token):
            break
    assert found == [f"h{number:02}" for number in range(70)]
    assert len(page.hosts) < 70


def test_what_is_known_of_a_host_is_told_in_names(
    operator: Administrator, hosts: Hosts, pair: tuple[Follower, Follower], storage: SqlStorage
) -> None:
    web, _ = pair
    number = storage.fleet().allocations.workloads["web"]
    report = policy_pb2.Report(
        state="in_sync",
        kernel="6.1.0\x1b[2J",
        identities=[policy_pb2.RunningIdentity(identity=number, processes=3)],
        listeners=[
            policy_pb2.Listener(protocol=6, address=bytes(4), port=80, identity=number),
            policy_pb2.Listener(protocol=17, address=bytes(16), port=53, identity=1),
        ],
        addresses=[bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])],
    )
    hosts.say(web, report=report)
    wait_until(lambda: operator("GetHost", name="a").agent_state, "the report", PATIENCE)
    host = operator("GetHost", name="a")
    assert host.kernel == "6.1.0?[2J"
    assert host.workloads == ["front/web"]
    assert dict(host.running) == {"front/web": 3}
    assert host.listeners == ["tcp 0.0.0.0:80 front/web", "udp [::]:53 host"]
    assert host.addresses_refused == ["192.0.2.2: is of host b"]
    assert (host.enrolled_by, host.controller) == ("olga", "ctl-1")
    assert host.certificate_expires > time.time()
    assert operator.refused("GetHost", name="nobody").reason == "UNKNOWN"
    assert operator.refused("GetHost", name="No Body").reason == "BOUNDS"


def test_a_revoked_host_loses_its_stream_at_once_and_its_place_with_all_others(
    operator: Administrator, hosts: Hosts, pair: tuple[Follower, Follower]
) -> None:
    web, db = pair
    number = db.agent.identity.number
    assert any(peer == number for peer, _ in web.agent.held.keys)
    done = operator("RevokeHost", name="b", why="stolen")
    wait_until(lambda: db.ended, "its stream to end", PATIENCE)
    assert db.ended == ("PERMISSION_DENIED", "REVOKED")
    assert operator.rollout(done.version).enforced == 1
    assert web.peers == set()
    assert not any(peer == number for peer, _ in web.agent.held.keys)
    again = hosts.outcome(db.agent)
    assert again == ("PERMISSION_DENIED", "REVOKED")
    shown = operator("GetHost", name="b").host
    assert (shown.state, shown.number) == (pb.HOST_STATE_REVOKED, number)
    assert operator.refused("RevokeHost", name="b", why="again").reason == "UNKNOWN"
    assert operator.refused("RevokeHost", name="a").reason == "BOUNDS"
    entry = operator("ListAudit", page_size=1).entries[0]
    assert (entry.what, entry.object, entry.why) == ("RevokeHost", "b", "stolen")
    assert entry.version == done.version
    assert hosts.enrol("b", "192.0.2.2").number > number


def test_what_is_changed_of_a_host_comes_to_its_stream_and_to_others(
    operator: Administrator, pair: tuple[Follower, Follower]
) -> None:
    web, db = pair
    done = operator("UpdateHost", name="a", set_labels={"role": "other"}, why="moved")
    assert operator.rollout(done.version).done
    wait_until(lambda: web.rules == [] and db.peers == set(), "the label's effect", PATIENCE)
    assert dict(done.host.labels) == {"role": "other"}
    back = operator("UpdateHost", name="a", remove_labels=["role"], set_labels={"role": "web"})
    assert dict(back.host.labels) == {"role": "web"}
    wait_until(lambda: db.peers == {"a"}, "the label's effect", PATIENCE)
    items = pb.AddressList(items=["192.0.2.11", "fd00::1"])
    fixed = operator("UpdateHost", name="a", addresses=items, nat=True, tags_off=True)
    assert fixed.host.addresses == ["192.0.2.11", "fd00::1"]
    found = operator("GetHost", name="a")
    assert (found.addresses_fixed, found.nat, found.tags_off) == (True, True, True)
    same = operator("UpdateHost", name="a", nat=True)
    assert same.version == 0
    taken = operator.refused("UpdateHost", name="a", addresses=pb.AddressList(items=["192.0.2.2"]))
    assert (taken.code, taken.reason) == (Code.FAILED_PRECONDITION, "ADDRESS_TAKEN")
    free = operator("UpdateHost", name="a", addresses=pb.AddressList())
    assert free.version
    assert not operator("GetHost", name="a").addresses_fixed


MANY = {f"l{n}": "x" for n in range(65)}
WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "many labels": ("UpdateHost", {"set_labels": MANY}),
    "many in all": ("UpdateHost", {"set_labels": dict(list(MANY.items())[:64])}),
    "no label": ("UpdateHost", {"set_labels": {"A b": "x"}}),
    "control characters": ("UpdateHost", {"set_labels": {"a": "x\n"}}),
    "no address": ("UpdateHost", {"addresses": pb.AddressList(items=["192.0.2.300"])}),
    "loopback": ("UpdateHost", {"addresses": pb.AddressList(items=["127.0.0.1"])}),
    "host bits": ("UpdateHost", {"networks": pb.AddressList(items=["192.0.2.1/24"])}),
    "a long why": ("UpdateHost", {"why": "x" * 1001}),
    "no state": ("ListHosts", {"states": [99]}),
    "a large page": ("ListHosts", {"page_size": 1001}),
    "no page": ("ListHosts", {"page_token": "x' OR 1=1"}),
}


@pytest.mark.parametrize("what", WRONG)
def test_requests_about_hosts_have_bounds(
    operator: Administrator, hosts: Hosts, storage: SqlStorage, what: str
) -> None:
    hosts.enrol("a", labels={"role": "web"})
    head, (method, fields) = storage.head(), WRONG[what]
    named = {} if method == "ListHosts" else {"name": "a"}
    refused = operator.refused(method, **named, **fields)
    assert (refused.code, refused.reason) == (Code.INVALID_ARGUMENT, "BOUNDS")
    assert storage.head() == head


def test_a_token_lets_one_host_in_and_is_told_of_without_its_secret(
    operator: Administrator, served: Served, storage: SqlStorage, hosts: Hosts
) -> None:
    grant = pb.HostGrant(
        name="t", labels={"a": "b"}, networks=["10.0.0.0/8"], addresses=["10.1.1.1"]
    )
    made = operator("CreateToken", host=grant, ttl_seconds=60, why="new one")
    parts = tokens.parse(made.token)
    assert parts is not None
    assert parts.pin.hex() == _pin(storage)
    assert made.info.host == grant
    assert (made.info.state, made.info.created_by) == ("active", "operator")
    assert made.info.expires - made.info.created == 60
    hosts.join("t", made.token)
    (listed,) = [t for t in operator("ListTokens").tokens if t.id == parts.id]
    assert (listed.state, listed.used_from) == ("spent", "127.0.0.1")
    assert made.token.split(".")[2].encode() not in listed.SerializeToString()
    spent = operator.refused("RevokeToken", id=parts.id)
    assert (spent.code, spent.reason) == (Code.FAILED_PRECONDITION, "TOKEN_SPENT")
    assert operator("GetHost", name="t").enrolled_by == "operator"


def test_a_revoked_token_is_of_no_use(
    operator: Administrator, served: Served, hosts: Hosts
) -> None:
    made = operator("CreateToken", host=pb.HostGrant(name="t2"))
    assert made.info.expires - made.info.created == 15 * 60
    operator("RevokeToken", id=made.info.id, why="lost")
    assert refusal(lambda: hosts.join("t2", made.token)).reason == "TOKEN_INVALID"
    states = {t.id: t.state for t in operator("ListTokens").tokens}
    assert states[made.info.id] == "revoked"
    assert operator.refused("RevokeToken", id="nobody").reason == "UNKNOWN"


def test_a_login_token_makes_an_administrator_of_its_role(
    operator: Administrator, served: Served, storage: SqlStorage
) -> None:
    grant = pb.AdministratorGrant(name="vera", role=pb.ROLE_VIEWER, certificate_seconds=300)
    made = operator("CreateToken", administrator=grant)
    assert made.info.administrator == grant
    answer = client.login(served, client.roots(storage), made.token, client.new_key())
    assert (answer.name, answer.role) == ("vera", "viewer")
    assert 0 < answer.credentials.expires - time.time() <= 300
    (vera,) = [a for a in operator("ListAdministrators").administrators if a.name == "vera"]
    assert (vera.role, vera.expires) == (pb.ROLE_VIEWER, answer.credentials.expires)


GRANTS: dict[str, dict[str, Any]] = {
    "no grant": {},
    "no name": {"host": pb.HostGrant()},
    "no role": {"administrator": pb.AdministratorGrant(name="x")},
    "a short life": {
        "administrator": pb.AdministratorGrant(name="x", role=pb.ROLE_VIEWER, certificate_seconds=9)
    },
    "a long ttl": {"host": pb.HostGrant(name="x"), "ttl_seconds": 86_401},
    "a short ttl": {"host": pb.HostGrant(name="x"), "ttl_seconds": 59},
    "many networks": {"host": pb.HostGrant(name="x", networks=["10.0.0.0/8"] * 65)},
}


@pytest.mark.parametrize("what", GRANTS)
def test_tokens_have_bounds(operator: Administrator, what: str) -> None:
    refused = operator.refused("CreateToken", **GRANTS[what])
    assert (refused.code, refused.reason) == (Code.INVALID_ARGUMENT, "BOUNDS")


def test_tokens_come_in_pages(operator: Administrator) -> None:
    made = [operator("CreateToken", host=pb.HostGrant(name=f"p{n}")).info.id for n in range(3)]
    found, token = [], ""
    while True:
        page = operator("ListTokens", page_size=2, page_token=token)
        found += [one.id for one in page.tokens]
        if not (token := page.next_page_token):
            break
    assert len(found) == len(set(found))
    assert set(made) <= set(found)


def _pin(storage: SqlStorage) -> str:
    return ca.spki_pin(client.authority(storage).certificate).hex()
