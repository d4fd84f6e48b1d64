# SPDX-License-Identifier: Apache-2.0
"""Who may call what: each method with each role, and what is refused is in the audit log."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from agent.pb import admin_pb2 as pb
from agent.pb import admin_pb2_grpc
from controller import ca
from controller.access_records import Role
from controller.ca import Leaf
from controller.records import Page
from controller.roles import REQUIRED
from controller.services.admin import AdminServicer
from controller.spiffe import Kind, Subject
from controller.store import SqlStorage
from tests.lab.waiting import wait_until
from tests.server import client
from tests.server.administering import Administrator, Hosts, administrator, refusal
from tests.server.served import Served

METHODS = pb.DESCRIPTOR.services_by_name["AdminService"].methods_by_name
TOO_LOW = [
    (role, method) for role, method in itertools.product(Role, METHODS) if role < REQUIRED[method]
]
NOBODY: Mapping[str, dict[str, Any]] = {
    # Requests that are within their bounds, about somebody who is not there or to change nothing.
    "GetHost": {"name": "nobody"},
    "RevokeHost": {"name": "nobody", "why": "w"},
    "UpdateHost": {"name": "nobody"},
    "RevokeAdministrator": {"name": "nobody", "why": "w"},
    "RevokeToken": {"id": "nobody"},
    "DeleteDocuments": {"documents": [pb.DocumentName(kind="Allow", name="nobody")], "why": "w"},
    "Rollback": {"revision": 1000, "why": "w"},
    "Quarantine": {"host": "nobody", "until": int(time.time()) + 3600, "why": "w"},
    "LiftQuarantine": {"host": "nobody", "why": "w"},
    "Explain": {"source": "host:nobody", "target": "world", "port": "tcp/1"},
    "GetDocuments": {"documents": [pb.DocumentName(kind="Allow", name="nobody")]},
    "WatchRollout": {"version": 1000},
    "ListHosts": {"states": [99]},
    "CreateToken": {},
    "ListTokens": {"page_size": 1001},
    "ListRevisions": {"page_token": "x"},
    "ListAudit": {"page_size": 1001},
    "UpdateSettings": {},
}


@pytest.fixture(scope="module")
def administrators(served: Served) -> Iterator[Mapping[Role, Administrator]]:
    with served.site.store() as storage:
        made = {role: administrator(served, storage, role) for role in Role}
        yield {role: one.__enter__() for role, one in made.items()}
        for one in made.values():
            one.__exit__(None, None, None)


def call(one: Administrator, method: str, fields: Mapping[str, Any]) -> Any:
    """Whatever kind of call it is."""
    stub, described = getattr(one.stub, method), METHODS[method]
    request = getattr(pb, f"{method}Request")(**fields)
    answer = stub(iter([request]) if described.client_streaming else request, timeout=60.0)
    return list(answer) if described.server_streaming else answer


def test_every_method_has_a_role_and_is_served() -> None:
    assert set(METHODS) <= set(REQUIRED)
    unserved = admin_pb2_grpc.AdminServiceServicer
    assert all(getattr(AdminServicer, m) is not getattr(unserved, m) for m in METHODS)


@pytest.mark.parametrize(("role", "method"), TOO_LOW)
def test_a_role_that_is_too_low_is_refused_and_that_is_noted(
    administrators: Mapping[Role, Administrator], storage: SqlStorage, role: Role, method: str
) -> None:
    one, head = administrators[role], storage.head()
    refused = refusal(lambda: call(one, method, NOBODY.get(method, {})))
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_TOO_LOW")
    assert refused.details == {
        "role": role.name.lower(),
        "needed": REQUIRED[method].name.lower(),
    }
    newest = storage.audit(0, Page(size=1)).items[0]
    assert (newest.what, newest.refused) == (method, "ROLE_TOO_LOW")
    assert newest.who == f"spiffe://example.org/admin/{role.name.lower()}/{one.name}"
    assert newest.address in ("127.0.0.1", "::1")
    assert storage.head() == head


@pytest.mark.parametrize("method", METHODS)
def test_the_least_role_is_enough_and_nothing_is_noted_that_changes_nothing(
    administrators: Mapping[Role, Administrator], storage: SqlStorage, method: str
) -> None:
    entries = storage.audit(0, Page(size=1)).items[0].number
    try:
        call(administrators[REQUIRED[method]], method, NOBODY.get(method, {}))
    except grpc.RpcError as error:
        found = client.refusal(error)
        assert found.reason in ("UNKNOWN", "BOUNDS"), found
    assert storage.audit(0, Page(size=1)).items[0].number == entries


def test_who_is_no_administrator_is_nobody(served: Served, storage: SqlStorage) -> None:
    with Hosts(served, storage) as hosts:
        made = hosts.enrol("web-9")
    shown = client.Identity(made.key, made.chain, made.roots)
    with client.channel(served.main, shown.roots, shown) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        refused = refusal(lambda: stub.Whoami(pb.WhoamiRequest(), timeout=60.0))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "WRONG_KIND")


def test_a_revoked_administrator_is_refused_from_the_next_call_on(
    served: Served, storage: SqlStorage, administrators: Mapping[Role, Administrator]
) -> None:
    operator = administrators[Role.OPERATOR]
    last = operator.refused("RevokeAdministrator", name="operator", why="w")
    assert (last.code, last.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LAST_OPERATOR")
    with administrator(served, storage, Role.OPERATOR, "olga") as olga:
        assert olga("Whoami").name == "olga"
        operator("RevokeAdministrator", name="olga", why="left")
        refused = olga.refused("Whoami")
        assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "REVOKED")
    listed = {a.name: a for a in operator("ListAdministrators").administrators}
    assert listed["olga"].revoked
    assert not listed["operator"].revoked
    assert listed["viewer"].role == pb.ROLE_VIEWER
    newest = operator("ListAudit", page_size=1).entries[0]
    assert (newest.what, newest.object, newest.why) == ("RevokeAdministrator", "olga", "left")


def test_a_connection_does_not_outlive_the_certificate_that_it_was_made_with(
    served: Served, storage: SqlStorage
) -> None:
    trusted, key = client.authority(storage), client.new_key()
    subject = Subject("example.org", Kind.ADMINISTRATOR, "brief", Role.VIEWER)
    leaf = ca.issue(trusted, key.public_key(), Leaf(subject, 77, 6), int(time.time()))
    shown = client.Identity(client.key_pem(key), leaf.public_bytes(Encoding.PEM), trusted.pem)
    with client.channel(served.main, trusted.pem, shown) as channel:
        brief = Administrator("brief", channel, admin_pb2_grpc.AdminServiceStub(channel))
        assert brief("Whoami").name == "brief"

        def ended() -> client.Refusal | None:
            try:
                brief("Whoami")
            except grpc.RpcError as error:
                return client.refusal(error)
            return None

        refused = wait_until(ended, "the certificate to end", 60.0, 0.2)
    assert refused is not None
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "NO_CERTIFICATE")


def test_refused_calls_do_not_fill_the_audit_log(served: Served, storage: SqlStorage) -> None:
    with administrator(served, storage, Role.VIEWER, "eve") as eve:
        found = {eve.refused("ListTokens").reason for _ in range(99)}
        assert found == {"ROLE_TOO_LOW"}
        # One more comes back each second, so how many it takes depends on the machine.
        refused = next(r for _ in range(1000) if (r := eve.refused("ListTokens")).retry)
        assert (refused.code, refused.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "RATE_LIMITED",
        )
        before = storage.audit(0, Page(1)).items[0].number
        assert eve("Whoami").name == "eve"
        assert storage.audit(0, Page(1)).items[0].number == before
