# SPDX-License-Identifier: Apache-2.0
"""The bell: within a process on both databases, between processes on PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator

import pytest

from controller.records import Cause
from controller.storage import Conflict
from controller.store import SqlStorage, open_store
from controller.store.bell import Bell
from tests.store.making import MASTER, NOW, OPERATOR, changes, document, fleet
from tests.store.postgres import Cluster

PATIENCE = 60.0
"""Far longer than a bell takes; no test waits for it to pass."""


@pytest.fixture
def pair(postgresql: Cluster) -> Iterator[tuple[SqlStorage, SqlStorage]]:
    """Two controllers on one PostgreSQL."""
    name = postgresql.create()
    first = fleet(postgresql.url(name))
    second = open_store(postgresql.url(name), MASTER)
    yield first, second
    first.close()
    second.close()
    postgresql.drop(name)


async def _hears(bell: Bell, after: int) -> None:
    """A ring that may have been missed wakes too, so wait until the version itself was heard."""
    async with asyncio.timeout(PATIENCE):
        while bell.heard <= after:
            await bell.wait(after, PATIENCE)


def test_a_version_rings_in_its_own_process(storage: SqlStorage) -> None:
    before = storage.head().version

    async def scene() -> None:
        waiting = asyncio.create_task(_hears(storage.bell, before))
        await asyncio.to_thread(storage.apply, changes(document("a")), 0, OPERATOR, "w", NOW)
        await waiting

    asyncio.run(scene())
    assert storage.bell.heard == before + 1


def test_what_was_rung_before_is_not_waited_for() -> None:
    bell = Bell()
    bell.ring(5)
    asyncio.run(asyncio.wait_for(bell.wait(4, PATIENCE), PATIENCE / 2))


def test_a_wait_ends_by_itself() -> None:
    bell = Bell()
    asyncio.run(bell.wait(0, 0.01))
    assert bell.heard == 0


def test_a_version_rings_at_the_other_controllers(pair: tuple[SqlStorage, SqlStorage]) -> None:
    here, there = pair
    _listens(there)
    before = here.head().version

    async def scene() -> None:
        waiting = asyncio.create_task(_hears(there.bell, before))
        await asyncio.to_thread(here.apply, changes(document("a")), 0, OPERATOR, "w", NOW)
        await waiting

    asyncio.run(scene())
    assert there.bell.heard == there.head().version


def test_a_transaction_that_is_rolled_back_does_not_ring(
    pair: tuple[SqlStorage, SqlStorage],
) -> None:
    here, there = pair
    _listens(there)
    with pytest.raises(Conflict):
        here.apply(changes(document("a"), deleted=(("Allow", "b"),)), 0, OPERATOR, "w", NOW)
    with contextlib.suppress(KeyboardInterrupt), here._db.writing(NOW) as writer:
        writer.version(Cause.SETTINGS)
        here._db._finish(writer)  # the message is in the transaction
        raise KeyboardInterrupt
    assert here.head().version == 1
    here.apply(changes(document("a")), 0, OPERATOR, "w", NOW)
    here.apply(changes(document("b")), 1, OPERATOR, "w", NOW)
    asyncio.run(_hears(there.bell, 2))
    assert there.bell.heard == 3


def test_a_listener_comes_back_after_the_server_was_away(
    pair: tuple[SqlStorage, SqlStorage], postgresql: Cluster
) -> None:
    """And rings then, for what it may have missed."""
    here, there = pair
    _listens(there)

    async def scene() -> None:
        async with asyncio.timeout(PATIENCE):
            waiting = asyncio.create_task(there.bell.wait(1, 2 * PATIENCE))
            await asyncio.sleep(0)  # it waits
            postgresql.stop(signal.SIGQUIT)
            postgresql.start()
            await waiting
        here.apply(changes(document("a")), 0, OPERATOR, "w", NOW)
        await _hears(there.bell, 1)

    asyncio.run(scene())


def _listens(storage: SqlStorage) -> None:
    """It rings when its listener is there."""

    async def ring() -> None:
        async with asyncio.timeout(PATIENCE):
            await storage.bell.wait(1, 2 * PATIENCE)

    asyncio.run(ring())
