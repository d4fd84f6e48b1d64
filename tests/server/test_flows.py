# SPDX-License-Identifier: Apache-2.0
"""Flow records over mutual TLS: each host's are its own, bounds hold, viewers find them."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import pytest

from agent.pb import enrolment_pb2 as enrolment
from agent.pb import flow_pb2 as pb
from agent.pb import flow_pb2_grpc
from controller.access_records import HostGrant, Role
from controller.store import SqlStorage
from tests.server import client
from tests.server.client import Identity, Refusal
from tests.server.served import Served

Code = grpc.StatusCode
_COUNT = itertools.count(1)
_WAIT_SECONDS = 60.0


@dataclass
class Host:
    """One that has joined, and ships."""

    served: Served
    name: str
    identity: Identity
    instance: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    sequence: int = 0

    def ship(self, *records: pb.FlowRecord, **changed: object) -> None:
        self.sequence += 1
        request = pb.ShipFlowsRequest(
            instance=self.instance, sequence=self.sequence, records=records
        )
        request.MergeFrom(pb.ShipFlowsRequest(**changed))  # type: ignore[arg-type]
        self.send(request)

    def send(self, request: pb.ShipFlowsRequest) -> None:
        with client.channel(self.served.main, self.identity.roots, self.identity) as opened:
            flow_pb2_grpc.FlowServiceStub(opened).ShipFlows(request, timeout=client.DEADLINE)


@pytest.fixture
def host(served: Served, storage: SqlStorage) -> Host:
    return joined(served, storage)


def joined(served: Served, storage: SqlStorage) -> Host:
    name, key = f"web-{next(_COUNT)}", client.new_key()
    token = client.host_token(storage, HostGrant(name, {}), now())
    request = enrolment.EnrolRequest(token=token, csr=client.csr(key))
    answer = client.enrol(served, client.roots(storage), request)
    host = Host(served, name, client.identity(key, answer.credentials))
    wait_until_known(host)
    return host


def wait_until_known(host: Host) -> None:
    """The controller hears of a new host by its own store's bell."""
    end = time.monotonic() + _WAIT_SECONDS
    while refused(lambda: host.send(pb.ShipFlowsRequest())).reason != "BOUNDS":
        assert time.monotonic() < end, "the controller never heard of the host"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def viewer(served: Served) -> Identity:
    with served.site.store() as storage:
        token = client.login_token(storage, "vera", Role.VIEWER, now())
        roots, key = client.roots(storage), client.new_key()
        return client.identity(key, client.login(served, roots, token, key).credentials)


def now() -> int:
    return int(time.time())


def record(**changed: object) -> pb.FlowRecord:
    made = pb.FlowRecord(
        minute=now() // 60 * 60, direction="egress", verdict="allow", reason="rule_allow",
        rule="web-to-db", source="front/web", destination="data/db", proof="tag", protocol="tcp",
        port=5432, executable="/usr/bin/web", count=3, first_ms=now() * 1000, last_ms=now() * 1000,
        closed=2, source_bytes=100, destination_bytes=5000,
    )  # fmt: skip
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def refused(call: Callable[[], object]) -> Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return client.refusal(caught.value)


def flows(served: Served, viewer: Identity, **chosen: object) -> list[pb.StoredFlow]:
    request = pb.ListFlowsRequest(filter=pb.FlowFilter(**chosen), page_size=1000)  # type: ignore[arg-type]
    with client.channel(served.main, viewer.roots, viewer) as opened:
        stub = flow_pb2_grpc.FlowQueryServiceStub(opened)
        return list(stub.ListFlows(request, timeout=client.DEADLINE).flows)


def edges(served: Served, viewer: Identity, **asked: object) -> list[pb.FlowEdge]:
    with client.channel(served.main, viewer.roots, viewer) as opened:
        stub = flow_pb2_grpc.FlowQueryServiceStub(opened)
        request = pb.ListEdgesRequest(**asked)  # type: ignore[arg-type]
        return list(stub.ListEdges(request, timeout=client.DEADLINE).edges)


