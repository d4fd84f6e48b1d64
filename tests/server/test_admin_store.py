# SPDX-License-Identifier: Apache-2.0
"""Administration over one PostgreSQL: two controllers as one, and what holds when it is away."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from agent.pb import admin_pb2 as pb
from controller.access_records import Role
from tests.lab.waiting import wait_until
from tests.server import client
from tests.server.administering import (
    PATIENCE,
    POLICY,
    Administrator,
    Hosts,
    administrator,
    file,
    refusal,
)
from tests.server.client import Refusal
from tests.server.served import Pair
from tests.store.postgres import Cluster
from tests.unit.policies import WEB_TO_DB

Two = tuple[Administrator, Administrator]


@pytest.fixture
def two(pair: Pair) -> Iterator[Two]:
    """One operator at each controller."""
    first, second, storage = pair
    with (
        administrator(first, storage, Role.OPERATOR, "one") as one,
        administrator(second, storage, Role.OPERATOR, "two") as other,
    ):
        yield one, other


def test_what_is_done_at_one_controller_holds_at_the_other(pair: Pair, two: Two) -> None:
    first, second, storage = pair
    one, other = two
    with Hosts(first, storage) as here, Hosts(second, storage) as there:
        web = here.follow(here.enrol("a", "192.0.2.1", {"role": "web"}))
        db = there.follow(there.enrol("b", "192.0.2.2", {"role": "db"}))
        done = one.policy(POLICY)
        for told in (one.rollout(done.version), other.rollout(done.version)):
            assert (told.hosts, told.enforced, told.done) == (2, 2, True)
        assert web.rules == db.rules == ["web-to-db"]
        expected = int(done.revision)
        late = refusal(lambda: other.apply(file(WEB_TO_DB), expected_revision=expected + 1))
        assert late.reason == "CONFLICT"
        states = {h.name: h.state for h in other("ListHosts").hosts}
        assert set(states.values()) == {pb.HOST_STATE_CONNECTED}
        one("RevokeHost", name="b", why="stolen")  # its stream is at the other
        wait_until(lambda: db.ended, "its stream to end", PATIENCE)
        assert db.ended == ("PERMISSION_DENIED", "REVOKED")
        assert other.rollout().done
        wait_until(lambda: web.peers == set(), "the other to forget it", PATIENCE)


def test_without_the_database_everything_is_refused_and_nothing_half_done(
    pair: Pair, two: Two, postgresql: Cluster
) -> None:
    first, _, storage = pair
    one, _ = two
    changed = WEB_TO_DB.replace("6379", "6380")
    with Hosts(first, storage) as hosts:
        web = hosts.follow(hosts.enrol("a", "192.0.2.1", {"role": "web"}))
        done = one.policy(POLICY)
        wait_until(lambda: web.version == done.version, "the policy", PATIENCE)
        head = storage.head()
        postgresql.stop(signal.SIGQUIT)
        try:
            for refused in _refused(one, changed):
                assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE")
                assert refused.retry is not None
            assert web.ended is None
        finally:
            postgresql.start()
        with contextlib.suppress(Exception):
            storage.head()  # the pool finds out that its connections are gone
        assert storage.head() == head
        assert storage.check() == []
        again = _until_it_answers(one, changed)
        assert again.revision == head.revision + 1
        wait_until(lambda: web.version == again.version, "the policy to go on", PATIENCE)
        assert web.ended is None


def test_who_watches_is_told_when_the_controller_stops_and_goes_on_at_the_other(
    pair: Pair, two: Two
) -> None:
    first, second, storage = pair
    one, other = two
    with Hosts(second, storage) as hosts:
        silent = hosts.follow(hosts.enrol("a", "192.0.2.1", {"role": "web"}))
        hosts.mute(silent)
        done = one.policy(POLICY)
        request = pb.WatchRolloutRequest(version=done.version)
        watched = one.stub.WatchRollout(request, timeout=PATIENCE)
        assert next(watched).hosts == 1
        with ThreadPoolExecutor(1) as pool:
            stopped = pool.submit(first.stop)
            refused = refusal(lambda: list(watched))
            assert stopped.result() == 0
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTDOWN")
        going = other.stub.WatchRollout(request, timeout=PATIENCE)
        assert next(going).pending == 1
        other("RevokeHost", name="a", why="w")
        assert list(going)[-1].hosts == 0


def _refused(one: Administrator, text: str) -> Iterator[Refusal]:
    yield refusal(lambda: one.apply(file(text)))
    yield refusal(lambda: one.diff(file(text)))
    yield refusal(lambda: one.rollout())
    yield refusal(lambda: one.documents())
    yield one.refused("Whoami")
    yield one.refused("CreateToken", host=pb.HostGrant(name="x"))
    yield one.refused("ListHosts")
    yield one.refused("RevokeHost", name="a", why="w")
    yield one.refused("Quarantine", host="a", until=int(time.time()) + 3600, why="w")
    yield one.refused("UpdateSettings", settings=pb.FleetSettings(lease_seconds=100), why="w")


def _until_it_answers(one: Administrator, text: str) -> pb.ApplyResponse:
    """Only a change that was made is answered; until then it says why not."""
    found: list[pb.ApplyResponse] = []

    def answered() -> bool:
        try:
            found.append(one.apply(file(text)))
        except grpc.RpcError as error:
            if client.refusal(error).reason != "STORE":
                raise
            return False
        return True

    wait_until(answered, "the controller to find the database", PATIENCE, 0.5)
    return found[0]
