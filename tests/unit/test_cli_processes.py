# SPDX-License-Identifier: Apache-2.0
"""`cordonctl ps` with its filters and tree, and `whois`."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli.output import Exit
from agent.pb import local_pb2 as pb
from tests.unit.cordonctl import run
from tests.unit.local_agent import STRANGER, WEB, LocalAgent, local_agent


def process(pid: int, parent: int, command: str, age: float = 0) -> pb.Process:
    return pb.Process(
        pid=pid, parent=parent, command=command, workload="db", segment="data", state="pending",
        age_seconds=age,
    )  # fmt: skip


FAMILY = [
    process(10, 1, "init", 90_000),
    process(11, 10, "server", 7200),
    process(12, 10, "cron", 130),
    process(13, 11, "worker", 12),
]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[LocalAgent]:
    with local_agent(tmp_path) as made:
        made.view.answers[0] = [WEB, STRANGER, *FAMILY]
        yield made


def pids(agent: LocalAgent, *arguments: str) -> list[int]:
    answer = run(agent, "ps", "--output", "json", *arguments)
    return [one["pid"] for one in json.loads(answer.stdout)]


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (["--workload", "web"], [42]),
        (["--workload", "front/web"], [42]),
        (["--workload", "back/web"], []),
        (["--segment", "data"], [10, 11, 12, 13]),
        (["--state", "host"], [43]),
        (["--segment", "data", "--state", "attested"], []),
    ],
)
def test_filters_leave_what_was_asked_for(
    agent: LocalAgent, filters: list[str], left: list[int]
) -> None:
    assert pids(agent, *filters) == left


def test_tree_puts_children_below_their_parents(agent: LocalAgent) -> None:
    lines = run(agent, "ps", "--tree", "--segment", "data").stdout.splitlines()[1:]
    assert [line[:14].rstrip() for line in lines] == [
        "10   init",
        "11     server",
        "13       worke",
        "12     cron",
    ]


def test_age_is_in_the_largest_whole_unit(agent: LocalAgent) -> None:
    lines = run(agent, "ps", "--segment", "data").stdout.splitlines()[1:]
    assert [line.split()[6] for line in lines] == ["1d", "2h", "2m", "12s"]


def test_whois_says_why_and_why_not(agent: LocalAgent) -> None:
    result = run(agent, "whois", "42")
    assert result.exit_code == Exit.OK
    facts, _, table = result.stdout.partition("\n\n")
    assert "identity  front/web (300)" in facts
    assert "because   unit=web.service user=web" in facts
    assert "exe       /usr/bin/web" in facts
    rows = [line.split() for line in table.splitlines()[1:]]
    assert rows == [
        ["front/web", "1", "yes", "-", "-", "-"],
        ["front/any", "2", "yes,", "another", "one", "is", "more", "specific", "-", "-", "-"],
        ["data/db", "1", "no", "unit", "db.service", "web.service"],
    ]


def test_whois_in_json(agent: LocalAgent) -> None:
    answer = json.loads(run(agent, "whois", "42", "--output", "json").stdout)
    assert answer["process"]["pid"] == 42
    assert answer["facts"]["exe"] == "/usr/bin/web"
    assert [c["won"] for c in answer["candidates"]] == [False, False, True]


def test_whois_of_a_process_that_is_not_there_is_status_1(agent: LocalAgent) -> None:
    result = run(agent, "whois", "77")
    assert result.exit_code == Exit.REFUSED
    assert result.stderr == "cordonctl: process 77 is not of this instance, or has ended\n"
