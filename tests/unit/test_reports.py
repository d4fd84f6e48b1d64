# SPDX-License-Identifier: Apache-2.0
"""What the agent tells its controller of its host, and when."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast

import pytest

from agent.core import stream
from agent.core.control import Control
from agent.core.model import Identity
from agent.edge import report
from agent.edge.local_view import LocalView
from agent.edge.reporter import Reporter
from agent.pb import local_pb2
from agent.pb import policy_pb2 as pb
from controller.services.stream_codec import Reported, decode

WEB, DB = 256, 257


def status(**changed: Any) -> local_pb2.StatusResponse:
    """Of a host where all is well."""
    well: dict[str, Any] = {
        "state": "in_sync",
        "summary": "In force.",
        "hooks_attached": 9,
        "hooks_expected": 9,
    }
    return local_pb2.StatusResponse(**(well | changed))


def composed(running: dict[int, int] | None = None, **changed: Any) -> pb.Report:
    return report.compose(status(**changed), running or {WEB: 2}, 0)


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
        self.reporter = Reporter(cast(Control, self), cast(LocalView, self), self._say)

    def clock_offset(self, at: float, unix: float) -> float:
        return 0.0

    def status(self) -> local_pb2.StatusResponse:
        return self.status_now

    def running(self) -> Counter[int]:
        if self.fault is not None:
            raise self.fault
        return Counter({WEB: 1})

    def _say(self, message: stream.Up) -> None:
        assert isinstance(message, stream.Report)
        self.said.append(pb.Report.FromString(message.body))

    def look(self) -> int:
        """Reports so far, after one look more."""
        asyncio.run(self.reporter.look())
        return len(self.said)


def test_nothing_is_said_where_nobody_hears() -> None:
    assert Scene().look() == 0


def test_each_stream_hears_how_it_is_and_then_what_changes() -> None:
    scene = Scene()
    scene.speaking = 1
    assert [scene.look(), scene.look()] == [1, 1]
    scene.status_now = status(state="suspended", summary="All traffic passes.")
    assert [scene.look(), scene.look()] == [2, 2]
    assert scene.said[-1].health.trouble == "All traffic passes."
    scene.speaking = 2
    assert scene.look() == 3


def test_a_host_that_cannot_be_looked_at_is_told_of_later() -> None:
    scene = Scene()
    scene.speaking = 1
    scene.fault = OSError(24, "Too many open files")
    assert scene.look() == 0
    scene.fault = None
    assert scene.look() == 1


def test_what_was_found_for_one_stream_is_not_said_on_another() -> None:
    scene = Scene()
    scene.speaking = 1

    class Late(Scene):
        def status(self) -> local_pb2.StatusResponse:
            self.speaking = 2  # it broke meanwhile, and there is another
            return super().status()

    late = Late()
    late.speaking = 1
    assert late.look() == 0
    late.status = scene.status  # type: ignore[method-assign]
    assert late.look() == 1
