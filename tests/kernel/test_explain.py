# SPDX-License-Identifier: Apache-2.0
"""A real refusal, told four times: observe, the counters, explain and the oracle say the same."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from agent.core.model import Direction, Identity, Protocol, Verdict
from agent.core.policy import Query, verdict
from agent.pb import local_pb2
from tests.kernel.oracle import fault_of
from tests.kernel.sealing import read_snapshot
from tests.kernel.world import ALLOW, BASE, PORT, QUIET, World, policy
from tests.lab.cordon import ROOT, CordonHost, cordon
from tests.lab.witness import Witness

CORDONCTL = [sys.executable, "-m", "agent.cli.ctl"]
EVENT_SECONDS = 5.0
SECONDS = 30.0


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    with cordon(BASE) as running:
        yield World.build(running)


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    yield shared
    shared.cordon.apply(BASE)


def explain(host: CordonHost, *arguments: str) -> tuple[int, dict[str, Any]]:
    argv = [*CORDONCTL, "explain", *arguments, "--config", str(host.config), "--output", "json"]
    done = host.lab.run(argv, env={"PYTHONPATH": str(ROOT)}, timeout=SECONDS)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def refused_at_server(world: World) -> local_pb2.Flow:
    """The loner's side lets it go, db's does not."""
    world.listen()
    witness = Witness(world.cordon["b"])
    mark = witness.mark
    # Its kernel repeats the SYN after a second; this test is about the first.
    assert world.loner.connect(world.b.v4, PORT, timeout=QUIET).error is not None
    flow = witness.wait(
        lambda: next((f for f in witness.since(mark) if f.verdict == "refuse"), None), EVENT_SECONDS
    )
    assert flow is not None
    return flow


def test_observe_counters_explain_and_oracle_say_the_same(world: World) -> None:
    host = world.cordon["b"]
    counted = world.verdict("b", "ingress", "refuse", "no_rule")
    flow = refused_at_server(world)
    code, told = explain(host, "--flow", str(flow.id))
    assert code == 1
    # Explain tells the very event that observe did.
    assert told["flow"]["id"] == flow.id
    assert told["flow"]["local_port"] == flow.local_port == PORT
    # The counters have it.
    assert world.verdict("b", "ingress", "refuse", "no_rule") > counted
    # The oracle, asked apart from explain, says so; and explain's own question got its answer.
    snapshot = read_snapshot(host)
    assert fault_of(snapshot, flow) is None
    decision = verdict(
        snapshot,
        Query(Direction.INGRESS, Protocol.TCP, flow.local_identity, int(Identity.HOST), PORT),
    )
    assert (told["now_verdict"], told["now_reason"]) == (
        decision.verdict.name.lower(), decision.reason.name.lower(),
    )  # fmt: skip
    assert (told["flow"]["verdict"], told["flow"]["reason"]) == ("refuse", "no_rule")
    assert told["now_version"] == flow.policy_version == snapshot.version
    # Who and how.
    assert told["process"]["pid"] == world.db.pid
    assert "unit=db.service" in told["process"]["evidence"]
    assert told["proof"].startswith("by its tag, verified: host a's MAC")
    assert told["mode"] == "enforce"


def test_the_allow_that_explain_prints_opens_the_connection(world: World) -> None:
    flow = refused_at_server(world)
    _, told = explain(world.cordon["b"], "--flow", str(flow.id))
    assert told["allow"]
    world.cordon.apply(policy(ALLOW, told["allow"]))
    listener = world.listen()
    client = world.loner.connect(world.b.v4, PORT, timeout=5.0)
    assert client.ok, client
    assert world.db.accept(listener.handle).ok
    _, after = explain(world.cordon["b"], "--flow", str(flow.id))
    assert after["now_verdict"] == Verdict.ALLOW.name.lower()
    assert after["allow"] == ""
    assert any("is in force now" in note for note in after["notes"])
    world.loner.close(client.handle, reset=True)


def test_last_is_the_refusal_at_connect_with_its_process(world: World) -> None:
    assert world.other.connect(world.b.v4, PORT).error == "EPERM"
    host = world.cordon["a"]
    code, told = explain(host, "--last")
    assert code == 1
    assert told["process"]["pid"] == world.other.pid
    assert told["process"]["workload"] == "other"
    assert (told["flow"]["verdict"], told["flow"]["direction"]) == ("refuse", "egress")
    assert "connect asks before anybody" in told["proof"]
    # Any of the three may run there, as far as the policy says: nobody has answered.
    assert told["allow"] == ""
    assert told["notes"][0].startswith("on host b live data/db, front/other, front/web: name")
    assert fault_of(read_snapshot(host), newest(host)) is None


def newest(host: CordonHost) -> local_pb2.Flow:
    flows = host.stub().Observe(local_pb2.ObserveRequest(last=1, kept_only=True))
    flow: local_pb2.Flow = next(iter(flows))
    return flow


def test_five_tuple_finds_it_and_people_can_read_it(world: World) -> None:
    flow = refused_at_server(world)
    ends = f"tcp {flow.remote_address}:{flow.remote_port} {flow.local_address}:{flow.local_port}"
    argv = [*CORDONCTL, "explain", "--tuple", ends, "--config", str(world.cordon["b"].config)]
    done = world.b.run(argv, env={"PYTHONPATH": str(ROOT)}, timeout=SECONDS)
    assert done.returncode == 1, done.stderr
    for text in (
        "no rule allows it", "unit=db.service", "by its tag, verified", "kind: Allow",
        "workload: db", f"tcp/{PORT}",
    ):  # fmt: skip
        assert text in done.stdout
