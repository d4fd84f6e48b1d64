# SPDX-License-Identifier: Apache-2.0
"""What was there before the agent: processes, listeners, connections, of IPv4 and IPv6."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from agent.edge import listener_flag
from agent.pb import local_pb2
from tests.kernel.world import ALLOW, PORT, QUIET, policy
from tests.lab import Lab, Puppet, wait_until
from tests.lab.cordon import Cordon

FAMILIES = pytest.mark.parametrize("version", ["v4", "v6"])
YOUNG_PORT = 5441
"""Allowed, too; nothing listens there before the agent does its work."""
OTHER_PORT = 7777
"""Nothing allows it."""


@dataclass
class Before:
    """Two hosts on which things run that no agent has seen begin."""

    lab: Lab
    web: Puppet
    db: Puppet
    listeners: dict[tuple[str, int], int] = field(default_factory=dict)
    pairs: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    """(version, port) -> the two ends of a connection, at web and at db."""
    cordon: Cordon | None = None

    @classmethod
    def build(cls, lab: Lab) -> Before:
        made = cls(lab, lab["a"].puppet("web.service"), lab["b"].puppet("db.service"))
        for version in ("v4", "v6"):
            for port in (PORT, OTHER_PORT):
                made.connect(version, port)
        return made

    def address(self, version: str) -> str:
        return str(getattr(self.lab["b"], version))

    def connect(self, version: str, port: int) -> None:
        listener = self.db.listen(self.address(version), port)
        assert listener.ok, listener
        client = self.web.connect(self.address(version), port)
        server = self.db.accept(listener.handle)
        assert client.ok, client
        assert server.ok, server
        self.listeners[version, port] = listener.handle
        self.pairs[version, port] = client.handle, server.handle

    @contextlib.contextmanager
    def guarded(self, text: str, grace: str) -> Iterator[Cordon]:
        self.cordon = Cordon(self.lab)
        self.cordon.settings = {"adoption_grace": grace}
        try:
            self.cordon.start(text)
            self.cordon["a"].wait_attested(self.web.pid)
            self.cordon["b"].wait_attested(self.db.pid)
            yield self.cordon
        finally:
            self.cordon.close()

    def passes(self, version: str, port: int) -> bool:
        """One byte each way over the connection that was there before."""
        client, server = self.pairs[version, port]
        self.web.send(client, b"q")
        if self.db.recv(server, 1, timeout=QUIET).data != b"q":
            return False
        self.db.send(server, b"a")
        return self.web.recv(client, 1, timeout=QUIET).data == b"a"

    def judged(self, version: str, port: int) -> bool:
        """Whether both agents have refused it; each end's packet makes its kernel look."""
        client, server = self.pairs[version, port]
        self.web.send(client, b"q")
        self.db.send(server, b"a")
        ends = [self.seen(version, port, at=at) for at in ("a", "b")]
        return all((s.verdict, s.reason) == ("refuse", "no_rule") for s in ends)

    def still_delivers(self, version: str, port: int) -> bool:
        """Whether a byte that is sent now arrives, behind what arrived before."""
        client, server = self.pairs[version, port]
        self.web.send(client, b"!")
        arrived = iter(lambda: self.db.recv(server, 1, timeout=QUIET).data, b"")
        return b"!" in arrived

    def seen(self, version: str, port: int, *, at: str = "b") -> local_pb2.Socket:
        """What the agent says of the connection's end."""
        assert self.cordon is not None
        pid = self.db.pid if at == "b" else self.web.pid
        ports = "local_port" if at == "b" else "remote_port"
        colon = ":" in self.address(version)
        (found,) = [
            s
            for s in self.cordon[at].sockets(pid)
            if s.state == "established"
            and getattr(s, ports) == port
            and (":" in s.local_address) == colon
        ]
        return found


@pytest.fixture
def before(lab: Lab) -> Before:
    return Before.build(lab)


def test_nothing_that_worked_is_cut_before_the_grace_is_over_and_then_it_is_judged(
    before: Before,
) -> None:
    with before.guarded(policy(ALLOW), "8s") as cordon:
        for version in ("v4", "v6"):
            for port in (PORT, OTHER_PORT):
                assert before.passes(version, port)
                for at, workload in (("a", "front/web"), ("b", "data/db")):
                    seen = before.seen(version, port, at=at)
                    assert (seen.local_workload, seen.adopted) == (workload, True)
                    assert (seen.verdict, seen.reason) == ("allow", "adopted")
                    assert 0 < seen.adopted_seconds_left <= 8
        wait_until(lambda: cordon["a"].status().adoption_seconds_left == 0, "the grace is over", 15)
        for version in ("v4", "v6"):
            wait_until(
                lambda version=version: before.judged(version, OTHER_PORT),  # type: ignore[misc]
                "both ends of an adopted connection are judged",
                timeout=15,
            )
            assert not before.still_delivers(version, OTHER_PORT)
            seen = before.seen(version, OTHER_PORT)
            assert seen.peer_workload == "unproven", "nobody proved anything when it began"


