# SPDX-License-Identifier: Apache-2.0
"""Policy streams over real mTLS: a controller, its store, and agents that check what they get.

Long because every scenario needs the same controller, store and agents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path

import grpc
import grpc.aio
import pytest

from agent.core.content import Section, digest
from agent.edge import content_codec, signed
from agent.pb import policy_pb2 as pb
from agent.pb import signed_pb2, snapshot_pb2
from controller import ca
from controller.records import FleetPart, FleetSettings, Target, VersionRow
from controller.services.stream_codec import MAX_BYTES
from controller.storage import Unavailable
from controller.store import SqlStorage
from tests.control import fleet
from tests.control.agent import Agent, agent, host
from tests.control.fleet import POLICY, join, unix
from tests.control.server import Controller, controller
from tests.store import making

Scenario = Callable[[Controller], Coroutine[None, None, None]]


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SqlStorage]:
    """A fleet of three hosts under the base policy."""
    opened = making.fleet(making.sqlite_url(tmp_path))
    for number, (name, role) in enumerate({"a": "web", "b": "db", "c": "other"}.items(), 1):
        join(opened, name, number, {"role": role})
    fleet.apply(opened, POLICY)
    yield opened
    opened.close()


def run(storage: SqlStorage, scenario: Scenario, **changed: object) -> None:
    """One scenario against one controller; bounded, so that no test hangs."""

    async def bounded() -> None:
        async with asyncio.timeout(120), controller(storage, **changed) as made:
            await scenario(made)

    asyncio.run(bounded())


def peers(one: Agent) -> set[str]:
    items = one.held.entries[Section.PEERS].values()
    return {snapshot_pb2.Peer.FromString(item).name for item in items}


def rules(one: Agent) -> list[snapshot_pb2.Rule]:
    items = one.held.entries[Section.RULES].values()
    return [snapshot_pb2.Rule.FromString(item) for item in items]


async def in_sync(made: Controller, *agents: Agent) -> None:
    for one in agents:
        await one.connect(made.address)
        await one.until("in_sync")


# The way it goes.


def test_a_new_agent_is_brought_in_step_and_then_follows(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one = agent(storage)
        await in_sync(made, one)
        assert one.kinds == ["welcome", "host_record", "keys", "policy", "confirm", "in_sync"]
        assert one.bodies == ["content"]
        assert {r.name for r in rules(one)} == {"web-to-db"}
        assert peers(one) == {"b"}
        fleet.apply(storage, fleet.port(6380))
        await one.until("confirm")
        assert one.bodies == ["content", "delta"]
        assert [r.ports[0].first for r in rules(one)] == [6380]
        await one.close()

    run(storage, scenario)


def test_a_host_gets_nothing_of_others(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        lone, web = agent(storage, "c"), agent(storage, "a")
        await in_sync(made, lone, web)
        assert rules(lone) == []
        assert peers(lone) == set()
        assert {peer for peer, _ in lone.held.keys} == {0}
        assert {peer for peer, _ in web.held.keys} == {0, host(storage, "b").number}
        said = content_codec.encode_content(lone.held.entries)
        for foreign in (b"web", b"db", b"nginx", b"redis"):
            assert foreign not in said
        secrets = [{k for (p, _), k in one.held.keys.items() if p == 0} for one in (lone, web)]
        assert not secrets[0] & secrets[1]
        for one in (lone, web):
            await one.close()

    run(storage, scenario)


def test_who_holds_the_newest_is_in_sync_by_hello_and_welcome(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one = agent(storage)
        await in_sync(made, one)
        await one.connect(made.address)
        await one.until("in_sync")
        assert one.kinds == ["welcome", "in_sync"]
        await one.close()

    run(storage, scenario)


def test_any_controller_goes_on_where_another_ended(storage: SqlStorage) -> None:
    one = agent(storage)

    async def first(made: Controller) -> None:
        await in_sync(made, one)
        await one.close()

    async def second(made: Controller) -> None:
        await in_sync(made, one)
        assert one.kinds == ["welcome", "in_sync"]
        fleet.apply(storage, fleet.port(6381))
        await one.until("confirm")
        assert one.bodies == ["delta"]
        await one.close()

    run(storage, first)
    run(storage, second, name="ctl-2")


def test_heartbeats_are_answered_with_the_time(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one = agent(storage)
        await in_sync(made, one)
        await one.say(heartbeat=pb.Heartbeat(sequence=7))
        reply = (await one.until("heartbeat")).heartbeat
        assert reply.sequence == 7
        assert abs(reply.now_ms / 1000 - unix()) < 60
        await one.close()

    run(storage, scenario)


def test_what_is_heard_of_a_host_reaches_the_store(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one = agent(storage)
        await in_sync(made, one)
        report = pb.Report(state="in_sync", health=pb.Health(trouble="a map is full"))
        await one.say(report=report)
        await one.say(heartbeat=pb.Heartbeat(sequence=1))
        await one.until("heartbeat")
        await made.servicer.watcher.flush()
        seen = host(storage, "a").seen
        assert (seen.controller, seen.agent_version) == ("ctl-1", "test")
        assert seen.version == one.held.release.version
        assert seen.trouble == "a map is full"
        await one.close()

    run(storage, scenario)


def test_an_address_that_a_host_reports_is_known_to_the_others(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one, other = agent(storage, "a"), agent(storage, "b")
        await in_sync(made, one, other)
        theirs = bytes([10, 0, 0, 2])
        await one.say(
            report=pb.Report(addresses=[bytes([10, 0, 0, 1]), bytes([10, 7, 7, 7]), theirs])
        )
        await other.until("confirm")
        (peer,) = other.held.entries[Section.PEERS].values()
        assert set(snapshot_pb2.Peer.FromString(peer).addresses) == {
            bytes([10, 0, 0, 1]), bytes([10, 7, 7, 7]),
        }  # fmt: skip
        assert bytes([10, 7, 7, 7]) in other.held.entries[Section.MANAGED]
        for each in (one, other):
            await each.close()

    run(storage, scenario)


def test_a_refusal_is_counted_and_the_next_version_comes(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one = agent(storage)
        await in_sync(made, one)
        head = fleet.apply(storage, fleet.port(6380))
        down = await one.read()
        assert down is not None
        nonce = down.policy.nonce
        await one.say(nack=pb.Nack(nonce=nonce, reason="NACK_REASON_KERNEL", message="no room"))
        await one.say(heartbeat=pb.Heartbeat(sequence=1))
        await one.until("heartbeat")
        rollout = made.publisher.rollout
        hosts = rollout.hosts(head.version)
        assert sorted(hosts or ()) == ["a", "b"]
        order = (head.store_epoch, head.version)
        counts = rollout.count(head.version, dict.fromkeys(hosts or (), order), {})
        assert counts.refusals == (("a", "no room"),)
        newer = fleet.apply(storage, fleet.port(6381))
        await one.until("confirm")
        wanted = {"a": (newer.store_epoch, newer.version)}
        counts = rollout.count(newer.version, wanted, {})
        assert (counts.enforced, counts.done) == (1, True)
        await one.close()

    run(storage, scenario)


def test_a_delta_that_does_not_fit_is_followed_by_the_whole(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one = agent(storage)
        await in_sync(made, one)
        rule, entry = next(iter(one.held.entries[Section.RULES].items()))
        broken = {**one.held.entries[Section.RULES], rule: entry + b"\x40\x01"}
        one.held.entries = {**one.held.entries, Section.RULES: broken}
        fleet.apply(storage, fleet.port(6380))
        await one.until("confirm")
        assert one.kinds[-3:] == ["policy", "policy", "confirm"]
        assert digest(one.held.entries) == one.held.release.content_digest
        await one.close()

    run(storage, scenario)


def test_quarantine_of_a_host_reaches_it_and_the_others(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one, other = agent(storage, "a"), agent(storage, "b")
        await in_sync(made, one, other)
        storage.set_quarantine(Target(host="a"), unix() + 600, making.OPERATOR, "odd", unix())
        for each in (one, other):
            await each.until("confirm")
        assert {r.name for r in rules(one)} == {"quarantine"}
        assert peers(one) == peers(other) == set()
        assert {peer for peer, _ in other.held.keys} == {0}
        storage.set_quarantine(Target(host="a"), None, making.OPERATOR, "well", unix())
        for each in (one, other):
            await each.until("confirm")
        assert {r.name for r in rules(one)} == {"web-to-db"}
        assert peers(other) == {"a"}
        for each in (one, other):
            await each.close()

    run(storage, scenario)


def test_keys_are_handed_out_ahead_of_their_epochs(storage: SqlStorage) -> None:
    settings = FleetSettings(epoch_seconds=60, epochs_ahead=3)
    storage.update_settings(settings, making.OPERATOR, "", unix())

    async def scenario(made: Controller) -> None:
        one = agent(storage)
        await in_sync(made, one)
        now = unix() // 60
        epochs = {epoch for peer, epoch in one.held.keys if peer == 0}
        assert {now - 1, now, now + 1, now + 2} - {now - 1} <= epochs
        made.publisher.tick = lambda: None  # type: ignore[method-assign]
        made.publisher.desk.unix_ms += 120_000
        await one.say(heartbeat=pb.Heartbeat(sequence=1))
        await one.until("keys")
        later = {epoch for peer, epoch in one.held.keys if peer == 0}
        assert max(later) >= max(epochs) + 1
        towards = {e for p, e in one.held.keys if p == host(storage, "b").number}
        assert towards == later
        await one.close()

    run(storage, scenario)


def test_a_newer_set_of_policy_keys_comes_with_welcome(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one = agent(storage)
        hello = one.hello()
        hello.policy_keys_serial = 0
        await one.connect(made.address, hello)
        await one.until("in_sync")
        assert one.welcome is not None
        payload = signed.open_signed(one.welcome.policy_keys, signed.KEY_SET, one.held.policy_keys)
        assert list(signed_pb2.PolicyKeySet.FromString(payload).keys) == one.held.policy_keys
        await in_sync(made, one)
        assert not one.welcome.HasField("policy_keys")
        await one.close()

    run(storage, scenario)


def test_without_the_database_streams_stay_and_come_back_and_nothing_is_half_told(
    storage: SqlStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise Unavailable("the database does not answer")

    async def scenario(made: Controller) -> None:
        one, stranger = agent(storage, "a"), agent(storage, "b")
        await in_sync(made, one)
        with monkeypatch.context() as patched:
            for method in ("head", "changes", "fleet_part", "revoked", "secrets", "note_seen"):
                patched.setattr(storage, method, away)
            await one.say(heartbeat=pb.Heartbeat(sequence=1))
            await one.until("heartbeat")
            await in_sync(made, one, stranger)
            await made.servicer.watcher.flush()
        fleet.apply(storage, fleet.port(6380))
        for each in (one, stranger):
            await each.until("confirm")
            await each.close()

    run(storage, scenario)


# Who may not.


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


def test_too_many_at_once_stand_in_line_and_are_heard(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        first, second, third = (agent(storage, name) for name in ("a", "b", "c"))
        await first.connect(made.address)
        await first.read()
        for each in (second, third):
            await each.connect(made.address)
            await each.until("welcome")
            await each.say(heartbeat=pb.Heartbeat(sequence=1))
            await each.until("heartbeat")
            assert each.kinds == ["welcome", "heartbeat"], "it waits, and is answered"
        assert (made.servicer.admission.syncing, made.servicer.admission.waiting) == (1, 2)
        await second.close()
        await first.close()
        await third.until("in_sync")
        assert (made.servicer.admission.syncing, made.servicer.admission.waiting) == (0, 0)
        await third.close()

    run(storage, scenario, max_syncing=1)


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


# Old things.


def test_an_agent_that_is_ahead_of_a_restored_store_keeps_what_it_has(storage: SqlStorage) -> None:
    one = agent(storage)

    async def ahead(made: Controller) -> None:
        hello = one.hello()
        hello.policy.CopyFrom(
            pb.HeldPolicy(store_epoch=5, version=10_000, content_digest=bytes(32), expires=2**40)
        )
        assert await one.outcome(made.address, hello) == ("FAILED_PRECONDITION", "STORE_BEHIND")
        assert one.kinds == []
        await one.close()
        await made.servicer.watcher.flush()
        assert "restored from a backup" in host(storage, "a").seen.trouble
        assert storage.raise_epoch(making.OPERATOR, "restored", unix()).store_epoch == 6

    run(storage, ahead)


def test_after_the_epoch_was_raised_everybody_follows(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one = agent(storage)
        await in_sync(made, one)
        storage.raise_epoch(making.OPERATOR, "restored", unix())
        await one.until("confirm")
        assert one.held.release.store_epoch == made.publisher.desk.head.store_epoch > 1
        await one.close()

    run(storage, scenario)


def test_a_release_that_was_kept_and_replayed_is_refused_by_who_checks(storage: SqlStorage) -> None:
    async def scenario(made: Controller) -> None:
        one = agent(storage)
        await one.connect(made.address)
        while (down := await one.read()) is not None:
            if one.kinds[-1] == "policy":
                old = down.policy
            await one.take(down)
            if one.kinds[-1] == "in_sync":
                break
        fleet.apply(storage, fleet.port(6380))
        await one.until("confirm")
        with pytest.raises(ValueError, match="not above what is held"):
            one.take_policy(old)
        await one.close()

    run(storage, scenario)


def test_a_change_that_comes_while_changes_are_read_is_not_lost(
    storage: SqlStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of changes and what they touched are read in two transactions."""
    read, pending = storage.fleet_part, [fleet.port(6381), fleet.port(6382)]

    def overtaken(changes: Sequence[VersionRow]) -> FleetPart:
        if pending:
            fleet.apply(storage, pending.pop(0))
        return read(changes)

    async def scenario(made: Controller) -> None:
        one = agent(storage)
        await in_sync(made, one)
        monkeypatch.setattr(storage, "fleet_part", overtaken)
        storage.set_quarantine(Target(workload="hermit"), unix() + 600, making.OPERATOR, "", unix())
        while [r.ports[0].first for r in rules(one) if r.name == "web-to-db"] != [6382]:
            await one.until("confirm")
        assert made.publisher.desk.head == storage.head()
        await one.close()

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
