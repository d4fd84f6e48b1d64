# SPDX-License-Identifier: Apache-2.0
"""The agent's side of flow records against a real controller: there, away, back, and too old."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from agent.core import stream
from agent.core.abi import FlowEvent
from agent.core.events import Event
from agent.core.flow_outbox import Outbox
from agent.core.flows import Names
from agent.edge import clock, flow_shipper, identity_files
from agent.edge.control_link import ControlLink
from agent.edge.controller_client import AskFailed
from agent.edge.flow_shipper import FlowShipper
from agent.edge.identity_files import Identity
from controller.flow_records import FlowFilter, StoredFlow
from controller.records import Page
from controller.store import SqlStorage
from tests.server.served import Served, Site
from tests.server.test_agent_joins import Place
from tests.unit.test_flow_summary import ALLOWED, ENDED, NAMES

WAIT_SECONDS = 60.0
PERIOD_SECONDS = 0.1
EVERYTHING = FlowFilter()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A host that has joined a controller which is away now."""
    site = Site(tmp_path / "ctl")
    site.folder.mkdir()
    site.write()
    site.init()
    with Served(site) as served:
        found = Place(served, tmp_path)
        found.joined()
    return found


class Shipping:
    """A link and a shipper, as the daemon has them."""

    def __init__(self, place: Place) -> None:
        self.told: list[Event] = []
        self.link = ControlLink(
            place.identity, place.folder / "cache", lifeline=False, tell=self.told.append
        )
        self.failed: list[str] = []
        self.shipper = FlowShipper(self._ask, names_under, PERIOD_SECONDS)
        self._identity = identity_files.load(place.identity)
        self._number = 0

    async def _ask(self, method: str, data: bytes) -> bytes:
        try:
            return await self.link.ask(method, data)
        except AskFailed as failure:
            self.failed.append(str(failure))
            raise

    def open_stream(self, served: Served) -> None:
        self._number += 1
        self.link.execute(
            stream.OpenStream(self._number, f"localhost:{served.main}", _hello(self._identity))
        )

    def see(self, event: FlowEvent = ALLOWED, minutes_ago: float = 2.0, **changed: int) -> None:
        """As if it had been then, so that its minute is over."""
        then = clock.monotonic_ns() - int(minutes_ago * 60e9)
        self.shipper.seen(event._replace(time_ns=then, **changed), clock.wall_offset_ns())  # type: ignore[arg-type]

    def ended(self) -> bool:
        return any(isinstance(event, stream.StreamEnded) for event in self.told)


def names_under(generation: int) -> Names:
    return NAMES.get(generation, Names())


def _hello(identity: Identity) -> stream.Hello:
    return stream.Hello(
        host=identity.host, host_name=identity.host_name, policy=None, unconfirmed=None,
        record_serial=0, keys_serial=0, last_epoch=0, key_set_serial=identity.key_set.serial,
        refused=None,
    )  # fmt: skip


