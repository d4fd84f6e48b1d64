# SPDX-License-Identifier: Apache-2.0
"""Two controllers on one PostgreSQL: neither has anything of its own."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from agent.pb import enrolment_pb2 as pb
from controller.access_records import HostGrant
from tests.lab.waiting import wait_until
from tests.server import client
from tests.server.served import Pair, Served
from tests.store.postgres import Cluster

PATIENCE = 90.0


def _request(token: str, key: client.Key | None = None) -> pb.EnrolRequest:
    return pb.EnrolRequest(token=token, csr=client.csr(key or client.new_key()))


def test_one_token_at_both_in_the_same_moment_enrols_one_host(pair: Pair) -> None:
    first, second, storage = pair
    roots = client.roots(storage)
    for number in range(5):
        grant = HostGrant(f"web-{number}", {})
        token = client.host_token(storage, grant, int(time.time()))

        def attempt(served: Served, token: str = token) -> int | str:
            try:
                return client.enrol(served, roots, _request(token)).host
            except grpc.RpcError as error:
                return client.refusal(error).reason

        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(attempt, (first, second)))
        assert sorted(outcomes, key=str)[1] == "TOKEN_INVALID", outcomes
        assert isinstance(sorted(outcomes, key=str)[0], int), outcomes
    assert [host.number for host in storage.fleet().hosts] == [1, 2, 3, 4, 5]
    assert not storage.check()


def test_what_one_enrolled_the_other_renews_and_refuses_when_revoked(pair: Pair) -> None:
    first, second, storage = pair
    key = client.new_key()
    token = client.host_token(storage, HostGrant("web-1", {}), int(time.time()))
    answer = client.enrol(first, client.roots(storage), _request(token, key))
    mine = client.identity(key, answer.credentials)
    client.renew(second, mine)
    storage.revoke_host("web-1", client.OPERATOR, "w", int(time.time()))
    for served in (first, second):
        with pytest.raises(grpc.RpcError) as caught:
            client.renew(served, mine)
        assert client.refusal(caught.value).reason == "REVOKED"


def test_one_is_killed_and_the_other_goes_on(pair: Pair) -> None:
    first, second, storage = pair
    roots = client.roots(storage)
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    token = client.host_token(storage, HostGrant("web-1", {}), int(time.time()))
    assert client.enrol(second, roots, _request(token)).host == 1
    with Served(first.site) as again:
        token = client.host_token(storage, HostGrant("web-2", {}), int(time.time()))
        assert client.enrol(again, roots, _request(token)).host == 2


def test_without_the_database_nobody_enrols_and_the_controller_waits(
    pair: Pair, postgresql: Cluster
) -> None:
    first, _, storage = pair
    roots, key = client.roots(storage), client.new_key()
    refused_for: set[str] = set()
    token = client.host_token(storage, HostGrant("web-1", {}), int(time.time()))
    postgresql.stop(signal.SIGQUIT)
    try:
        with pytest.raises(grpc.RpcError) as caught:
            client.enrol(first, roots, _request(token, key))
        refused = client.refusal(caught.value)
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE")
        assert refused.retry is not None
        service = "cordon.v1.EnrolmentService"
        away = health_pb2.HealthCheckResponse.NOT_SERVING
        wait_until(lambda: _health(first, roots, service) == away, "health to tell", PATIENCE, 0.5)
        assert _health(first, roots, "") == health_pb2.HealthCheckResponse.SERVING
    finally:
        postgresql.start()

    def enrolled() -> bool:
        try:
            return client.enrol(first, roots, _request(token, key)).host == 1
        except grpc.RpcError as error:
            refused_for.add(client.refusal(error).reason)
            return False

    wait_until(enrolled, "the database to be used again", PATIENCE, 0.5)
    assert refused_for <= {"STORE"}
    assert "Traceback" not in first.text


def _health(served: Served, roots: bytes, service: str) -> int:
    with client.channel(served.enrolment, roots) as opened:
        stub = health_pb2_grpc.HealthStub(opened)
        request = health_pb2.HealthCheckRequest(service=service)
        status: int = stub.Check(request, timeout=client.DEADLINE).status
        return status
