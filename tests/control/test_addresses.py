# SPDX-License-Identifier: Apache-2.0
"""Addresses that hosts report: what becomes of them in the store and with the others, and what no
host can take by saying that it has it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import pytest

from agent.core.content import Section
from agent.core.model import IPAddress
from agent.pb import policy_pb2 as pb
from agent.pb import snapshot_pb2
from controller.ratelimit import Rate
from controller.records import HostChange
from controller.services.claiming import FLEET_SECONDS, Claims
from controller.storage import StorageError
from controller.store import SqlStorage
from tests.control.agent import Agent, agent, host
from tests.control.fleet import unix
from tests.control.scenario import in_sync, run
from tests.control.server import Controller
from tests.store import making

A, B = "10.0.0.1", "10.0.0.2"
OTHER = "10.7.7.7"
AT_ONCE = Rate(burst=100, per_second=1.0)


def ips(*texts: str) -> tuple[IPAddress, ...]:
    return tuple(ipaddress.ip_address(text) for text in texts)


def report(*texts: str) -> pb.Report:
    return pb.Report(addresses=[address.packed for address in ips(*texts)])


def change(storage: SqlStorage, name: str, **changed: object) -> None:
    """As an operator."""
    update = HostChange(**changed)  # type: ignore[arg-type]
    assert storage.update_host(name, update, making.OPERATOR, "w", unix())


def addresses(storage: SqlStorage) -> dict[str, set[str]]:
    return {row.name: set(map(str, row.addresses)) for row in storage.fleet().hosts}


def as_peer(one: Agent, name: str) -> set[str]:
    """Addresses of a peer, as this host's policy has them."""
    peers = map(snapshot_pb2.Peer.FromString, one.held.entries[Section.PEERS].values())
    return {str(ipaddress.ip_address(a)) for p in peers if p.name == name for a in p.addresses}


class Desk:
    """Looks at claims by hand, with a clock of its own."""

    def __init__(self, made: Controller, storage: SqlStorage, rate: Rate = AT_ONCE) -> None:
        self.claims = Claims(storage, made.publisher, rate)
        self._made = made
        self._storage = storage
        self._now = 0.0

    def say(self, name: str, *texts: str, number: int = 0) -> None:
        self.claims.reported(name, number or host(self._storage, name).number, ips(*texts))

    async def look(self, seconds: float = FLEET_SECONDS) -> int:
        """Versions that it made. seconds: since the look before."""
        self._now += seconds
        assert await self._made.publisher.ready(30.0)
        before = self._storage.head().version
        await self.claims.look(self._now)
        await self._made.publisher.catch_up()
        return self._storage.head().version - before


def test_address_that_moves_from_one_host_to_another_follows_whoever_reports_first(
    storage: SqlStorage,
) -> None:
    async def scenario(made: Controller) -> None:
        a, b = agent(storage, "a"), agent(storage, "b")
        await in_sync(made, a, b)
        await b.say(report=report(B, A))
        await b.say(heartbeat=pb.Heartbeat(sequence=1))
        await b.until("heartbeat")
        await a.say(report=report(OTHER))
        while as_peer(b, "a") != {OTHER}:
            await b.until("confirm")
        while as_peer(a, "b") != {A, B}:
            await a.until("confirm")
        for one in (a, b):
            await one.close()

    run(storage, scenario)


