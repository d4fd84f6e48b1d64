# SPDX-License-Identifier: Apache-2.0
"""Workloads between which a process could not choose: refused whichever comes second, the policy
or the labels by which they tie, and whatever comes at the same moment.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from agent.pb import admin_pb2 as pb
from controller.access_records import Role
from controller.store import SqlStorage
from tests.server import client
from tests.server.administering import POLICY, Administrator, Hosts, administrator, file
from tests.server.served import Served

Code = grpc.StatusCode
ROUNDS = 10


@pytest.fixture(scope="module")
def operator(served: Served) -> Iterator[Administrator]:
    with served.site.store() as storage, administrator(served, storage, Role.OPERATOR) as one:
        yield one


@pytest.fixture
def hosts(operator: Administrator, served: Served, storage: SqlStorage) -> Iterator[Hosts]:
    """None of an earlier test, and no policy by which anybody ties."""
    for host in storage.fleet().hosts:
        storage.revoke_host(host.name, client.OPERATOR, "a test's end", int(time.time()))
    operator.policy(POLICY, prune=True)
    with Hosts(served, storage) as made:
        yield made


TIED = """
---
kind: Workload
name: late
segment: front
match: [{user: web, host: {late: 'yes'}}]
---
kind: Workload
name: early
segment: front
match: [{group: web, host: {early: 'yes'}}]
"""


def test_labels_by_which_workloads_would_tie_are_refused_as_apply_refuses_the_tie(
    operator: Administrator, hosts: Hosts
) -> None:
    hosts.enrol("a", "192.0.2.1", {"early": "yes"})
    operator.policy(POLICY + TIED)
    refused = operator.refused("UpdateHost", name="a", set_labels={"late": "yes"})
    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "TIE")
    assert "a tie: Workload late and Workload early" in refused.text
    assert "on host a: make one of them more specific or tell their hosts apart" in refused.text
    assert operator("GetHost", name="a").host.labels == {"early": "yes"}, "nothing was changed"
    moved = {"remove_labels": ["early"], "set_labels": {"late": "yes"}}
    assert operator("UpdateHost", name="a", **moved).version
    hosts.enrol("b", "192.0.2.2", {"early": "yes", "late": "yes"})
    assert operator("UpdateHost", name="b", set_labels={"zone": "x"}).version, "it came so"
    operator("RevokeHost", name="b", why="w")


def test_token_by_whose_labels_workloads_would_tie_is_not_made(
    operator: Administrator, hosts: Hosts
) -> None:
    operator.policy(POLICY + TIED)
    both, before = {"early": "yes", "late": "yes"}, operator("ListTokens")
    refused = operator.refused("CreateToken", host=pb.HostGrant(name="a", labels=both))
    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "TIE")
    assert "on host a: make one of them more specific" in refused.text
    assert operator("ListTokens") == before, "nothing was made"
    hosts.enrol("a", "192.0.2.1", both)
    again = pb.HostGrant(name="a", labels=both, replace=True)
    assert operator("CreateToken", host=again).token, "those it has already"
    operator("RevokeHost", name="a", why="w")
    fresh = operator.refused("CreateToken", host=pb.HostGrant(name="a", labels=both))
    assert fresh.reason == "TIE"
    operator.policy(POLICY, prune=True)


def test_of_a_policy_and_labels_at_one_moment_that_tie_only_one_passes(
    operator: Administrator, hosts: Hosts
) -> None:
    said: list[str] = []
    hosts.enrol("a", "192.0.2.1", {"early": "yes"})

    def applied() -> bool:
        answer = operator.apply(file(POLICY + TIED))
        said.extend(problem.message for problem in answer.problems)
        return not answer.problems

    def labelled() -> bool:
        try:
            return bool(operator("UpdateHost", name="a", set_labels={"late": "yes"}).version)
        except grpc.RpcError as error:
            said.append(client.refusal(error).text)
            return False

    with ThreadPoolExecutor(2) as pool:
        for number in range(ROUNDS):
            operator("UpdateHost", name="a", remove_labels=["late"])
            operator.policy(POLICY, prune=True)
            both = [pool.submit(task) for task in (applied, labelled)]
            assert [one.result() for one in both].count(True) == 1, number
    assert all("a tie: Workload " in text for text in said), said
