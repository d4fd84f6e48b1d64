# SPDX-License-Identifier: Apache-2.0
"""What the agent tells its controller of its host, and when."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from agent.core import stream
from agent.core.abi import Process
from agent.core.control import Control
from agent.core.model import Identity
from agent.edge import report
from agent.edge.listeners import Listeners, Listening
from agent.edge.local_view import LocalView
from agent.edge.reporter import Reporter
from agent.pb import local_pb2
from agent.pb import policy_pb2 as pb
from controller.services.stream_codec import Reported, decode

WEB, DB = 256, 257
OWN, OTHER = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])


def status(**changed: Any) -> local_pb2.StatusResponse:
    """Of a host where all is well."""
    well: dict[str, Any] = {
        "state": "in_sync",
        "summary": "In force.",
        "hooks_attached": 9,
        "hooks_expected": 9,
    }
    return local_pb2.StatusResponse(**(well | changed))


def processes(running: dict[int, int]) -> dict[int, Process]:
    """running: identity -> how many."""
    every = (one for identity, count in running.items() for one in [identity] * count)
    return {
        pid: Process(identity, 0, 0, 0, 0, 0, 0, 0, 0) for pid, identity in enumerate(every, 100)
    }


def here(running: dict[int, int] | None = None, **changed: Any) -> report.Here:
    plain: dict[str, Any] = {
        "processes": processes(running or {WEB: 2}),
        "listeners": [],
        "addresses": [OWN],
        "kernel": "6.1.0",
        "clock_offset_ms": 0,
    }
    return report.Here(**(plain | changed))


def composed(running: dict[int, int] | None = None, **changed: Any) -> pb.Report:
    return report.compose(status(**changed), here(running))


def test_who_runs_is_counted_and_who_is_not_known_yet_is_not() -> None:
    found = composed({WEB: 2, int(Identity.PENDING): 1, int(Identity.HOST): 40})
    assert {one.identity: one.processes for one in found.identities} == {
        int(Identity.HOST): 40, WEB: 2,
    }  # fmt: skip


def test_more_identities_than_fit_are_counted() -> None:
    found = composed(dict.fromkeys(range(1000, 1000 + report.MAX_IDENTITIES + 3), 1))
    assert (len(found.identities), found.left_out) == (report.MAX_IDENTITIES, 3)


@pytest.mark.parametrize(
    "wrong",
    [{"state": "suspended"}, {"state": "expired"}, {"hooks_attached": 8}, {"unseen": "no room"}],
)
def test_there_is_trouble_unless_all_is_well(wrong: dict[str, Any]) -> None:
    assert composed().health.trouble == ""
    assert composed(summary="What is wrong.", **wrong).health.trouble == "What is wrong."


def test_a_report_is_within_the_controllers_bounds() -> None:
    many = dict.fromkeys(range(1000, 10_000), 1)
    found = composed(many, state="expired", summary="ä" * 2000)
    assert len(found.health.trouble.encode()) <= report.MAX_TROUBLE
    event = decode(pb.AgentUp(report=found).SerializeToString())
    assert isinstance(event, Reported)
    assert event.trouble == found.health.trouble


def test_counts_alone_are_not_worth_a_report() -> None:
    same = report.lasting(composed({WEB: 3}, counters=[_refused(7)]))
    assert same == report.lasting(composed({WEB: 2}))
    for other in (composed({WEB: 2, DB: 1}), composed(state="stale"), composed(repairs=1)):
        assert report.lasting(other) != same


@pytest.mark.parametrize(
    "changed",
    [
        {"addresses": [OTHER]},
        {"addresses": [OWN, OTHER]},
        {"kernel": "6.12.0"},
        {"listeners": [Listening(6, bytes(4), 80, WEB)]},
    ],
)
def test_what_changes_of_the_host_is_worth_a_report(changed: dict[str, Any]) -> None:
    same = report.lasting(report.compose(status(), here()))
    assert report.lasting(report.compose(status(), here(**changed))) != same


def test_listeners_are_told_as_the_controller_reads_them_and_no_more_than_it_takes() -> None:
    many = [Listening(17, bytes(16), port, WEB) for port in range(1, report.MAX_LISTENERS + 6)]
    found = report.compose(status(), here(listeners=many))
    assert found.listeners[0] == pb.Listener(protocol=17, address=bytes(16), port=1, identity=WEB)
    assert (len(found.listeners), found.left_out) == (report.MAX_LISTENERS, 5)
    assert isinstance(decode(pb.AgentUp(report=found).SerializeToString()), Reported)


def test_refusals_are_summed_up() -> None:
    allowed = local_pb2.Counter(verdict="allow", value=100)
    assert composed(counters=[_refused(3), allowed, _refused(4)]).health.refused == 7


def _refused(value: int) -> local_pb2.Counter:
    return local_pb2.Counter(verdict="refuse", value=value)


class Scene:
    """A reporter whose agent and whose stream are the test's."""

    def __init__(self) -> None:
        self.speaking = 0
        self.fault: OSError | None = None
        self.status_now = status()
        self.said: list[pb.Report] = []
        self.reporter = Reporter(
            cast(Control, self), cast(LocalView, self), cast(Listeners, self), self._say
        )

    def clock_offset(self, at: float, unix: float) -> float:
        return 0.0

    def status(self) -> local_pb2.StatusResponse:
        return self.status_now

    def tagged(self) -> dict[int, Process]:
        if self.fault is not None:
            raise self.fault
        return processes({WEB: 1})

    def look(self, processes: dict[int, Process]) -> list[Listening]:
        return [Listening(6, bytes(4), 80, one.identity) for one in processes.values()]

    def _say(self, message: stream.Up) -> None:
        assert isinstance(message, stream.Report)
        self.said.append(pb.Report.FromString(message.body))

    def reports(self) -> int:
        """Reports so far, after one look more."""
        asyncio.run(self.reporter.look())
        return len(self.said)


def test_nothing_is_said_where_nobody_hears() -> None:
    assert Scene().reports() == 0


def test_each_stream_hears_how_it_is_and_then_what_changes() -> None:
    scene = Scene()
    scene.speaking = 1
    assert [scene.reports(), scene.reports()] == [1, 1]
    scene.status_now = status(state="suspended", summary="All traffic passes.")
    assert [scene.reports(), scene.reports()] == [2, 2]
    assert scene.said[-1].health.trouble == "All traffic passes."
    scene.speaking = 2
    assert scene.reports() == 3


def test_a_host_that_cannot_be_looked_at_is_told_of_later() -> None:
    scene = Scene()
    scene.speaking = 1
    scene.fault = OSError(24, "Too many open files")
    assert scene.reports() == 0
    scene.fault = None
    assert scene.reports() == 1


def test_what_was_found_for_one_stream_is_not_said_on_another() -> None:
    scene = Scene()
    scene.speaking = 1

    class Late(Scene):
        def status(self) -> local_pb2.StatusResponse:
            self.speaking = 2  # it broke meanwhile, and there is another
            return super().status()

    late = Late()
    late.speaking = 1
    assert late.reports() == 0
    late.status = scene.status  # type: ignore[method-assign]
    assert late.reports() == 1
