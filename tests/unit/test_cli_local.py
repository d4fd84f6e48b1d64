# SPDX-License-Identifier: Apache-2.0
"""`cordonctl status | ps | sockets`: what they show, to people and to programs."""

from __future__ import annotations

import json

import pytest

from agent.cli import local_view as view
from agent.cli.output import Exit
from agent.pb import local_pb2 as pb
from tests.unit.cordonctl import run
from tests.unit.local_agent import SOCKETS, STATUS, LocalAgent


def test_status_tells_people_what_is_in_force(agent: LocalAgent) -> None:
    result = run(agent, "status")
    assert result.exit_code == Exit.OK
    facts = dict(line.split(None, 1) for line in result.stdout.splitlines() if line)
    assert facts["state"] == "in_sync"
    assert facts["summary"] == "Policy version 7 is in force."
    assert facts["host"] == "host-a (3)"
    assert facts["hooks"] == "13 of 13 attached"
    assert "version 7, expires 2027-01-15T09:00:00" in result.stdout
    assert "LIFELINE, always open  admin-ssh" in result.stdout
    assert "verdict  egress     allow    rule_allow   5\n" in result.stdout


def test_status_in_json_has_every_field_and_numbers_as_numbers(agent: LocalAgent) -> None:
    answer = json.loads(run(agent, "status", "--output", "json").stdout)
    assert set(answer) == {field.name for field in STATUS.DESCRIPTOR.fields}
    assert (answer["policy_version"], answer["apply_seconds"]) == (7, 0.0123)
    assert answer["counters"][1] == {
        "kind": "outcome", "direction": "", "verdict": "", "reason": "tag_written",
        "value": 1 << 40,
    }  # fmt: skip
    assert answer["modes"] == {"front/web": "enforce"}
    assert answer["refused"] == ""


def test_status_without_a_policy_says_so() -> None:
    facts = dict(view.status_facts(pb.StatusResponse(state="syncing", host_name="a")))
    assert (facts["policy"], facts["last apply"], facts["host"]) == ("none", "", "a")


def test_status_does_not_call_missing_what_could_not_be_looked_at() -> None:
    unseen = pb.StatusResponse(state="in_sync", hooks_expected=13, unseen="Too many open files")
    facts = dict(view.status_facts(unseen))
    assert facts["hooks"] == "unknown of 13"
    assert facts["CANNOT LOOK"] == "whether the hooks are attached: Too many open files"


def test_ps_shows_identity_and_evidence(agent: LocalAgent) -> None:
    lines = run(agent, "ps").stdout.splitlines()
    assert lines[0].split() == [
        "PID", "COMMAND", "WORKLOAD", "IDENTITY", "MODE", "STATE", "AGE", "EVIDENCE",
    ]  # fmt: skip
    assert lines[1].split() == [
        "42", "web", "front/web", "300", "enforce", "attested", "1.5s", "unit=web.service",
        "user=web",
    ]  # fmt: skip


def test_ps_of_one_process(agent: LocalAgent) -> None:
    answer = json.loads(run(agent, "ps", "--pid", "42", "--output", "json").stdout)
    assert [(p["pid"], p["evidence"]) for p in answer] == [
        (42, ["unit=web.service", "user=web"])
    ]  # fmt: skip


@pytest.mark.parametrize("output", ["table", "json"])
def test_ps_of_a_process_that_is_not_there_is_status_1(agent: LocalAgent, output: str) -> None:
    result = run(agent, "ps", "--pid", "77", "--output", output)
    assert result.exit_code == Exit.REFUSED
    assert result.stdout == ""
    assert result.stderr == "cordonctl: process 77 is not of this instance, or has ended\n"


def test_sockets_show_both_ends_and_the_rule(agent: LocalAgent) -> None:
    lines = run(agent, "sockets").stdout.splitlines()
    assert lines[1].split() == [
        "tcp", "established", "192.0.2.1:40000", "front/web", "192.0.2.2:5432", "data/db", "tag",
        "allow", "rule_allow", "web-to-db", "-", "42",
    ]  # fmt: skip
    assert lines[2].split() == [
        "tcp", "listen", "[::]:80", "front/web", "-", "-", "-", "-", "-", "-", "-", "42",
    ]  # fmt: skip


def test_sockets_in_json_have_every_field(agent: LocalAgent) -> None:
    answer = json.loads(run(agent, "sockets", "--output", "json").stdout)
    assert [set(one) for one in answer] == [{f.name for f in SOCKETS[0].DESCRIPTOR.fields}] * 2
    assert (answer[0]["rule"], answer[0]["generation"]) == (5, 1)


def test_an_answer_that_is_not_whole_says_so(agent: LocalAgent) -> None:
    agent.view.more = True
    result = run(agent, "sockets", "--output", "json")
    assert len(json.loads(result.stdout)) == 2
    assert "there are more sockets" in result.stderr
