# SPDX-License-Identifier: Apache-2.0
"""`cordonctl observe`: which flows it shows, from when on, and how."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from agent.cli import local_view as view
from agent.cli.output import Exit
from agent.core.flows import Filter, Flow
from agent.edge.local_view import flow_message
from agent.pb import local_pb2 as pb
from tests.unit.cordonctl import END_SECONDS, invoke, run, start
from tests.unit.local_agent import FLOW, INGRESS, REFUSED, LocalAgent


def test_a_flow_is_one_line_with_everything_that_decided() -> None:
    line = view.flow_line(flow_message(FLOW))
    assert line.partition(" ")[2] == (
        "ALLOW  tcp front/web 192.0.2.1:40000 -> data/db 192.0.2.2:5432 rule_allow "
        "rule=web-to-db proof=tag pid=42"
    )
    assert line.partition(" ")[0].endswith(".250")


def test_a_flow_of_an_unbound_socket_shows_no_local_address() -> None:
    flow = replace(REFUSED, local_address="::", local_port=0, suppressed=9)
    assert view.flow_line(flow_message(flow)).partition(" ")[2] == (
        "REFUSE tcp front/web -> world 192.0.2.2:22 no_rule proof=address pid=43 suppressed=9"
    )


def test_flow_has_the_fields_of_its_message() -> None:
    assert {f.name for f in pb.Flow.DESCRIPTOR.fields} == set(Flow.__slots__)


def test_observe_shows_what_happens_from_then_on(agent: LocalAgent) -> None:
    agent.add(REFUSED)
    child = start(agent, "observe", "--count", "2", "--output", "json")
    agent.wait_for_observers(1)
    agent.add(FLOW)
    agent.add(INGRESS)
    out, err = child.communicate(timeout=END_SECONDS)
    assert (child.returncode, err) == (Exit.OK, b"")
    assert [json.loads(line) for line in out.splitlines()] == [asdict(FLOW), asdict(INGRESS)]
    agent.wait_for_observers(0)


def test_observe_filters(agent: LocalAgent) -> None:
    for flow in (FLOW, REFUSED, INGRESS):
        agent.add(flow)

    def seen(*filters: str) -> list[tuple[str, str, str]]:
        result = run(agent, "observe", "--last", "9", "--no-follow", "--output", "json", *filters)
        assert result.exit_code == Exit.OK, result.stderr
        flows = map(json.loads, result.stdout.splitlines())
        return [(f["direction"], f["verdict"], f["local_workload"]) for f in flows]

    allowed, refused, ingress = (
        (f.direction, f.verdict, f.local_workload) for f in (FLOW, REFUSED, INGRESS)
    )
    assert seen() == [allowed, refused, ingress]
    assert seen("--verdict", "refuse", "--verdict", "audit") == [refused]
    assert seen("--reason", "no_rule") == [refused]
    assert seen("--direction", "ingress") == [ingress]
    assert seen("--port", "22") == [refused]
    assert seen("--port", "80") == [ingress]
    assert seen("--pid", "42") == [allowed, ingress]
    assert seen("--workload", "world", "--workload", "www") == [refused, ingress]
    assert seen("--workload", "front/web") == [allowed, refused]
    assert seen("--workload", "web", "--port", "5432") == [allowed]
    assert seen("--workload", "nobody") == []


def test_last_takes_the_newest_that_pass(agent: LocalAgent) -> None:
    for port in range(1, 6):
        agent.add(replace(FLOW, local_port=port))
        agent.add(replace(REFUSED, local_port=port))
    argv = ("observe", "--last", "2", "--no-follow", "--verdict", "allow", "--output", "json")
    shown = [json.loads(line) for line in run(agent, *argv).stdout.splitlines()]
    assert [flow["local_port"] for flow in shown] == [4, 5]


def test_last_comes_first_and_what_happens_after(agent: LocalAgent) -> None:
    agent.add(REFUSED)
    child = start(agent, "observe", "--last", "1", "--count", "2", "--output", "json")
    agent.wait_for_observers(1)
    agent.add(FLOW)
    out, _ = child.communicate(timeout=END_SECONDS)
    assert [json.loads(line)["verdict"] for line in out.splitlines()] == ["refuse", "allow"]


def test_empty_filter_passes_everything() -> None:
    assert all(Filter().passes(flow) for flow in (FLOW, REFUSED, INGRESS))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--pid", "0"],
        ["--pid", "99999999999"],
        ["--port", "65536"],
        ["--verdict", "maybe"],
        ["--reason", "maybe"],
        ["--direction", "up"],
        ["--last", "-1"],
        ["--no-follow"],
    ],
)
def test_bad_filter_is_status_2(arguments: list[str]) -> None:
    assert invoke("observe", *arguments).exit_code == Exit.BAD_INPUT


def test_what_is_only_counted_cannot_be_observed(agent: LocalAgent) -> None:
    result = run(agent, "observe", "--verdict", "held")
    assert result.exit_code == Exit.BAD_INPUT
    assert "'held' is not one of 'allow', 'refuse', 'audit'" in result.stderr


def test_more_observers_than_may_is_a_sentence(
    agent: LocalAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.edge.flow_log.MAX_OBSERVERS", 0)
    result = run(agent, "observe")
    assert result.exit_code == Exit.REFUSED
    assert "0 observers watch already, end one of them" in result.stderr
