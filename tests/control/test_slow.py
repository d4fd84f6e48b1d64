# SPDX-License-Identifier: Apache-2.0
"""An agent that does not read costs its controller a bounded queue and a bounded time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from controller import pace
from controller.services import outbox
from controller.services.outbox import MOST, Outbox
from controller.services.patience import Patience
from tests.control import fleet
from tests.control.agent import agent
from tests.control.server import Controller, controller
from tests.store import making


def test_more_than_may_wait_is_slow() -> None:
    async def scenario() -> None:
        stuck, slow = asyncio.Event(), []

        async def write(_: bytes) -> None:
            await stuck.wait()

        box = Outbox(write, lambda _, body: body, lambda: slow.append(True))
        box.put(b"being written")
        await asyncio.sleep(0)
        for _ in range(MOST):
            box.put(b"x")
        assert slow == []
        box.put(b"one more")
        box.put(b"nobody takes this")
        assert slow == [True]
        await box.close(None, 0.01)

    asyncio.run(scenario())


def test_what_waits_too_long_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "WRITE_SECONDS", 0.02)

    async def scenario() -> None:
        slow = asyncio.Event()
        box = Outbox(lambda _: asyncio.Event().wait(), lambda _, body: body, slow.set)  # type: ignore[arg-type, return-value]
        box.put(b"x")
        await asyncio.wait_for(slow.wait(), 10)
        await box.close(None, 0.01)

    asyncio.run(scenario())


def test_messages_are_numbered_and_written_in_order_and_the_last_word_is_last() -> None:
    async def scenario() -> None:
        written: list[bytes] = []

        async def write(data: bytes) -> None:
            await asyncio.sleep(0)
            written.append(data)

        box = Outbox(write, lambda number, body: b"%d%s" % (number, body), lambda: None)
        for body in (b"a", b"b", b"c"):
            box.put(body)
        await box.close(b"z", 10)
        assert written == [b"1a", b"2b", b"3c", b"4z"]

    asyncio.run(scenario())


def test_patience_runs_out_once_and_only_where_nothing_began_anew() -> None:
    async def scenario() -> None:
        over: list[float] = []
        loop = asyncio.get_running_loop()
        patience = Patience(lambda: over.append(loop.time()))
        begun = loop.time()
        for _ in range(10):
            patience.begin(0.05)
            await asyncio.sleep(0.01)
        last = loop.time()
        while not over:
            await asyncio.sleep(0.01)
            assert loop.time() - last < 10
        assert over[0] - begun >= 0.1 + 0.04, "each beginning put it off"
        for last_step in (patience.end, patience.close):
            patience.begin(0.02)
            last_step()
            await asyncio.sleep(0.05)
        assert len(over) == 1

    asyncio.run(scenario())


def test_a_shorter_patience_is_heeded_at_once() -> None:
    async def scenario() -> None:
        over = asyncio.Event()
        patience = Patience(over.set)
        patience.begin(1000)
        patience.begin(0.01)
        await asyncio.wait_for(over.wait(), 10)

    asyncio.run(scenario())


NARROW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))
"""So that a connection takes no more than that ahead of its reader."""


async def _gone(made: Controller) -> None:
    """Until the one stream that there was has come and gone."""
    changes = made.publisher.rollout.changes
    while made.publisher.rollout.changes < changes + 2:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.05)


def large_policy() -> str:
    """Some hundred KiB for host a: more than a connection takes that nobody reads from."""
    ports = ", ".join(f"tcp/{2 * number}" for number in range(1, 250))
    return "".join(
        f"kind: Allow\nname: r{number}\nfrom: {{workload: web}}\nto: {{workload: db}}\n"
        f"ports: [{ports}]\n---\n"
        for number in range(400)
    )


def test_an_agent_that_does_not_read_is_dropped_and_comes_back_for_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "WRITE_SECONDS", 1.0)
    storage = making.fleet(making.sqlite_url(tmp_path))
    for number, (name, role) in enumerate({"a": "web", "b": "db"}.items(), 1):
        fleet.join(storage, name, number, {"role": role})
    fleet.apply(storage, fleet.POLICY)
    fleet.apply(storage, large_policy())

    async def scenario() -> None:
        async with asyncio.timeout(120), controller(storage) as made:
            one, other = agent(storage, "a"), agent(storage, "b")
            one.options = (*one.options, *NARROW)
            assert await made.publisher.ready(60)
            gone = asyncio.create_task(_gone(made))
            await one.connect(made.address)
            await asyncio.wait_for(gone, 45)
            assert await one.ended() == ("UNAVAILABLE", "SLOW")
            for each in (one, other):
                await each.connect(made.address)
                await each.until("in_sync")
                assert each.bodies == ["content"]
                await each.close()

    asyncio.run(scenario())
    storage.close()


def test_an_agent_that_is_not_heard_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "silent_seconds", lambda hosts: 1.0)
    storage = making.fleet(making.sqlite_url(tmp_path))
    fleet.join(storage, "a", 1, {"role": "web"})
    fleet.apply(storage, fleet.POLICY)

    async def scenario() -> None:
        async with asyncio.timeout(60), controller(storage) as made:
            quiet = agent(storage, "a")
            await quiet.connect(made.address)
            await quiet.until("in_sync")
            assert await quiet.ended() == ("UNAVAILABLE", "SILENT")
            await quiet.close()

    asyncio.run(scenario())
    storage.close()
