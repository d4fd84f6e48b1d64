# SPDX-License-Identifier: Apache-2.0
"""`cordonctl flows` against a real controller, through its real command line."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from agent.cli.output import Exit
from controller.access_records import Role
from controller.flow_records import FlowBatch
from controller.store import SqlStorage
from tests.server.administering import POLICY
from tests.server.commanding import Ctl, logged_in
from tests.server.served import Served
from tests.store import making
from tests.store.test_flows import REFUSED, WEB_DB, record

_COUNT = itertools.count(1)


@pytest.fixture
def viewer(served: Served, storage: SqlStorage, tmp_path: Path) -> Ctl:
    return logged_in(served, storage, tmp_path, Role.VIEWER)


@pytest.fixture
def name(storage: SqlStorage) -> str:
    """Of a host that has told: a day of connections, a refusal of this minute."""
    name = f"told-{next(_COUNT)}"
    now = int(time.time())
    minute = now // 60 * 60
    host = making.join(storage, name, now=now)
    told = [
        record(WEB_DB, minute - 86_400, count=100),
        record(WEB_DB, minute, source_bytes=3 << 20),
        record(REFUSED, minute, closed=0, address="192.0.2.7"),
        record(REFUSED._replace(destination="unproven", port=80), minute, closed=0),
    ]
    storage.add_flows([FlowBatch(host.number, bytes(16), 1, told)], now)
    return name


def test_records_are_a_table_and_filters_hold(viewer: Ctl, name: str) -> None:
    table = viewer.good("flows", "--host", name).splitlines()
    assert table[0].split()[:2] == ["MINUTE", "HOST"]
    assert len(table) == 4
    (line,) = viewer.good("flows", "--host", name, "--verdict", "allow").splitlines()[1:]
    assert "3.0 MiB" in line
    assert "rule_allow web-to-db" in line
    (heads,) = viewer.good("flows", "--host", name, "--to", "nobody").splitlines()
    assert heads.split() == table[0].split()
    assert len(viewer.json("flows", "--host", name, "--since", "2d")) == 4
    assert len(viewer.json("flows", "--host", name, "--since", "2d", "--until", "1h")) == 1


def test_json_has_the_address_of_who_was_refused(viewer: Ctl, name: str) -> None:
    (flow,) = viewer.json("flows", "--host", name, "--port", "22")
    assert (flow["verdict"], flow["address"], flow["host"]) == ("refuse", "192.0.2.7", name)


def test_top_new_and_refused(viewer: Ctl, name: str) -> None:
    top = viewer.json("flows", "--top", "--host", name, "--since", "2d", "-n", 1)
    assert [(one["port"], one["egress"]) for one in top] == [(5432, 103)]
    new = viewer.json("flows", "--new", "--host", name, "--since", "1h")
    assert {edge["port"] for edge in new} <= {22, 80}
    refused = viewer.json("flows", "--refused", "--host", name)
    assert {edge["port"]: bool(edge["allow"]) for edge in refused} == {22: True, 80: False}


def test_allows_of_refused_edges_can_be_applied_as_they_are(
    served: Served, storage: SqlStorage, tmp_path: Path, viewer: Ctl, name: str
) -> None:
    editor = logged_in(served, storage, tmp_path, Role.EDITOR)
    base = tmp_path / "base.yaml"
    base.write_text(POLICY)
    editor.good("apply", "-f", base, "-m", "the base")
    allows = tmp_path / "allows.yaml"
    allows.write_text(viewer.good("flows", "--refused", "--host", name, "-o", "yaml"))
    editor.good("apply", "-f", allows, "-m", "what was refused")
    assert "web-to-db-tcp-22" in viewer.good("get", "Allow")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--by-bytes",), "expected --top with --by-bytes"),
        (("-o", "yaml"), "expected --refused with -o yaml"),
        (("--since", "yesterday"), "expected a duration such as"),
        (("--port", "0"), "0 is not in the range"),
    ],
)
def test_what_does_not_go_together_is_refused(
    viewer: Ctl, arguments: tuple[str, ...], said: str
) -> None:
    assert said in viewer.refused(Exit.BAD_INPUT, "flows", *arguments)
