# SPDX-License-Identifier: Apache-2.0
"""The thin way through: who am I, a token, hosts, a policy, and how far it has come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.pb import admin_pb2 as pb
from controller import tokens
from controller.access_records import Role
from controller.store import SqlStorage
from tests.lab.waiting import wait_until
from tests.server.administering import (
    PATIENCE,
    POLICY,
    Administrator,
    Hosts,
    administrator,
)
from tests.server.served import Served


@pytest.fixture
def operator(served: Served, storage: SqlStorage) -> Iterator[Administrator]:
    with administrator(served, storage, Role.OPERATOR) as one:
        yield one


def test_policy_comes_to_hosts_and_its_way_is_told(
    served: Served, storage: SqlStorage, operator: Administrator
) -> None:
    who = operator("Whoami")
    assert (who.name, who.role, who.trust_domain) == ("operator", pb.ROLE_OPERATOR, "example.org")
    made = operator("CreateToken", host=pb.HostGrant(name="web-1", labels={"role": "web"}))
    assert tokens.parse(made.token) is not None
    with Hosts(served, storage) as hosts:
        web = hosts.follow(hosts.enrol("a", "192.0.2.1", {"role": "web"}))
        db = hosts.follow(hosts.enrol("b", "192.0.2.2", {"role": "db"}))
        applied = operator.policy(POLICY)
        assert (applied.revision, applied.hosts_touched, applied.changes_total) == (1, 2, 7)
        told = operator.rollout(applied.version)
        assert (told.hosts, told.enforced, told.done) == (2, 2, True)
        assert (web.rules, db.rules) == (["web-to-db"], ["web-to-db"])
        assert web.version == applied.version
        wait_until(lambda: all(h.current for h in operator("ListHosts").hosts), "hosts", PATIENCE)
        listed = operator("ListHosts")
        assert [(h.name, h.state, h.version, h.current) for h in listed.hosts] == [
            ("a", pb.HOST_STATE_CONNECTED, applied.version, True),
            ("b", pb.HOST_STATE_CONNECTED, applied.version, True),
        ]
