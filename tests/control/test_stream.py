# SPDX-License-Identifier: Apache-2.0
"""Policy streams over real mTLS: a controller, its store, and agents that check what they get and
follow what changes.
"""

from __future__ import annotations

import asyncio

from agent.core.content import Section, digest
from agent.edge import content_codec, signed
from agent.pb import policy_pb2 as pb
from agent.pb import signed_pb2, snapshot_pb2
from controller.records import FleetSettings, Target
from controller.store import SqlStorage
from tests.control import fleet
from tests.control.agent import agent, host
from tests.control.fleet import unix
from tests.control.scenario import in_sync, peers, rules, run
from tests.control.server import Controller
from tests.store import making


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
        made.publisher.tick = asyncio.get_running_loop().time  # type: ignore[method-assign]
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
