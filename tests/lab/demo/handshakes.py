# SPDX-License-Identifier: Apache-2.0
"""What passes and what does not, by real programs: allowed, refused at connect, at the server."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from tests.lab import Captured, Sniffer
from tests.lab.demo.report import Evidence, Report
from tests.lab.demo.scene import (
    DB_PORT,
    JOBS,
    PILOT,
    STRANGER,
    WEB,
    WELCOME,
    Call,
    Scene,
    curl,
    knock,
    redis_cli,
    said,
)  # fmt: skip
from tests.lab.demo.testimony import Mark, Verdict
from tests.lab.packets import EXPERIMENT_2

TAG_MARK = b"\xc0\xd1"
TAG_BODY_BYTES = 18
NOBODYS_PORT = 6380
EPERM_WORDS = "Operation not permitted"
CURL_TIMED_OUT = 28


@dataclass(frozen=True)
class Allowed:
    """A call, the host that it goes to, the rule that allows it, and the answer."""

    call: Call
    server: str
    rule: str
    answer: str


def show(scene: Scene, report: Report) -> None:
    """The three steps."""
    _allowed(scene, report)
    _refused_at_connect(scene, report)
    _refused_at_server(scene, report)


def has_tag(captured: Captured) -> bool:
    """Whether a segment carries an identity tag, right or wrong."""
    body = captured.segment.option(EXPERIMENT_2)
    return body is not None and body[:2] == TAG_MARK and len(body) == TAG_BODY_BYTES


def _allowed(scene: Scene, report: Report) -> None:
    report.step(
        "Allowed: both ends know who talks",
        "A rule names two workloads. Each kernel proves in its first packet which of its programs "
        "talks, verifies the other's proof, and only then lets the connection be.",
    )
    front, back = scene.front, scene.back
    for family, address in (("IPv4", front.v4), ("IPv6", front.v6)):
        fetch = Allowed(curl(JOBS, address), "front", "jobs-fetch-pages", WELCOME)
        _check_allowed(scene, report, f"jobs fetches a page from nginx, over {family}", fetch)
    for family, address in (("IPv4", back.v4), ("IPv6", back.v6)):
        ask = Allowed(redis_cli(WEB, address), "back", "web-reads-db", "PONG")
        _check_allowed(scene, report, f"web asks redis, over {family}", ask)


def _check_allowed(scene: Scene, report: Report, title: str, case: Allowed) -> None:
    def look() -> Evidence:
        mark = scene.testimony.mark()
        wire = scene.wires[case.server]
        wire.clear()
        done = scene.run(case.call)
        client, server = _both_ends(scene, mark, case)
        tagged = _tags(wire)
        return Evidence(
            f'exit {done.returncode}, "{said(done)}"; tags in {" and ".join(tagged) or "nothing"}',
            f"both ends allow: rule {client.flow.rule_name}, {client.peer} and {server.peer} "
            f"proved by {client.flow.proof}",
            done.returncode == 0 and case.answer in done.stdout and len(tagged) == 2,
            [client.line, server.line],
        )

    report.check(title, case.call.text, look)


def _both_ends(scene: Scene, mark: Mark, case: Allowed) -> tuple[Verdict, Verdict]:
    """The client's and the server's verdict on an allowed connection."""
    call = case.call
    allowed = {"verdict": "allow", "rule_name": case.rule, "proof": "tag"}
    client = scene.testimony.wait(
        mark, call.host,
        direction="egress", remote_address=call.address, remote_port=call.port, **allowed,
    )  # fmt: skip
    server = scene.testimony.wait(
        mark, case.server,
        direction="ingress", local_address=call.address, local_port=call.port, **allowed,
    )  # fmt: skip
    return client, server


def _tags(wire: Sniffer) -> list[str]:
    """Which parts of the handshake carried a tag."""
    seen = [captured for captured in wire.collect() if has_tag(captured)]
    parts = {
        "SYN": any(captured.segment.is_syn for captured in seen),
        "SYN-ACK": any(captured.segment.is_syn_ack for captured in seen),
    }
    return [name for name, tagged in parts.items() if tagged]


def _refused_at_connect(scene: Scene, report: Report) -> None:
    report.step(
        "Refused at connect",
        "What no rule allows fails at once, in the client's own kernel: the program gets EPERM "
        "(Operation not permitted), and not one packet leaves the host. In the kernels' words "
        "`host` is a program that nobody declared; `unproven` and `world` proved nothing.",
    )
    back = scene.back
    for title, call in (
        ("a program that nobody declared asks redis", redis_cli(STRANGER, back.v4)),
        ("the same over IPv6", redis_cli(STRANGER, back.v6)),
        ("web, on a port that no rule names", redis_cli(WEB, back.v4, port=NOBODYS_PORT)),
    ):
        check_refused_at_connect(scene, report, title, call)


def check_refused_at_connect(scene: Scene, report: Report, title: str, call: Call) -> None:
    """The program is told at once, and nothing leaves its host."""

    def look() -> Evidence:
        mark = scene.testimony.mark()
        scene.wires[call.host].clear()
        done = scene.run_named(call)
        verdict = scene.testimony.wait(
            mark, call.host, direction="egress", verdict="refuse", reason="no_rule",
            remote_address=call.address, remote_port=call.port,
        )  # fmt: skip
        sent = [c for c in scene.wires[call.host].collect() if c.outgoing and c.segment.is_syn]
        told = EPERM_WORDS in done.stderr
        return Evidence(
            f"exit {done.returncode}, {EPERM_WORDS if told else said(done)}; {len(sent)} SYNs sent",
            f"{call.host} refuses at connect: {verdict.flow.reason}",
            done.returncode != 0 and told and not sent,
            [("said", said(done)), verdict.line],
        )

    report.check(title, call.text, look)


def _refused_at_server(scene: Scene, report: Report) -> None:
    report.step(
        "Refused at the server, though the client's side was open",
        "Each end judges for itself. pilot's segment is in audit mode, so its own kernel only "
        "takes notes and lets the SYN go; the kernel of redis reads the tag and drops it.",
    )
    back = scene.back
    for title, address in (("pilot asks redis", back.v4), ("the same over IPv6", back.v6)):
        case = Dropped(knock(PILOT, address, DB_PORT), "back", "trial/pilot")
        check_dropped(scene, report, title, case)


@dataclass(frozen=True)
class Dropped:
    """A call whose SYN the server's kernel drops, and as whom that kernel knows the client."""

    call: Call
    server: str
    peer: str


