# SPDX-License-Identifier: Apache-2.0
"""Every refusal of a controller as a sentence and an exit status."""

from __future__ import annotations

import re

import grpc
import pytest

from agent.cli.output import Exit
from agent.cli.remote import CALL_SECONDS, DEADLINES, Bounded
from agent.cli.remote_errors import ADVICE, LISTS, Call, told
from agent.edge.enrolment_client import Refusal
from agent.pb import admin_pb2, flow_pb2
from controller.roles import REQUIRED

Code = grpc.StatusCode
APPLY, LIST = Call("ctl:7440", "Apply", 300.0), Call("ctl:7440", "ListHosts", 30.0)
SERVICES = (
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"],
    flow_pb2.DESCRIPTOR.services_by_name["FlowQueryService"],
)
METHODS = {method.name for service in SERVICES for method in service.methods}
_CODES = re.compile("|".join(rf"\b{code.name}\b" for code in Code if "_" in code.name))


@pytest.mark.parametrize("reason", sorted(ADVICE))
def test_a_refusal_reads_as_the_controllers_sentence_and_what_to_do(reason: str) -> None:
    answer = told(Refusal(Code.UNKNOWN, "Web-1 is not there.", reason), LIST)
    status, advice = ADVICE[reason]
    assert answer.status is status
    assert answer.sentence.startswith("controller ctl:7440: Web-1 is not there")
    assert ("; " in answer.sentence) is bool(advice)
    assert reason not in answer.sentence
    assert "{" not in answer.sentence


@pytest.mark.parametrize("reason", sorted(ADVICE))
def test_a_refusal_without_a_sentence_is_still_one(reason: str) -> None:
    words = reason.lower().replace("_", " ")
    assert f"controller ctl:7440: {words}" in told(Refusal(Code.UNKNOWN, "", reason), LIST).sentence


def test_every_reason_that_the_contract_names_has_advice() -> None:
    named = (
        "ROLE_TOO_LOW REVOKED UNKNOWN CONFLICT STORE BOUNDS LAST_OPERATOR TOO_MANY TOKEN_INVALID "
        "HOST_EXISTS CSR_INVALID RATE_LIMITED"
    )
    assert set(named.split()) <= set(ADVICE)


@pytest.mark.parametrize(
    ("method", "command"),
    [("GetHost", "hosts list"), ("Rollback", "history"), ("RevokeToken", "token list")],
)
def test_what_is_not_there_comes_with_the_command_that_shows_what_is(
    method: str, command: str
) -> None:
    answer = told(Refusal(Code.NOT_FOUND, "no such thing", "UNKNOWN"), Call("ctl:7440", method))
    assert answer.sentence.endswith(f"; `cordonctl {command}` shows what there is")
    assert answer.status is Exit.REFUSED


def test_a_party_that_nobody_knows_is_no_answer_of_explain() -> None:
    refusal = Refusal(Code.NOT_FOUND, "no such party", "UNKNOWN")
    assert told(refusal, Call("ctl:7440", "Explain")).status is Exit.BAD_INPUT


def test_the_lists_are_of_methods_that_there_are() -> None:
    assert set(LISTS) <= METHODS


def test_who_has_too_low_a_role_is_told_which_one_it_takes() -> None:
    refusal = Refusal(
        Code.PERMISSION_DENIED, "vera is viewer", "ROLE_TOO_LOW",
        {"role": "viewer", "needed": "editor"},
    )  # fmt: skip
    answer = told(refusal, APPLY)
    assert answer.status is Exit.NOT_PERMITTED
    assert answer.sentence.endswith(
        ": vera is viewer; ask an operator for a login token of the role editor"
    )


def test_who_comes_too_often_is_told_how_long_to_wait() -> None:
    refusal = Refusal(Code.RESOURCE_EXHAUSTED, "slow down", "RATE_LIMITED", {}, 7.4)
    assert told(refusal, APPLY).sentence.endswith("wait 7 s")


@pytest.mark.parametrize("code", list(Code))
def test_no_code_of_the_protocol_is_ever_shown(code: grpc.StatusCode) -> None:
    for reason in ("", "SOMETHING_NEW", *ADVICE):
        for call in (APPLY, LIST):
            answer = told(Refusal(code, "", reason), call)
            assert not _CODES.search(answer.sentence), answer.sentence
            assert answer.status in set(Exit) - {Exit.OK}
            assert "ctl:7440" in answer.sentence


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL])
def test_where_a_change_may_have_come_through_it_is_said_so(code: grpc.StatusCode) -> None:
    unknown = "whether it was carried out is not known"
    assert unknown in told(Refusal(code, "Socket closed"), APPLY).sentence
    assert unknown not in told(Refusal(code, "Socket closed"), LIST).sentence
    assert "Socket closed" not in told(Refusal(code, "Socket closed"), LIST).sentence


def test_a_deadline_is_named() -> None:
    answer = told(Refusal(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"), LIST)
    assert answer.sentence == "controller ctl:7440 did not answer within 30 s"
    assert answer.status is Exit.UNREACHABLE


def test_the_database_away_is_not_reachable_and_nothing_was_changed() -> None:
    answer = told(Refusal(Code.UNAVAILABLE, "database is locked", "STORE"), APPLY)
    assert answer.status is Exit.UNREACHABLE
    assert "nothing was changed" in answer.sentence


def test_methods_that_change_something_are_known_by_the_audit_rule() -> None:
    """Whatever a viewer may not call changes something, or lists what only operators may see."""
    reading = {name for name in METHODS if not Call("", name).changes}
    viewer = {name for name, role in REQUIRED.items() if role == 1}
    assert reading == viewer | {"ListTokens", "ListAdministrators"}


class Recorder:
    """A service that answers with the deadline that it was called with."""

    def __getattr__(self, method: str) -> object:
        return lambda request, timeout: (method, request, timeout)


def test_every_call_has_a_deadline_but_watching_a_rollout() -> None:
    admin = Bounded(Recorder(), "ctl:7440")
    for method in METHODS:
        _, _, limit = getattr(admin, method)("request")
        expected = {"Apply": 300.0, "Diff": 300.0, "GetDocuments": 300.0, "WatchRollout": None}
        assert limit == expected.get(method, 30.0)
        assert admin.call == Call("ctl:7440", method, limit)
    assert admin.WatchRollout("request", 5.0)[2] == 5.0
    assert set(DEADLINES) <= METHODS
    assert CALL_SECONDS == 30.0
