# SPDX-License-Identifier: Apache-2.0
"""`cordonctl observe` on real agents: the kernel's verdicts as they happen, and the kept ones."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli.output import Exit
from tests.kernel.asking import CORDONCTL, END_SECONDS, Json, connection, ctl
from tests.kernel.world import BASE, PORT, QUIET, World
from tests.lab import wait_until
from tests.lab.cordon import CordonHost, cordon


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Shared: no test here changes policy or leaves a connection open."""
    with cordon(BASE) as running:
        yield World.build(running)


class Observing:
    """A running `cordonctl observe` whose lines go to a file."""

    def __init__(self, host: CordonHost, file: Path, *filters: str) -> None:
        self._file = file
        with file.open("wb") as out:
            self._child = subprocess.Popen(
                [CORDONCTL, "observe", "--output", "json", "--config", str(host.config), *filters],
                stdout=out,
                stderr=subprocess.PIPE,
            )

    def flows(self) -> list[Json]:
        return [json.loads(line) for line in self._file.read_text().splitlines(keepends=False)]

    def end(self) -> None:
        self._child.send_signal(2)
        _, err = self._child.communicate(timeout=END_SECONDS)
        assert (self._child.returncode, err) == (Exit.OK, b"")


@contextlib.contextmanager
def observing(world: World, host: str, file: Path, *filters: str) -> Iterator[Observing]:
    """Observed from the first statement on: allowed flows are told only while somebody looks."""
    seen = Observing(world.cordon[host], file, *filters)
    listener = world.listen()

    def told() -> bool:
        client = world.web.connect(world.b.v4, PORT)
        server = world.db.accept(listener.handle)
        world.web.close(client.handle, reset=True)
        world.db.close(server.handle)
        return bool(seen.flows())

    wait_until(told, "observe to show what is allowed", timeout=END_SECONDS, interval=0.2)
    try:
        yield seen
    finally:
        seen.end()


def test_observe_shows_the_allowed_and_the_refused_as_they_happen(
    world: World, tmp_path: Path
) -> None:
    with observing(world, "a", tmp_path / "a") as seen:
        with connection(world) as port:
            pass
        assert world.other.connect(world.b.v4, PORT).error == "EPERM"

        def found(**wanted: object) -> list[Json]:
            return [f for f in seen.flows() if all(f[k] == v for k, v in wanted.items())]

        (allowed,) = wait_until(lambda: found(local_port=port), "the allowed connection")
        (refused,) = wait_until(lambda: found(pid=world.other.pid), "the refused connection")
    assert {k: allowed[k] for k in ("verdict", "reason", "rule_name", "pid", "proof")} == {
        "verdict": "allow", "reason": "rule_allow", "rule_name": "web-to-db",
        "pid": world.web.pid, "proof": "tag",
    }  # fmt: skip
    assert (allowed["local_workload"], allowed["peer_workload"]) == ("front/web", "data/db")
    assert (allowed["direction"], allowed["remote_address"]) == ("egress", world.b.v4)
    assert (allowed["policy_version"], allowed["rule"] > 0) == (1, True)
    assert (refused["verdict"], refused["reason"], refused["rule"]) == ("refuse", "no_rule", 0)
    assert (refused["local_workload"], refused["remote_port"]) == ("front/other", PORT)


def test_the_server_shows_who_was_refused_by_its_proof(world: World, tmp_path: Path) -> None:
    with observing(world, "b", tmp_path / "b", "--direction", "ingress") as seen:
        assert world.loner.connect(world.b.v4, PORT, timeout=QUIET).error == "TIMEOUT"
        refused = wait_until(
            lambda: [f for f in seen.flows() if f["verdict"] == "refuse"], "the refusal"
        )[0]
    assert (refused["reason"], refused["peer_workload"]) == ("no_rule", "host")
    assert (refused["proof"], refused["pid"]) == ("tag", world.db.pid)
    assert refused["local_workload"] == "data/db"


def test_a_refusal_that_nobody_observed_is_kept(world: World) -> None:
    host = world.cordon["a"]
    assert world.other.connect(world.b.v4, PORT + 77).error == "EPERM"
    argv = ("observe", "--last", "1", "--no-follow", "--verdict", "refuse", "--port", "5509")
    (line,) = wait_until(lambda: ctl(host, *argv).stdout.splitlines(), "the refusal to be kept")
    assert f"REFUSE tcp front/other -> unproven {world.b.v4}:{PORT + 77} no_rule" in line
    assert f"pid={world.other.pid}" in line
