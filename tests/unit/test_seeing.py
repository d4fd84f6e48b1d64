# SPDX-License-Identifier: Apache-2.0
"""When what is heard of hosts is written to the store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

import pytest

from controller.records import Seen
from controller.services.seeing import ANSWER_LOOKS, CROWD, Watcher
from controller.storage import FleetStorage, StorageError

HOSTS = [f"h{number}" for number in range(CROWD)]


class Store:
    """Writes that were asked for, in their order."""

    def __init__(self) -> None:
        self.written: list[Mapping[str, Seen]] = []
        self.fails = False

    def note_seen(self, seen: Mapping[str, Seen], now: int) -> None:
        assert now == max(one.at for one in seen.values())
        if self.fails:
            raise StorageError("the database does not answer")
        self.written.append(dict(seen))

    def take(self) -> dict[str, Seen]:
        """All that was written since, the newest of each host."""
        written, self.written = self.written, []
        return {host: seen for part in written for host, seen in part.items()}


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def watcher(store: Store) -> Watcher:
    """A crowd that is connected, and written."""
    made = Watcher(cast(FleetStorage, store), "ctl-1")
    for host in HOSTS:
        made.connected(host, 1, "1.0")
    look(made)
    assert store.take().keys() == set(HOSTS)
    return made


def look(watcher: Watcher) -> None:
    asyncio.run(watcher.look())


def test_an_answer_is_written_at_the_next_look(store: Store, watcher: Watcher) -> None:
    watcher.enforced("h1", 2, (1, 7))
    look(watcher)
    assert store.take() == {"h1": Seen(2, "ctl-1", "1.0", 1, 7)}


def test_answers_of_a_crowd_wait_until_no_more_come(store: Store, watcher: Watcher) -> None:
    for host in HOSTS:
        watcher.enforced(host, 2, (1, 7))
    look(watcher)
    assert store.take() == {}
    look(watcher)
    assert {(seen.store_epoch, seen.version) for seen in store.take().values()} == {(1, 7)}


def test_who_comes_and_goes_meanwhile_is_written_at_once(store: Store, watcher: Watcher) -> None:
    for host in HOSTS:
        watcher.enforced(host, 2, (1, 7))
    watcher.gone("h1", 3)
    watcher.connected("other", 3, "1.0")
    watcher.told("h2", 3, trouble="no descriptors")
    look(watcher)
    written = store.take()
    assert written.keys() == {"h1", "h2", "other"}
    assert written["h1"] == Seen(3, "", "1.0", 1, 7), "with what it answered before it went"
    look(watcher)
    assert store.take().keys() == set(HOSTS) - {"h1", "h2"}, "each once"


def test_crowd_that_does_not_end_is_written_all_the_same(store: Store, watcher: Watcher) -> None:
    for version in range(ANSWER_LOOKS + 1):
        assert store.take() == {}
        for host in HOSTS:
            watcher.enforced(host, 2, (1, version))
        look(watcher)
    assert {seen.version for seen in store.take().values()} == {ANSWER_LOOKS}


def test_everything_is_written_at_the_end(store: Store, watcher: Watcher) -> None:
    for host in HOSTS:
        watcher.enforced(host, 2, (1, 7))
    asyncio.run(watcher.flush())
    assert store.take().keys() == set(HOSTS)


def test_what_the_store_does_not_take_is_written_later_unless_there_is_newer(
    store: Store, watcher: Watcher
) -> None:
    watcher.enforced("h1", 2, (1, 7))
    watcher.enforced("h2", 2, (1, 7))
    store.fails = True
    look(watcher)
    watcher.enforced("h2", 3, (1, 8))
    store.fails = False
    look(watcher)
    assert {host: seen.version for host, seen in store.take().items()} == {"h1": 7, "h2": 8}


def test_a_host_that_is_not_connected_is_not_noted(store: Store, watcher: Watcher) -> None:
    watcher.gone("h1", 2)
    look(watcher)
    store.take()
    watcher.enforced("h1", 3, (1, 7))
    watcher.told("h1", 3, trouble="late")
    look(watcher)
    assert store.take() == {}