def test_host_hears_of_its_own_new_address(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one = agent(storage, "a")
        await in_sync(made, one)
        await one.say(report=report(A, OTHER))
        await one.until("host_record")
        assert {str(ipaddress.ip_address(a)) for a in one.held.record.addresses} == {A, OTHER}
        await one.close()

    run(storage, scenario)


def test_two_hosts_that_have_exchanged_their_addresses_both_get_them(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        desk = Desk(made, storage)
        desk.say("a", B)
        desk.say("b", A)
        for _ in range(4):
            await desk.look()
        assert addresses(storage)["a"] == {B}
        assert addresses(storage)["b"] == {A}

    run(storage, scenario)


REFUSED: Mapping[str, Iterable[str]] = {
    "another host's": [B],
    "another host's in the form of IPv6": [f"::ffff:{B}"],
    "outside its networks": ["192.0.2.1", "2001:db8::1"],
    "nobody's": ["127.0.0.1", "::1", "169.254.1.1", "fe80::1", "0.0.0.0", "::", "224.0.0.1"],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_host_does_not_get(kind: str, storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        desk = Desk(made, storage)
        change(storage, "a", networks=(ipaddress.ip_network("10.0.0.0/8"),))
        await made.publisher.catch_up()
        before = addresses(storage)
        desk.say("a", A, *REFUSED[kind])
        assert [await desk.look() for _ in range(3)] == [0, 0, 0]
        assert addresses(storage) == before
        desk.say("a", A, OTHER, *REFUSED[kind])
        assert await desk.look() == 1
        assert addresses(storage) == before | {"a": {A, OTHER}}, "the rest of it is taken"

    run(storage, scenario)


def test_host_does_not_get_one_that_is_another_hosts_since_a_moment(storage: SqlStorage) -> None:
    """The store knows it already, this controller does not."""

    async def scenario(made: Controller) -> None:
        desk = Desk(made, storage)
        storage.claim_addresses("b", ips(B, OTHER), unix())
        desk.say("a", A, OTHER)
        assert await desk.look() == 0
        assert addresses(storage)["a"] == {A}
        storage.claim_addresses("b", ips(B), unix())
        await made.publisher.catch_up()
        assert await desk.look() == 1
        assert addresses(storage)["a"] == {A, OTHER}

    run(storage, scenario)


def test_addresses_that_an_operator_gave_stay_until_he_gives_them_free(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        desk = Desk(made, storage)
        change(storage, "a", addresses=ips(A))
        await made.publisher.catch_up()
        desk.say("a", OTHER)
        assert await desk.look() == 0
        assert addresses(storage)["a"] == {A}
        change(storage, "a", addresses=())
        await made.publisher.catch_up()
        assert await desk.look() == 1
        assert addresses(storage)["a"] == {OTHER}

    run(storage, scenario)


def test_report_without_addresses_changes_none(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        desk = Desk(made, storage)
        desk.say("a")
        assert await desk.look() == 0
        assert addresses(storage)["a"] == {A}

    run(storage, scenario)


def test_addresses_that_come_and_go_make_few_versions_and_the_newest_counts(
    storage: SqlStorage,
) -> None:
    async def scenario(made: Controller) -> None:
        desk = Desk(made, storage, Rate(burst=3, per_second=1 / 60))
        versions = 0
        for number in range(20):
            desk.say("a", A, f"10.7.7.{number}")
            versions += await desk.look(0.1)
        assert versions == 3
        assert addresses(storage)["a"] == {A, "10.7.7.2"}
        desk.say("b", B, OTHER)
        assert await desk.look(0.1) == 1, "another host does not wait for it"
        assert await desk.look(60.0) == 1
        assert addresses(storage)["a"] == {A, "10.7.7.19"}
        assert await desk.look(600.0) == 0

    run(storage, scenario)


def test_host_cannot_fill_the_log_with_what_is_not_taken(
    storage: SqlStorage, capfd: pytest.CaptureFixture[str]
) -> None:
    async def scenario(made: Controller) -> None:
        desk = Desk(made, storage)
        for number in range(20):
            desk.say("a", A, *(f"127.0.{number}.{last}" for last in range(1, 64)))
            assert await desk.look(0.1) == 0

    run(storage, scenario)
    lines = [line for line in capfd.readouterr().err.splitlines() if "is not taken" in line]
    assert len(lines) == 3
    assert "127.0.0.1: is loopback" in lines[0]
    assert "and 59 more" in lines[0]


def test_word_of_a_machine_that_was_replaced_is_not_its_successors(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        desk = Desk(made, storage)
        old = host(storage, "a").number
        storage.revoke_host("a", making.OPERATOR, "stolen", unix())
        making.join(storage, "a", A, now=unix() + 1)
        await made.publisher.catch_up()
        desk.say("a", A, OTHER, number=old)
        assert await desk.look() == 0
        assert addresses(storage)["a"] == {A}

    run(storage, scenario)


def test_what_could_not_be_written_is_written_when_the_store_is_back(
    storage: SqlStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(made: Controller) -> None:
        desk = Desk(made, storage)
        desk.say("a", A, OTHER)
        desk.say("b", B, "10.7.7.8")
        with monkeypatch.context() as broken:
            broken.setattr(storage, "claim_addresses", _no_store)
            assert await desk.look() == 0
        assert await desk.look(0.1) == 2
        assert addresses(storage)["a"] == {A, OTHER}
        assert addresses(storage)["b"] == {B, "10.7.7.8"}

    run(storage, scenario)


def _no_store(*_: object) -> int:
    raise StorageError("the database does not answer")