def check_dropped(scene: Scene, report: Report, title: str, case: Dropped) -> None:
    """The SYN arrives at the server's host, and its kernel lets nobody answer."""

    def look() -> Evidence:
        mark = scene.testimony.mark()
        wire = scene.wires[case.server]
        wire.clear()
        done = scene.run(case.call)
        verdict = scene.testimony.wait(
            mark, case.server,
            direction="ingress", verdict="refuse", reason="no_rule", peer_workload=case.peer,
            local_address=case.call.address, local_port=case.call.port,
        )  # fmt: skip
        seen = wire.collect()
        arrived = [c for c in seen if c.segment.is_syn and not c.outgoing]
        answers = [c for c in seen if c.segment.is_syn_ack and c.outgoing]
        return Evidence(
            f"exit {done.returncode}, {_outcome(done)}; SYNs arrived: {len(arrived)}, "
            f"answers: {len(answers)}",
            f"{case.server} refuses: {verdict.flow.reason}, peer {verdict.peer} by "
            f"{verdict.flow.proof}",
            done.returncode == CURL_TIMED_OUT and bool(arrived) and not answers,
            [("said", said(done)), verdict.line],
        )

    report.check(title, case.call.text, look)


def _outcome(done: subprocess.CompletedProcess[str]) -> str:
    return "timed out" if done.returncode == CURL_TIMED_OUT else said(done)