def shipping(place: Place, act: Callable[[Shipping], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        made = Shipping(place)
        task = asyncio.create_task(made.shipper.run())
        try:
            await act(made)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await made.link.close()

    asyncio.run(run())


async def until(holds: Callable[[], object], what: str) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < end, f"{what} did not happen within {WAIT_SECONDS:.0f} s"
        await asyncio.sleep(PERIOD_SECONDS)


def stored(place: Place) -> list[StoredFlow]:
    with place.served.site.store() as storage:
        return list(storage.flows(EVERYTHING, Page(1000)).items)


def test_what_the_kernel_told_is_in_the_controllers_database(place: Place) -> None:
    async def act(made: Shipping) -> None:
        made.open_stream(served)
        for _ in range(5):
            made.see(tgid=os.getpid())
        made.see(ENDED, tgid=os.getpid())
        await until(lambda: made.shipper.outbox.shipped == 5, "shipping")

    with Served(place.served.site) as served:
        shipping(place, act)
        (flow,) = stored(place)
    record = flow.record
    assert flow.host == "web-1"
    assert (record.edge.source, record.edge.destination) == ("front/web", "data/db")
    assert (record.edge.rule, record.edge.port, record.count) == ("web-to-db", 443, 5)
    assert (record.closed, record.source_bytes, record.destination_bytes) == (1, 100, 2000)
    assert record.executable == str(Path("/proc/self/exe").readlink())


def test_while_the_controller_is_away_a_bound_holds_and_the_rest_comes_later(
    place: Place,
) -> None:
    async def act(made: Shipping) -> None:
        made.shipper.outbox = outbox = Outbox(max_bytes=1000)
        for number in range(40):
            made.see(remote_port=number + 1)
            await until(lambda n=number: outbox._sequence > n, "collecting")  # type: ignore[misc]
        assert outbox._bytes <= 1000
        waiting, lost = len(outbox), outbox.lost
        assert waiting + lost == 40
        assert waiting > 2
        with Served(place.served.site) as served:
            made.open_stream(served)
            await until(lambda: not outbox, "delivering")
            assert (outbox.shipped, outbox.lost) == (waiting, lost)
            assert f"judgements={lost}" in served.text
        ports = {flow.record.edge.port for flow in stored(place)}
        assert ports == set(range(40 - waiting + 1, 41)), "the newest are kept"

    shipping(place, act)


def test_the_unfinished_minute_goes_out_when_the_agent_ends(place: Place) -> None:
    async def act(made: Shipping) -> None:
        made.open_stream(served)
        made.see(minutes_ago=2)
        await until(lambda: made.shipper.outbox.shipped == 1, "shipping")
        made.see(minutes_ago=0)
        await made.shipper.close()
        assert made.shipper.outbox.shipped == 2

    with Served(place.served.site) as served:
        shipping(place, act)


def test_a_stream_that_ends_keeps_what_was_not_answered(
    place: Place,
) -> None:
    """The controller is killed; what had been sent and not answered comes again to the next."""

    async def act(made: Shipping) -> None:
        with Served(place.served.site) as served:
            made.open_stream(served)
            made.see()
            await until(lambda: made.shipper.outbox.shipped == 1, "shipping")
            served.process.kill()
            served.process.wait(WAIT_SECONDS)
            await until(made.ended, "hearing of it")
        made.see(remote_port=1)
        await until(lambda: len(made.shipper.outbox) == 1, "collecting")
        with Served(place.served.site) as served:
            made.open_stream(served)
            await until(lambda: made.shipper.outbox.shipped == 2, "delivering")
        assert sorted(flow.record.edge.port for flow in stored(place)) == [1, 443]

    shipping(place, act)


def test_a_controller_that_knows_no_flows_loses_them_and_they_are_counted(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(flow_shipper, "METHOD", "/cordon.v1.FlowService/Unknown")

    async def act(made: Shipping) -> None:
        made.open_stream(served)
        made.see()
        await until(lambda: made.shipper.outbox.lost == 1, "being refused")
        assert len(made.shipper.outbox) == 0

    with Served(place.served.site) as served:
        shipping(place, act)
    assert "event=flows_refused" in capsys.readouterr().err


def test_a_database_that_is_away_loses_nothing(place: Place) -> None:
    """A table is renamed away for a while."""

    async def act(made: Shipping) -> None:
        made.open_stream(served)
        with place.served.site.store() as storage:
            _rename(storage, "flow_minutes", "gone")
            made.see()
            await until(lambda: any("does not answer" in text for text in made.failed), "refusing")
            assert made.shipper.outbox.shipped == 0
            _rename(storage, "gone", "flow_minutes")
        await until(lambda: made.shipper.outbox.shipped == 1, "delivering")

    with Served(place.served.site) as served:
        shipping(place, act)
    assert len(stored(place)) == 1


def _rename(storage: SqlStorage, before: str, after: str) -> None:
    with storage._db.first_writing() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {before} RENAME TO {after}")
