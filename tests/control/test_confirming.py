# SPDX-License-Identifier: Apache-2.0
"""Confirmations of a crowd wait for its answers, and no longer than agents can."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from controller.services import confirming
from controller.services.confirming import CROWD, SHARE, Confirmations
from tests.control import fleet
from tests.control.agent import agent
from tests.control.server import Controller, controller
from tests.store import making

LONG = 10_000.0
"""Confirm time whose share does not run out within a test."""


class One:
    """A stream whose confirmation is kept."""

    def __init__(self, order: list[One]) -> None:
        self._order = order

    def release(self) -> None:
        self._order.append(self)


async def _all(order: list[One], count: int) -> None:
    async with asyncio.timeout(30):
        while len(order) < count:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)


def test_a_few_are_confirmed_at_once() -> None:
    async def scenario() -> None:
        confirmations = Confirmations()
        confirmations.expect(CROWD - 1, LONG)
        assert not confirmations.keep(One([]))

    asyncio.run(scenario())


def test_a_crowd_is_confirmed_in_order_when_its_answers_are_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(confirming, "QUIET_SECONDS", 0.2)

    async def scenario() -> None:
        confirmations, order = Confirmations(), list[One]()
        confirmations.expect(CROWD, LONG)
        ones = [One(order) for _ in range(300)]
        for one in ones:
            assert confirmations.keep(one)
            if one is not ones[-1]:
                await asyncio.sleep(0)
            assert order == [], "answers still come"
        await _all(order, len(ones))
        assert order == ones

    asyncio.run(scenario())


def test_none_waits_past_its_share_though_answers_go_on_coming(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(confirming, "QUIET_SECONDS", 0.05)

    async def scenario() -> None:
        confirmations, order = Confirmations(), list[One]()
        confirmations.expect(CROWD, 0.4 / SHARE)
        kept = 0
        async with asyncio.timeout(30):
            while confirmations.keep(One(order)):
                kept += 1
                await asyncio.sleep(0.01)
        await _all(order, kept)
        assert not confirmations.keep(One(order)), "the crowd's time is over"

    asyncio.run(scenario())


def test_changes_that_follow_each_other_give_a_confirmation_no_more_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(confirming, "QUIET_SECONDS", 0.05)

    async def scenario() -> None:
        confirmations, order = Confirmations(), list[One]()
        first = One(order)
        confirmations.expect(CROWD, 0.4 / SHARE)
        assert confirmations.keep(first)
        async with asyncio.timeout(30):
            while not order:
                confirmations.expect(CROWD, 0.4 / SHARE)
                confirmations.keep(One(order))
                await asyncio.sleep(0.01)
        assert order[0] is first

    asyncio.run(scenario())


async def _enforced(made: Controller, version: int) -> None:
    """Until the controller has heard so of host a."""
    wanted = {"a": (made.publisher.desk.head.store_epoch, version)}
    async with asyncio.timeout(30):
        while not made.publisher.rollout.count(version, wanted, {}).enforced:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_what_was_kept_is_said_before_what_comes_next_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a real stream: nothing releases it but the next thing to say, and the stream's end."""
    monkeypatch.setattr(confirming, "CROWD", 1)
    monkeypatch.setattr(confirming, "SHARE", LONG)
    monkeypatch.setattr(confirming, "QUIET_SECONDS", LONG)
    storage = making.fleet(making.sqlite_url(tmp_path))
    fleet.join(storage, "a", 1, {"role": "web"})
    fleet.apply(storage, fleet.POLICY)

    async def scenario() -> None:
        async with asyncio.timeout(60), controller(storage) as made:
            one = agent(storage, "a")
            await one.connect(made.address)
            await one.until("in_sync")
            for port in (7001, 7002):
                head = fleet.apply(storage, fleet.port(port))
                await one.until("policy")
                await _enforced(made, head.version)
            assert one.kinds[-3:] == ["policy", "confirm", "policy"]
            await made.servicer.stop()
            await one.ended()
            assert one.kinds[-3:] == ["policy", "confirm", "going_away"]

    asyncio.run(scenario())
    storage.close()
