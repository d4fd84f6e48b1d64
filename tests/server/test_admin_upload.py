# SPDX-License-Identifier: Apache-2.0
"""Policy sent by administrators: what an upload may be at most, and one that is broken off."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from agent.pb import admin_pb2 as pb
from controller.store import SqlStorage
from tests.server import client
from tests.server.administering import PATIENCE, Administrator, file, refusal
from tests.unit.policies import WEB_TO_DB

HEAD = pb.ApplyRequest(head=pb.ApplyHead(why="w"))
FILE = pb.ApplyRequest(file=file(WEB_TO_DB))


def upload(name: str = "p.yaml", content: bytes = b"") -> pb.ApplyRequest:
    return pb.ApplyRequest(file=pb.PolicyFile(name=name, content=content))


BOUNDS: dict[str, Any] = {
    "no head": [FILE],
    "nothing": [],
    "two heads": [HEAD, FILE, HEAD],
    "no why": [pb.ApplyRequest(head=pb.ApplyHead()), FILE],
    "a long why": [pb.ApplyRequest(head=pb.ApplyHead(why="x" * 1001)), FILE],
    "control characters": [pb.ApplyRequest(head=pb.ApplyHead(why="a\x1b[2J")), FILE],
    "a large file": [HEAD, upload(content=b"#" * (1024 * 1024 + 1))],
    "a long name": [HEAD, upload(name="x" * 4097)],
    "many files": itertools.chain([HEAD], (upload() for _ in range(10_001))),
    "much": itertools.chain([HEAD], (upload(content=b"#" * 1024 * 1024) for _ in range(65))),
}


@pytest.mark.parametrize("what", BOUNDS)
def test_an_upload_has_bounds(editor: Administrator, storage: SqlStorage, what: str) -> None:
    head = storage.head()
    refused = refusal(lambda: editor.stub.Apply(iter(BOUNDS[what]), timeout=client.DEADLINE))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BOUNDS"), refused
    assert storage.head() == head


def test_an_upload_that_is_broken_off_changes_nothing(
    editor: Administrator, storage: SqlStorage
) -> None:
    head, waits = storage.head(), threading.Event()

    def parts() -> Iterator[pb.ApplyRequest]:
        yield HEAD
        yield FILE
        waits.wait(PATIENCE)

    call = editor.stub.Apply.future(parts(), timeout=client.DEADLINE)
    call.cancel()
    waits.set()
    for _ in range(3):  # more than may be at work at one time: no place was lost
        assert editor.apply(dry_run=True).revision == 0
    assert storage.head() == head
