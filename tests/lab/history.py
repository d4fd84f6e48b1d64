# SPDX-License-Identifier: Apache-2.0
"""What a run was like: revisions published and in force, and what came of each attempt to connect,
at both ends, with times of one clock (CLOCK_MONOTONIC). `end` hands it to the checker, with
`agent.core.policy` to say what each revision means.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import grpc

from agent.core import policy
from agent.core.model import Direction, Identity, IPAddress, Protocol, Snapshot, Verdict
from agent.core.policy import Query
from tests.lab.cordon import Cordon, CordonHost
from tests.lab.history_check import OK, Answer, Attempt, Pair, Party, Record, check
from tests.lab.load import Load
from tests.lab.puppet import Puppet, Reply

LOOK_SECONDS = 0.05


class History:
    """The record of a running lab, while a test goes on."""

    def __init__(self, cordon: Cordon, read: Callable[[CordonHost], Snapshot]) -> None:
        """read: what a host was handed last."""
        self.record = Record()
        self._cordon, self._read = cordon, read
        self._snapshots: dict[tuple[str, int], Snapshot] = {}
        self._loads: list[tuple[Load, Mapping[tuple[str, int], Pair]]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="history", daemon=True)

    def published(self, at: float) -> None:
        """Revisions that were handed over; `at`: before the first host had it."""
        for name, host in self._cordon.hosts.items():
            snapshot = self._read(host)
            self._snapshots[name, snapshot.version] = snapshot
            self.record.published[name].setdefault(snapshot.version, at)

    def publish(self, text: str) -> None:
        at = time.monotonic()
        self._cordon.publish(text)
        self.published(at)

    def follow(self, load: Load, client: Party, servers: Mapping[str, Party]) -> None:
        """What this load, made with `record`, tells. servers: by address."""
        assert load.record is not None, "it was made without a record"
        pairs = {}
        for lane in load.lanes:
            server = servers[lane.address]
            source = self._address(client.host, lane.address)
            pairs[lane.name, lane.port] = Pair(client, server, lane.address, lane.port, source)
        self._loads.append((load, pairs))

    def accepts(self, load: Load, host: str) -> None:
        """What this server, made with `record`, tells. Before `follow`, for they are read in this
        order: of whom it has accepted by then, the client must know."""
        assert load.record is not None, "it was made without a record"
        self._loads.append((load, {("accepted", 0): Pair(Party(""), Party(host), "", 0, "")}))

    def connect(self, puppet: Puppet, client: Party, server: Party, to: tuple[str, int]) -> Reply:
        """A puppet's attempt, of which the server knows like of any other."""
        began = time.monotonic()
        reply = puppet.connect(*to, timeout=5.0)
        pair = Pair(client, server, *to, self._address(client.host, to[0]))
        port = reply.port if reply.address is not None else 0
        outcome = reply.error or OK
        self.record.attempts.append(Attempt(pair, port, began, time.monotonic(), outcome))
        return reply

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> list[str]:
        """Stop looking, read what the loads wrote, and check."""
        self._ended.set()
        self._thread.join()
        for load, pairs in self._loads:
            for line in _lines(load):
                self._take(json.loads(line), pairs)
        return check(self.record, self._decide)

    def _take(self, told: list[object], pairs: Mapping[tuple[str, int], Pair]) -> None:
        match told:
            case ["accepted", int(port), int(source_port), float(at)]:
                host = pairs["accepted", 0].server.host
                self.record.accepted[host].append((port, source_port, at))
            case [str(lane), int(port), str(outcome), int(source_port), float(began), float(ended)]:
                attempt = Attempt(pairs[lane, port], source_port, began, ended, outcome)
                self.record.attempts.append(attempt)
            case _:
                raise AssertionError(f"no record of a load: {told}")

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            for name, host in self._cordon.hosts.items():
                began = time.monotonic()
                with contextlib.suppress(grpc.RpcError, ValueError):  # killed, or just closed
                    revision = host.status().policy_version
                    if revision:
                        self.record.sights[name].append((began, time.monotonic(), revision))

    def _address(self, host: str, like: str) -> str:
        lab = self._cordon.lab[host]
        return lab.v6 if ":" in like else lab.v4

    def _decide(self, host: str, revision: int, pair: Pair) -> Answer:
        snapshot = self._snapshots[host, revision]
        if host == pair.client.host:
            return self._egress(snapshot, pair)
        address = ipaddress.ip_address(pair.source)
        peer = self._proven(pair.client)
        if peer is None:
            peer = policy.network_identity(snapshot, address)
        local = self._identity(pair.server)
        return Answer(True, _passes(snapshot, Direction.INGRESS, local, peer, pair.port, address))

    def _egress(self, snapshot: Snapshot, pair: Pair) -> Answer:
        address = ipaddress.ip_address(pair.address)
        local, peer = self._identity(pair.client), self._proven(pair.server)
        if peer is None:
            peer = policy.network_identity(snapshot, address)
            right = _passes(snapshot, Direction.EGRESS, local, peer, pair.port, address)
            return Answer(right, right)
        early = policy.provisional(snapshot, local, Protocol.TCP, pair.port, address)
        right = _passes(snapshot, Direction.EGRESS, local, peer, pair.port, address)
        return Answer(early.verdict is not Verdict.REFUSE, right)

    def _proven(self, party: Party) -> int | None:
        """Whom its tag names; the hosts with agents of these labs have each other's keys."""
        return self._identity(party) if party.host in self._cordon.hosts else None

    def _identity(self, party: Party) -> int:
        snapshots: Sequence[Snapshot] = [
            snapshot for (host, _), snapshot in self._snapshots.items() if host == party.host
        ]
        named = {w.identity for s in snapshots for w in s.workloads if w.name == party.workload}
        assert len(named) <= 1, f"{party} has several identities: a name keeps its number"
        return named.pop() if named else int(Identity.HOST)


def _lines(load: Load) -> list[str]:
    """Whole ones: it goes on writing."""
    load.report()
    assert load.record is not None, "it was made without a record"
    *whole, _part = load.record.read_text(encoding="ascii").split("\n")
    return whole


def _passes(
    snapshot: Snapshot, direction: Direction, local: int, peer: int, port: int, address: IPAddress
) -> bool:
    query = Query(direction, Protocol.TCP, local, peer, port, address)
    return policy.verdict(snapshot, query).verdict is not Verdict.REFUSE