def test_what_a_host_ships_is_there_when_it_is_answered(
    served: Served, host: Host, viewer: Identity
) -> None:
    told = [record(), record(verdict="refuse", reason="no_rule", address=bytes([192, 0, 2, 7]))]
    host.ship(*told)
    found = flows(served, viewer, host=host.name)
    assert [flow.record for flow in found] == told[::-1]
    assert {flow.host for flow in found} == {host.name}


def test_a_host_ships_for_itself_alone(
    served: Served, storage: SqlStorage, host: Host, viewer: Identity
) -> None:
    """There is no field for another; its certificate says who it is."""
    other = joined(served, storage)
    other.instance, other.sequence = host.instance, host.sequence
    host.ship(record(port=1))
    other.ship(record(port=2))
    assert [f.record.port for f in flows(served, viewer, host=host.name)] == [1]
    assert [f.record.port for f in flows(served, viewer, host=other.name)] == [2]


def test_a_request_that_is_sent_again_counts_once(
    served: Served, host: Host, viewer: Identity
) -> None:
    request = pb.ShipFlowsRequest(instance=host.instance, sequence=1, records=[record()])
    for _ in range(3):
        host.send(request)
    assert len(flows(served, viewer, host=host.name)) == 1


@pytest.mark.parametrize(
    "request_",
    [
        pb.ShipFlowsRequest(instance=bytes(15), sequence=1, records=[record()]),
        pb.ShipFlowsRequest(instance=bytes(16), records=[record()]),
        pb.ShipFlowsRequest(instance=bytes(16), sequence=1),
        pb.ShipFlowsRequest(instance=bytes(16), sequence=1, records=[record()] * 1001),
        *(
            pb.ShipFlowsRequest(instance=bytes(16), sequence=1, records=[record(), record(**bad)])
            for bad in (
                {"minute": 61},
                {"minute": (now() + 8000) // 60 * 60},
                {"minute": 0},
                {"direction": "both"},
                {"verdict": "All"},
                {"reason": "x" * 33},
                {"protocol": "TCP!"},
                {"source": "x" * 129},
                {"destination": "a\nb"},
                {"rule": "\x1b[31m"},
                {"executable": "x" * 257},
                {"port": 65_536},
                {"address": bytes(5)},
                {"count": 1 << 60},
                {"count": 0, "closed": 0},
            )
        ),
    ],
)
def test_what_is_over_a_bound_is_refused_whole(
    served: Served, host: Host, viewer: Identity, request_: pb.ShipFlowsRequest
) -> None:
    refusal = refused(lambda: host.send(request_))
    assert (refusal.code, refusal.reason, refusal.retry) == (Code.INVALID_ARGUMENT, "BOUNDS", None)
    assert refusal.text.startswith("expected ")
    assert flows(served, viewer, host=host.name) == []


def test_a_host_that_never_stops_is_told_to_wait(host: Host) -> None:
    """Empty requests are refused as well, and cost as much."""
    empty = pb.ShipFlowsRequest()
    with client.channel(host.served.main, host.identity.roots, host.identity) as opened:
        stub = flow_pb2_grpc.FlowServiceStub(opened)
        for _ in range(2000):
            refusal = refused(lambda: stub.ShipFlows(empty, timeout=client.DEADLINE))
            if refusal.reason != "BOUNDS":
                break
    assert (refusal.code, refusal.reason) == (Code.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert refusal.retry is not None


def test_administrators_do_not_ship_and_hosts_do_not_ask(
    served: Served, host: Host, viewer: Identity
) -> None:
    posing = Host(served, "vera", viewer)
    shipped = refused(lambda: posing.ship(record()))
    asked = refused(lambda: flows(served, host.identity))
    for refusal in (shipped, asked):
        assert (refusal.code, refusal.reason) == (Code.UNAUTHENTICATED, "WRONG_KIND")


def test_a_revoked_host_ships_no_more(
    served: Served, storage: SqlStorage, host: Host, viewer: Identity
) -> None:
    storage.revoke_host(host.name, client.OPERATOR, "test", now())
    end = time.monotonic() + _WAIT_SECONDS
    while (refusal := _refusal(host)) is None:  # it hears of it by looking
        assert time.monotonic() < end, "the host still ships"
        time.sleep(0.2)
    assert (refusal.code, refusal.reason) == (Code.PERMISSION_DENIED, "REVOKED")


def _refusal(host: Host) -> Refusal | None:
    try:
        host.ship(record())
    except grpc.RpcError as error:
        return client.refusal(error)
    return None


def test_refused_edges_come_with_the_allow_that_opens_them(
    served: Served, host: Host, viewer: Identity
) -> None:
    source = f"front/{host.name}"
    refusal = {"verdict": "refuse", "reason": "no_rule", "rule": "", "source": source}
    host.ship(
        record(**refusal, port=22),
        record(**refusal, destination="192.0.2.0/24", port=443),
        record(**refusal, destination="unproven", port=80),
        record(**{**refusal, "reason": "rule_deny"}, port=23),
        record(source=source, port=5432),
    )
    chosen = pb.FlowFilter(source=source, verdicts=["refuse"])
    found = {edge.port: edge.allow for edge in edges(served, viewer, filter=chosen)}
    assert found.keys() == {22, 443, 80, 23}
    assert f"from:\n  workload: {host.name}\nto:\n  workload: db\nports:\n- tcp/22\n" in found[22]
    assert "to:\n  cidr: 192.0.2.0/24\n" in found[443]
    assert (found[80], found[23]) == ("", "")


def test_pages_follow_their_tokens_and_others_are_refused(
    served: Served, host: Host, viewer: Identity
) -> None:
    host.ship(*(record(port=port) for port in range(1, 6)))
    with client.channel(served.main, viewer.roots, viewer) as opened:
        stub = flow_pb2_grpc.FlowQueryServiceStub(opened)
        request = pb.ListFlowsRequest(filter=pb.FlowFilter(host=host.name), page_size=2)
        ports = []
        while True:
            answer = stub.ListFlows(request, timeout=client.DEADLINE)
            ports += [flow.record.port for flow in answer.flows]
            if not answer.next_page_token:
                break
            request.page_token = answer.next_page_token
        assert ports == [5, 4, 3, 2, 1]
        for wrong in (
            pb.ListFlowsRequest(page_size=1001),
            pb.ListFlowsRequest(page_token="1; DROP"),
            pb.ListFlowsRequest(filter=pb.FlowFilter(port=70_000)),
            pb.ListFlowsRequest(filter=pb.FlowFilter(since=1 << 63)),
        ):
            refusal = refused(lambda wrong=wrong: stub.ListFlows(wrong, timeout=client.DEADLINE))  # type: ignore[misc]
            assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "BOUNDS")


def test_talkers_and_new_edges(served: Served, host: Host, viewer: Identity) -> None:
    source = f"back/{host.name}"
    host.ship(
        record(source=source, port=80, count=100, minute=now() // 60 * 60 - 7200,
               first_ms=(now() - 7200) * 1000),
        record(source=source, port=80, count=10),
        record(source=source, port=443, count=50, source_bytes=1 << 40),
    )  # fmt: skip
    with client.channel(served.main, viewer.roots, viewer) as opened:
        stub = flow_pb2_grpc.FlowQueryServiceStub(opened)
        chosen = pb.FlowFilter(source=source)
        for by_bytes, ports in ((False, [80, 443]), (True, [443, 80])):
            request = pb.ListTalkersRequest(filter=chosen, by_bytes=by_bytes)
            talkers = stub.ListTalkers(request, timeout=client.DEADLINE).talkers
            assert [talker.port for talker in talkers] == ports
        assert {talker.port: talker.egress for talker in talkers} == {80: 110, 443: 50}
    new = edges(served, viewer, filter=chosen, new_since=now() - 3600)
    assert [edge.port for edge in new] == [443]
