# SPDX-License-Identifier: Apache-2.0
"""A fault of the controller's own where no rpc waits: it ends the stream that it concerns, is told,
and the host is in step again when it comes back; the others go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from controller.sync import Stream
from controller.talk import Action, Changed, Event
from tests.control import fleet
from tests.control.agent import agent
from tests.control.server import controller
from tests.store import making

HANDLE, BEGIN = Stream.handle, Stream.begin


def break_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The first thing of that kind that becomes of host a raises."""
    broken: list[str] = []

    def once(stream: Stream) -> None:
        if stream._name == "a" and not broken:
            broken.append(name)
            raise KeyError("a mistake of ours")

    def handle(self: Stream, event: Event, now: float) -> list[Action]:
        if name == "change" and isinstance(event, Changed):
            once(self)
        return HANDLE(self, event, now)

    def begin(self: Stream, now: float) -> list[Action]:
        if name == "begin":
            once(self)
        return BEGIN(self, now)

    monkeypatch.setattr(Stream, "handle", handle)
    monkeypatch.setattr(Stream, "begin", begin)


@pytest.mark.parametrize("what", ["change", "begin"])
def test_a_fault_ends_its_stream_and_no_other(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    what: str,
) -> None:
    storage = making.fleet(making.sqlite_url(tmp_path))
    for number, (name, role) in enumerate({"a": "web", "b": "db"}.items(), 1):
        fleet.join(storage, name, number, {"role": role})
    fleet.apply(storage, fleet.POLICY)
    break_once(monkeypatch, what)

    async def scenario() -> None:
        async with asyncio.timeout(60), controller(storage) as made:
            one, other = agent(storage, "a"), agent(storage, "b")
            for each in (other, one):
                await each.connect(made.address)
            await other.until("in_sync")
            if what == "change":
                await one.until("in_sync")
                await made.publisher.ready(30)
                fleet.apply(storage, fleet.port(7000))
                await made.publisher.catch_up()
                await other.until("confirm")
            assert await one.ended() == ("INTERNAL", "FAULT")
            await one.connect(made.address)
            await one.until("in_sync")
            for each in (other, one):
                await each.close()

    asyncio.run(scenario())
    storage.close()
    (line,) = [one for one in capfd.readouterr().err.splitlines() if "stream failed" in one]
    assert "KeyError('a mistake of ours')" in line
    assert "test_faults_inside.py:" in line
