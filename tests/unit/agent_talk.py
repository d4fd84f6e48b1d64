# SPDX-License-Identifier: Apache-2.0
"""What an agent is told of a policy in a short conversation, and what counts of its answers."""

from __future__ import annotations

from agent.core import commands, events
from agent.core.agent import Agent
from agent.core.commands import Command, Level, Log
from agent.core.events import Source
from agent.core.model import Selector
from tests.unit import snapshots
from tests.unit.agent_world import Published

WEB, API = 300, 301
BY_PATH = (WEB, Selector(exe="/bin/web"))
FORGED = Published(snapshots.snapshot(version=9999), "the signature is wrong")


def read(version: int, source: Source = Source.FILE, content: bytes = b"") -> events.SnapshotRead:
    digest = content or bytes([version])
    return events.SnapshotRead(source, snapshots.snapshot(version=version), content, digest)


def applied(version: int) -> events.PolicyApplied:
    return events.PolicyApplied(version, version << 16, 5, 0.5)


def without_words(answer: list[Command]) -> list[Command]:
    """Without what is only said."""
    return [c for c in answer if not isinstance(c, Log | commands.NotifyStatus)]


def kinds(answer: list[Command]) -> list[str]:
    return [type(command).__name__ for command in without_words(answer)]


def logs(answer: list[Command], level: Level) -> list[str]:
    return [c.message for c in answer if isinstance(c, Log) and c.level is level]


def running(version: int = 7) -> Agent:
    """An agent that has started, with a policy from the file in force."""
    agent = Agent()
    agent.handle(events.Started(1.0))
    agent.handle(events.SnapshotMissing(Source.CACHE, "/c"))
    agent.handle(read(version))
    agent.handle(events.Loaded(0.0, attach_pending=False))
    agent.handle(applied(version))
    return agent
