# SPDX-License-Identifier: Apache-2.0
"""Roles: every method of the contract has one, and it is the one that the contract says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.pb import admin_pb2, flow_pb2
from controller.access_records import Role
from controller.roles import REQUIRED, may

_FOLDER = Path(__file__).parents[2] / "proto/cordon/v1"
_PROTO = "".join((_FOLDER / name).read_text() for name in ("admin.proto", "flow.proto"))


def test_every_method_of_the_contract_has_a_role() -> None:
    services = (
        admin_pb2.DESCRIPTOR.services_by_name["AdminService"],
        flow_pb2.DESCRIPTOR.services_by_name["FlowQueryService"],
    )
    methods = [method.name for service in services for method in service.methods]
    assert sorted(REQUIRED) == sorted(methods)


@pytest.mark.parametrize("method", sorted(REQUIRED))
def test_the_role_is_the_last_word_of_the_methods_comment(method: str) -> None:
    match = re.search(rf"((?: *//.*\n)+) *rpc {method}\(", _PROTO)
    assert match is not None
    comment = re.sub(r"\s*//\s*", " ", match[1])
    said = re.findall(r"(Viewer|Editor|Operator)\.", comment)[-1]
    assert REQUIRED[method] is Role[said.upper()]


def test_each_role_may_what_the_one_before_may() -> None:
    for method, needed in REQUIRED.items():
        assert [may(role, method) for role in Role] == [role >= needed for role in Role]


def test_nobody_may_what_is_unknown_and_who_has_no_role_may_nothing() -> None:
    assert not may(Role.OPERATOR, "Unknown")
    assert not any(may(None, method) for method in REQUIRED)
