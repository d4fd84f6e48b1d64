# SPDX-License-Identifier: Apache-2.0
"""One controller and its agents in one loop, for as long as a scenario takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from agent.core.content import Section
from agent.pb import snapshot_pb2
from controller.store import SqlStorage
from tests.control.agent import Agent
from tests.control.server import Controller, controller

Scenario = Callable[[Controller], Coroutine[None, None, None]]


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
