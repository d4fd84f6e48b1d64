# SPDX-License-Identifier: Apache-2.0
"""Policy streams where the store is away, overtakes, or is older than what an agent holds; and
where more agents come at once than a controller can serve.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from agent.pb import policy_pb2 as pb
from controller.records import FleetPart, Target, VersionRow
from controller.storage import Unavailable
from controller.store import SqlStorage
from tests.control import fleet
from tests.control.agent import agent, host
from tests.control.fleet import unix
from tests.control.scenario import in_sync, rules, run
from tests.control.server import Controller
from tests.store import making


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
