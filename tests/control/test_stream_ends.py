# SPDX-License-Identifier: Apache-2.0
"""Who may not have a policy stream or may have it no longer, and what ends one."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest

from agent.pb import policy_pb2 as pb
from controller import ca
from controller.services.stream_codec import MAX_BYTES
from controller.store import SqlStorage
from tests.control import fleet
from tests.control.agent import Agent, agent
from tests.control.fleet import unix
from tests.control.scenario import in_sync, peers, run
from tests.control.server import Controller
from tests.store import making


def test_a_host_that_was_enrolled_anew_ends_its_old_incarnation(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        old = agent(storage)
        await in_sync(made, old)
        now = unix() + 1  # a token's name has its second in it
        making.join(storage, "a", "10.0.0.1", labels={"role": "web"}, replace=True, now=now)
        assert await old.ended() == ("PERMISSION_DENIED", "REVOKED")
        new = agent(storage)
        assert new.identity.number != old.identity.number
        await in_sync(made, new)
        assert await old.outcome(made.address) != ("OK", "")
        await new.say(heartbeat=pb.Heartbeat(sequence=1))
        await new.until("heartbeat")
        for each in (old, new):
            await each.close()

    run(storage, scenario)


def test_a_host_that_comes_as_soon_as_it_was_enrolled_anew_is_known(storage: SqlStorage) -> None:
    """Its controller has heard of an earlier host of that name only."""

    async def scenario(made: Controller) -> None:
        other = agent(storage, "b")
        await in_sync(made, other)
        storage.revoke_host("a", making.OPERATOR, "rebuilt", unix())
        making.join(storage, "a", "10.0.0.1", labels={"role": "web"}, now=unix() + 1)
        new = agent(storage)
        await in_sync(made, new)
        for each in (other, new):
            await each.close()

    run(storage, scenario)


def test_a_name_that_enrols_anew_is_no_clone_of_what_it_was(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        before, address = [], made.address
        for number in range(10, 15):
            storage.revoke_host("a", making.OPERATOR, "rebuilt", unix())
            making.join(
                storage, "a", f"10.0.0.{number}", labels={"role": "web"}, now=unix() - 20 * number
            )
            await made.publisher.catch_up()
            made.servicer.check_revoked = lambda: None  # type: ignore[method-assign] # too late
            one = agent(storage)
            await one.connect(address)
            await one.until("in_sync")
            before.append(one)
        for one in before[:-1]:
            assert await one.ended() == ("PERMISSION_DENIED", "REVOKED")
        for one in before:
            await one.close()

    run(storage, scenario)


def test_a_revoked_host_is_cut_off_and_leaves_everybodys_policy(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one, other = agent(storage, "a"), agent(storage, "b")
        await in_sync(made, one, other)
        storage.revoke_host("a", making.OPERATOR, "stolen", unix())
        assert await one.ended() == ("PERMISSION_DENIED", "REVOKED")
        assert one.away is not None
        assert one.away.reason == pb.GOING_AWAY_REASON_REVOKED
        await other.until("confirm")
        assert peers(other) == set()
        assert {peer for peer, _ in other.held.keys} == {0}, "its keys are gone"
        assert await one.outcome(made.address) == ("PERMISSION_DENIED", "REVOKED")
        for each in (one, other):
            await each.close()

    run(storage, scenario)


def test_a_stream_is_for_the_host_of_the_certificate_alone(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one, other = agent(storage, "a"), agent(storage, "b")
        assert await one.outcome(made.address, other.hello()) == ("PERMISSION_DENIED", "WRONG_HOST")
        await one.close()

    run(storage, scenario)


def test_an_administrators_certificate_opens_no_stream(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one = agent(storage, "a")
        one.identity = fleet.administrator(storage, "olga")
        assert await one.outcome(made.address, one.hello()) == ("UNAUTHENTICATED", "WRONG_KIND")
        await one.close()

    run(storage, scenario)


def test_a_foreign_authority_and_plaintext_get_no_connection(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        foreign = agent(storage, "a", trust=ca.new_authority(making.DOMAIN, unix(), 7))
        assert await foreign.outcome(made.address) == ("UNAVAILABLE", "")
        await foreign.close()
        async with grpc.aio.insecure_channel(made.address) as channel:
            call: grpc.aio.Call = channel.stream_stream("/cordon.v1.PolicyService/Sync")()
            assert await asyncio.wait_for(call.code(), 30) is grpc.StatusCode.UNAVAILABLE

    run(storage, scenario)


def test_a_newer_stream_of_a_host_ends_the_older_one(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one = agent(storage)
        two = Agent(one.identity, one.held, one.instance)
        await in_sync(made, one)
        await two.connect(made.address)
        assert await one.ended() == ("UNAVAILABLE", "REPLACED")
        assert one.away is not None
        assert one.away.reason == pb.GOING_AWAY_REASON_REPLACED
        await two.until("in_sync")
        for each in (one, two):
            await each.close()

    run(storage, scenario)


def test_two_machines_with_one_identity_are_told_to_wait(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one = agent(storage)
        clones = [one, Agent(one.identity, one.held)]
        for turn in range(3):
            await clones[turn % 2].connect(made.address)
            await clones[turn % 2].until("in_sync")
        assert await clones[1].outcome(made.address) == ("UNAVAILABLE", "REPLACED")
        assert clones[1].away is not None
        assert clones[1].away.retry_after_ms >= 30_000
        assert "two machines" in clones[1].away.message
        for each in clones:
            await each.close()

    run(storage, scenario)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff",
        b"",
        bytes(MAX_BYTES + 1),
        pb.AgentUp(ack=pb.Ack(nonce=99)).SerializeToString(),
        pb.AgentUp(nack=pb.Nack(nonce=99, reason="NACK_REASON_KERNEL")).SerializeToString(),
        pb.AgentUp(report=pb.Report(addresses=[bytes(3)])).SerializeToString(),
        pb.AgentUp(report=pb.Report(addresses=[bytes(4)] * 65)).SerializeToString(),
        pb.AgentUp(hello=pb.Hello(protocol=1)).SerializeToString(),
    ],
    ids=["garbage", "empty", "large", "ack", "nack", "address", "addresses", "hello"],
)
def test_what_is_no_message_ends_the_stream_and_no_other(storage: SqlStorage, data: bytes) -> None:
    async def scenario(made: Controller) -> None:
        bad, good = agent(storage, "a"), agent(storage, "b")
        await in_sync(made, bad, good)
        await bad.raw(data)
        assert await bad.ended() == ("INVALID_ARGUMENT", "PROTOCOL")
        await good.say(heartbeat=pb.Heartbeat(sequence=1))
        await good.until("heartbeat")
        for each in (bad, good):
            await each.close()

    run(storage, scenario)


def test_something_else_than_hello_first_is_refused(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one = agent(storage)
        assert await one.outcome(made.address, pb.Hello(protocol=1, instance_id=bytes(15))) == (
            "INVALID_ARGUMENT",
            "PROTOCOL",
        )
        await one.close()

    run(storage, scenario)


def test_a_stopping_controller_says_so(storage: SqlStorage) -> None:
    one = agent(storage)

    async def scenario(made: Controller) -> None:
        await in_sync(made, one)
        await made.servicer.stop()
        assert await one.ended() == ("UNAVAILABLE", "SHUTDOWN")
        assert one.away is not None
        assert one.away.reason == pb.GOING_AWAY_REASON_SHUTDOWN
        await one.close()

    run(storage, scenario)
