# SPDX-License-Identifier: Apache-2.0
"""Two controllers as processes over one PostgreSQL: either can die, and nobody loses anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.content import digest
from controller.store import SqlStorage
from tests.control import fleet
from tests.control.agent import Agent, agent
from tests.control.fleet import POLICY, join
from tests.control.processes import Process
from tests.store import making
from tests.store.postgres import Cluster

HOSTS = 8


@pytest.fixture
def url(postgresql: Cluster) -> Iterator[str]:
    name = postgresql.create()
    yield postgresql.url(name)
    postgresql.drop(name)


@pytest.fixture
def storage(url: str) -> Iterator[SqlStorage]:
    """Hosts of both sides of the one rule."""
    opened = making.fleet(url)
    for number in range(1, HOSTS + 1):
        join(opened, f"h{number}", number, {"role": "web" if number % 2 else "db"})
    fleet.apply(opened, POLICY)
    yield opened
    opened.close()


def agents(storage: SqlStorage) -> list[Agent]:
    return [agent(storage, f"h{number}") for number in range(1, HOSTS + 1)]


def test_a_change_made_at_one_reaches_the_hosts_of_the_other(
    storage: SqlStorage, url: str, tmp_path: Path
) -> None:
    one, two = (Process(tmp_path, name, url) for name in ("ctl-1", "ctl-2"))
    with one, two:
        asyncio.run(_follow(storage, [one, two]))


async def _follow(storage: SqlStorage, controllers: list[Process]) -> None:
    all_ = agents(storage)
    async with asyncio.timeout(120):
        for number, one in enumerate(all_):
            await one.connect(controllers[number % 2].address)
            await one.until("in_sync")
        head = await asyncio.to_thread(fleet.apply, storage, fleet.port(6400))
        for one in all_:
            await one.until("confirm")
            assert one.held.release.version == head.version
        kept = {one.held.release.SerializeToString() for one in all_[0::2]}
        assert len(kept) == 1, "whichever controller it was, the bytes are the same"
        for one in all_:
            await one.close()


def test_a_controller_that_is_killed_in_mid_rollout_is_no_loss(
    storage: SqlStorage, url: str, tmp_path: Path
) -> None:
    one, two = (Process(tmp_path, name, url) for name in ("ctl-1", "ctl-2"))
    with one, two:
        asyncio.run(_survive(storage, one, two))


async def _survive(storage: SqlStorage, dying: Process, living: Process) -> None:
    all_ = agents(storage)
    async with asyncio.timeout(180):
        for one in all_:
            await one.connect(dying.address)
            await one.until("in_sync")
        before = all_[0].held.release.version
        head = await asyncio.to_thread(fleet.apply, storage, fleet.port(6500))
        done, waiting = all_[: HOSTS // 2], all_[HOSTS // 2 :]
        for one in done:
            await one.until("confirm")
        for one in waiting:
            await one.read()  # it is on its way, and nobody has answered
        await asyncio.to_thread(dying.kill)
        assert {one.held.release.version for one in waiting} == {before}
        for one in all_:
            await one.connect(living.address)
            await one.until("in_sync")
        assert {one.held.release.version for one in all_} == {head.version}
        assert all(one.kinds == ["welcome", "in_sync"] for one in done)
        for one in all_:
            assert digest(one.held.entries) == one.held.release.content_digest
            await one.close()
