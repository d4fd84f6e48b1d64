# SPDX-License-Identifier: Apache-2.0
"""Why a verdict is what it is: sentences, the oracle's answer, and the Allow that is missing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner, Result

from agent.cli.ctl import cordonctl
from agent.core.allow import allow_document
from agent.core.flow_explanation import BECAUSE, Asked, because, explain, wanted
from agent.core.flows import Flow
from agent.core.model import Direction, Identity, Mode, Reason, Verdict
from tests.unit.local_agent import FLOW, local_agent
from tests.unit.snapshots import API, DB, FAR, LAN, WEB, rule, snapshot, tcp

WORLD_ADDRESS = "203.0.113.9"
REFUSED = replace(
    FLOW, id=7, verdict="refuse", reason="no_rule", rule=0, rule_name="", direction="egress",
    local_identity=WEB, local_workload="seg/w300", remote_address=WORLD_ADDRESS, remote_port=443,
    peer_identity=int(Identity.WORLD), peer_workload="world", proof="address", peer_host=0,
)  # fmt: skip
NAMED = {WEB: "seg/w300", API: "seg/w301", DB: "seg/w302", FAR: "seg/far"}
POLICY = replace(snapshot(version=7), names=NAMED)


def from_far(**changed: object) -> Flow:
    """Ingress at web of a connection from the other managed host."""
    made = replace(
        REFUSED, direction="ingress", local_port=80, remote_address="192.0.2.2", remote_port=40000,
        peer_identity=FAR, peer_workload="seg/far", proof="tag", peer_host=2,
    )  # fmt: skip
    return replace(made, **changed)  # type: ignore[arg-type]


def test_every_reason_has_its_sentence() -> None:
    assert set(BECAUSE) == set(Reason) - {Reason.NONE}
    assert because(replace(FLOW, reason="77")) == "77"


def test_refusal_without_a_rule_gets_the_smallest_allow() -> None:
    found = explain(REFUSED, POLICY)
    assert found.now is not None
    assert (found.now.verdict, found.now.reason) == (Verdict.REFUSE, Reason.NO_RULE)
    assert found.mode is Mode.ENFORCE
    assert found.allow == allow_document({"workload": "w300"}, {"world": True}, "tcp/443")
    assert found.because == "no rule allows it"
    assert found.proof == f"by its address, {WORLD_ADDRESS}"
    assert found.notes == (f"`world` is everybody; for {WORLD_ADDRESS} alone write a cidr",)


def test_proven_peer_is_the_source_of_the_allow() -> None:
    found = explain(from_far(), POLICY)
    assert found.allow == allow_document({"workload": "far"}, {"workload": "w300"}, "tcp/80")
    assert found.proof.startswith("by its tag, verified: host b's MAC")


def test_network_is_named_by_its_cidr() -> None:
    address = str(next(n.cidr for n in POLICY.networks if n.identity == LAN)[77])
    flow = replace(REFUSED, remote_address=address, peer_identity=LAN)
    found = explain(flow, POLICY)
    assert found.allow is not None
    assert list(found.allow["to"]) == ["cidr"]  # type: ignore[call-overload]


def test_process_of_no_workload_is_the_default_segment() -> None:
    found = explain(replace(REFUSED, local_identity=int(Identity.HOST)), POLICY)
    assert found.allow is not None
    assert found.allow["from"] == {"segment": "default"}


def test_unproven_peer_gets_no_allow_but_what_to_look_at() -> None:
    found = explain(from_far(peer_identity=int(Identity.UNPROVEN), proof="address"), POLICY)
    assert found.allow is None
    assert "no tag was seen" in found.proof
    assert "host b does not prove who speaks" in found.notes[0]


def test_at_connect_the_one_workload_of_the_other_host_is_meant() -> None:
    flow = replace(
        REFUSED, remote_address="192.0.2.2", local_port=0, peer_host=2,
        peer_identity=int(Identity.UNPROVEN),
    )  # fmt: skip
    found = explain(flow, POLICY)
    assert found.allow == allow_document({"workload": "w300"}, {"workload": "far"}, "tcp/443")
    assert "nobody" not in found.proof
    assert "connect asks before anybody on host b has answered" in found.proof


@pytest.mark.parametrize("reason", ["tag_forged", "tag_replayed", "tag_identity", "tag_epoch"])
def test_failed_proof_is_no_question_of_rules(reason: str) -> None:
    found = explain(from_far(reason=reason, proof="address"), POLICY)
    assert found.allow is None
    assert found.proof.startswith("not at all: it carried a tag, and the ")
    assert found.now is not None
    assert (found.now.verdict, found.now.reason.name.lower()) == (Verdict.REFUSE, reason)


def test_policy_that_has_changed_since_is_said_and_asked() -> None:
    allowing = replace(
        snapshot(
            rule(5, direction=Direction.INGRESS, locals_={WEB}, peers={FAR}, ports=(tcp(80),)),
            version=8,
        ),
        names=NAMED,
    )
    found = explain(from_far(policy_version=7), allowing)
    assert found.now is not None
    assert (found.now.verdict, found.now.rule) == (Verdict.ALLOW, 5)
    assert found.allow is None
    assert "policy 7 judged; 8 is in force now" in found.notes


def test_icmp_is_not_asked_again_for_its_type_is_not_known() -> None:
    assert explain(replace(REFUSED, protocol="icmp"), POLICY).now is None


def test_last_is_the_newest_refusal_or_audit() -> None:
    last = wanted(Asked())
    assert last(REFUSED)
    assert last(replace(REFUSED, verdict="audit"))
    assert not last(FLOW)


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        (Asked(id=7), True),
        (Asked(id=8), False),
        (Asked(protocol="tcp", one=(WORLD_ADDRESS, 443)), True),
        (Asked(protocol="udp", one=(WORLD_ADDRESS, 443)), False),
        (Asked(one=("192.0.2.1", 40000), other=(WORLD_ADDRESS, 443)), True),
        (Asked(one=(WORLD_ADDRESS, 443), other=("192.0.2.1", 40000)), True),
        (Asked(one=("192.0.2.1", 443), other=(WORLD_ADDRESS, 40000)), False),
        (Asked(one=("", 443)), True),
        (Asked(one=("", 444)), False),
    ],
)
def test_five_tuple_fits_in_either_order_and_in_parts(asked: Asked, fits: bool) -> None:
    assert wanted(asked)(REFUSED) is fits


# ---- the command line


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cordonctl, ["explain", *arguments])


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--last", "--flow", "3"),
        ("--last", "--from", "a"),
        ("--from", "a", "--to", "b"),
        ("--tuple", "tcp"),
        ("--tuple", "1.2.3.4:99999"),
        ("--tuple", "a b c d"),
        ("--flow", "0"),
    ],
)
def test_question_that_is_none_is_status_2(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output


def test_verdict_that_is_not_kept_is_status_2(tmp_path_factory: pytest.TempPathFactory) -> None:
    with local_agent(tmp_path_factory.mktemp("agent")) as agent:
        result = run("--flow", "12345", "--socket", str(agent.socket))
    assert result.exit_code == 2
    assert "kept no such verdict" in result.output