@FAMILIES
def test_listener_that_was_there_answers_with_a_tag_where_linux_can_let_it(
    before: Before, version: str
) -> None:
    """Linux 6.12 and newer can; elsewhere its log says that it cannot."""
    with before.guarded(policy(ALLOW), "1h") as cordon:
        if listener_flag.works():
            _answers_with_a_tag(before, version)
        else:
            agent = cordon["b"].agent
            assert agent is not None
            wait_until(lambda: "event=listeners_not_marked" in agent.output(), "its log says so")
            _is_unproven_until_it_listens_anew(before, version)


def _answers_with_a_tag(before: Before, version: str) -> None:
    assert before.cordon is not None
    client = before.web.connect(before.address(version), PORT, timeout=2.0)
    assert client.ok, client
    server = before.db.accept(before.listeners[version, PORT])
    assert server.ok
    ends = [
        s
        for s in before.cordon["a"].sockets(before.web.pid)
        if s.state == "established" and s.remote_port == PORT and not s.adopted
    ]
    assert [(s.peer_workload, s.proof) for s in ends] == [("data/db", "tag")]
    assert before.web.connect(before.address(version), OTHER_PORT).error == "EPERM"


def _is_unproven_until_it_listens_anew(before: Before, version: str) -> None:
    refused = before.web.connect(before.address(version), PORT, timeout=QUIET)
    assert not refused.ok, "nothing allows web to reach whoever proves nothing"
    assert before.passes(version, PORT), "what was connected before goes on"
    before.db.close(before.listeners[version, PORT])
    assert before.db.listen(before.address(version), PORT).ok
    client = before.web.connect(before.address(version), PORT, timeout=2.0)
    assert client.ok, client


def test_connected_datagram_socket_that_was_there_passes_until_it_is_used_anew(
    before: Before,
) -> None:
    server = before.db.udp(bind=(before.address("v4"), 9000))
    client = before.web.udp()
    to = (before.address("v4"), 9000)
    assert before.web.one(before.web.op("connect", client.handle, to=to)).ok
    with before.guarded(policy(ALLOW), "1h"):
        assert before.web.send(client.handle, b"1").ok
        # The receiver's socket is not connected: who writes to it is judged anew.
        assert before.db.recvfrom(server.handle, timeout=QUIET).error == "TIMEOUT"
        elsewhere = (before.address("v4"), 9001)
        assert before.web.sendto(client.handle, b"2", elsewhere).error == "EPERM"


def test_adopted_connections_are_listed_and_cut_and_no_others(before: Before) -> None:
    with before.guarded(policy(ALLOW), "1h") as cordon:
        assert before.db.listen(before.address("v4"), YOUNG_PORT).ok
        young = before.web.connect(before.address("v4"), YOUNG_PORT, timeout=2.0)
        assert young.ok, young
        listed = cordon["a"].ctl("adopt")
        for version in ("v4", "v6"):
            assert before.passes(version, PORT)
            assert before.address(version) in listed
        listed = json.loads(cordon["a"].ctl("adopt", "--cut", "--output", "json"))
        assert {(one["remote_port"], one["ipv6"]) for one in listed} == {
            (port, ipv6) for port in (PORT, OTHER_PORT) for ipv6 in (False, True)
        }
        for version in ("v4", "v6"):
            client, server = before.pairs[version, PORT]
            assert before.web.recv(client, 1).error == "ECONNABORTED"
            assert before.db.recv(server, 1).error == "ECONNRESET"
        assert before.web.send(young.handle, b"x").ok
        assert json.loads(cordon["a"].ctl("adopt", "--output", "json")) == []


def test_grace_begins_with_the_first_policy(lab: Lab) -> None:
    """The agent is there first; until somebody gives it a policy, everything passes."""
    cordon = Cordon(lab)
    cordon.settings = {"adoption_grace": "1h"}
    try:
        cordon.start()
        before = Before.build(lab)
        before.cordon = cordon
        client = before.web.udp()
        to = (before.address("v4"), 9000)
        assert before.web.one(before.web.op("connect", client.handle, to=to)).ok
        assert cordon["b"].status().adoption_seconds_left == 0
        cordon.apply(policy(ALLOW))
        assert before.passes("v4", OTHER_PORT)
        assert before.seen("v4", OTHER_PORT).adopted
        assert before.web.send(client.handle, b"x").ok, "a connected datagram socket, too"
        assert 3000 < cordon["b"].status().adoption_seconds_left <= 3600
    finally:
        cordon.close()


def test_agent_that_comes_again_does_not_begin_the_grace_again(before: Before) -> None:
    with before.guarded(policy(ALLOW), "1h") as cordon:
        left = cordon["b"].status().adoption_seconds_left
        cordon["b"].kill9()
        cordon["b"].start()
        cordon["b"].wait_ready()
        cordon["b"].wait_attested(before.db.pid)
        assert cordon["b"].status().adoption_seconds_left < left
        assert before.passes("v4", OTHER_PORT)
