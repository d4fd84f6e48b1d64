# SPDX-License-Identifier: Apache-2.0
"""`cordonctl doctor`: what each finding says, as far as it needs no kernel of one's own."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.config import Config
from agent.core.diagnosis import Finding, Level, ok, problem, warning, worst
from agent.core.model import Snapshot
from agent.edge import (
    clock,
    doctor_files,
    doctor_host,
    doctor_instance,
    doctor_kernel,
    features,
    libbpf,
    listener_flag,
    loader,
    snapshot_codec,
    sock_destroy,
)
from agent.edge.compiler import LoadFailed
from agent.edge.hooks import HOOKS, ProgramType
from agent.edge.libbpf import BpfError
from agent.edge.maps import MapKind
from agent.pb import local_pb2 as pb
from tests.unit import snapshots
from tests.unit.local_agent import STATUS

ROOT = Path(__file__).resolve().parents[2]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def levels(findings: Iterable[Finding]) -> list[Level]:
    return [finding.level for finding in findings]


def only(findings: Iterable[Finding], level: Level) -> Finding:
    found = [finding for finding in findings if finding.level is level]
    assert len(found) == 1, found
    assert found[0].lost
    assert found[0].todo
    return found[0]


def test_worst_finding_is_the_exit_status() -> None:
    assert worst([]) == 0
    assert worst([ok("a", "b")]) == 0
    assert worst([warning("a", "b", "c", "d"), ok("a", "b")]) == 1
    assert worst([problem("a", "b", "c", "d"), warning("a", "b", "c", "d")]) == 2


# ---- kernel features: one table for the loader and for doctor


class PoorKernel:
    """Answers libbpf's probes as a kernel would that lacks some features."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *lacks: tuple[int, ...]) -> None:
        monkeypatch.setattr(libbpf, "call", self._call)
        self._lacks = lacks

    def _call(self, name: str, *arguments: Any, what: str) -> int:
        assert name.startswith("libbpf_probe_bpf_")
        numbers = tuple(argument.value for argument in arguments if argument is not None)
        return int(numbers not in self._lacks)


_NO_HEADER_OPTIONS = (int(ProgramType.SOCK_OPS), int(features.Helper.store_hdr_opt))


def test_kernel_that_has_everything_lacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    PoorKernel(monkeypatch)
    assert features.lacking() == []
    assert features.count() > 50


def test_what_the_kernel_lacks_is_named_with_what_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    PoorKernel(monkeypatch, _NO_HEADER_OPTIONS, (int(MapKind.RINGBUF),))
    texts = [str(one) for one in features.lacking()]
    assert texts == [
        "the helper bpf_store_hdr_opt in programs of type SOCK_OPS, without which no connection "
        "would carry an identity",
        "maps of type RINGBUF, without which the agent would not be told of new programs",
    ]
    found = list(doctor_kernel._features())
    assert levels(found) == [Level.PROBLEM, Level.PROBLEM]
    assert "bpf_store_hdr_opt" in found[0].what


def test_loader_says_all_that_is_missing_before_it_compiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    PoorKernel(monkeypatch, _NO_HEADER_OPTIONS, (int(ProgramType.CGROUP_SKB),))
    with pytest.raises(LoadFailed) as caught:
        loader._require_features()
    text = str(caught.value)
    assert (
        "programs of type CGROUP_SKB, without which nothing that comes in would be judged" in text
    )
    assert "bpf_store_hdr_opt" in text
    assert "Nothing was attached" in text


def test_kernel_that_may_not_be_asked_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *arguments: Any, what: str) -> int:
        raise BpfError(errno.EPERM, what)

    monkeypatch.setattr(libbpf, "call", refuse)
    assert "not permitted" in only(doctor_kernel._features(), Level.PROBLEM).what


def test_every_kind_of_program_is_asked_for() -> None:
    assert {hook.program_type for hook in HOOKS} == set(features.HELPERS)


@pytest.mark.parametrize(
    ("release", "level"),
    [("6.1.0-18-amd64", Level.OK), ("6.18.44-fc", Level.OK), ("5.15.0", Level.WARNING)],
)
def test_old_kernel_is_a_warning(release: str, level: Level) -> None:
    assert doctor_kernel._release(release).level is level


# ---- files


def config(folder: Path, snapshot: Snapshot | None = None) -> Config:
    """With a snapshot file if there is one."""
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "policy.pub").write_bytes(public)
    made = Config("a", folder / "a.snapshot", folder / "policy.pub", state_dir=folder / "state")
    if snapshot is not None:
        there(made.snapshot).write_bytes(snapshot_codec.seal(snapshot, KEY))
        there(made.snapshot).chmod(0o600)
    return made


def there(path: Path | None) -> Path:
    assert path is not None, "these have a snapshot file"
    return path


def fresh() -> Snapshot:
    """In force now, with keys for now."""
    now = int(clock.unix_seconds())
    made = snapshots.snapshot(snapshots.rule(1))
    epoch = now // made.settings.epoch_seconds
    keys = tuple(replace(key, epoch=epoch + i) for i, key in enumerate(made.receive_secrets))
    return replace(made, issued=now - 60, expires=now + 3600, receive_secrets=keys)


def test_good_files_are_ok(tmp_path: Path) -> None:
    found = list(doctor_files.examine(config(tmp_path, fresh())))
    assert worst(found) is Level.OK, found


def test_missing_snapshot_is_a_warning_and_a_torn_one_a_problem(tmp_path: Path) -> None:
    made = config(tmp_path)
    assert "no snapshot" in only(doctor_files.examine(made), Level.WARNING).what
    there(made.snapshot).write_bytes(b"torn")
    there(made.snapshot).chmod(0o600)
    assert "is refused" in only(doctor_files.examine(made), Level.PROBLEM).what


def test_snapshot_that_others_can_read_is_a_problem(tmp_path: Path) -> None:
    made = config(tmp_path, fresh())
    there(made.snapshot).chmod(0o644)
    assert "0644 and holds keys" in only(doctor_files.examine(made), Level.PROBLEM).what


def test_missing_policy_key_is_a_problem(tmp_path: Path) -> None:
    made = config(tmp_path, fresh())
    there(made.policy_key).unlink()
    assert "policy_key" in only(doctor_files.examine(made), Level.PROBLEM).what


def test_snapshot_near_its_end_is_a_warning(tmp_path: Path) -> None:
    now = int(clock.unix_seconds())
    made = config(tmp_path, replace(fresh(), issued=now - 3600, expires=now + 600))
    assert "expires in 0.2 hours" in only(doctor_files.examine(made), Level.WARNING).what


def test_snapshot_without_a_key_for_now_is_a_problem(tmp_path: Path) -> None:
    base = fresh()
    old = tuple(replace(key, epoch=key.epoch - 1000) for key in base.receive_secrets)
    made = config(tmp_path, replace(base, receive_secrets=old))
    assert (
        "no receive secret for the current" in only(doctor_files.examine(made), Level.PROBLEM).what
    )


# ---- the instance


def status(outcomes: dict[str, int], state: str = "in_sync") -> pb.StatusResponse:
    answer = pb.StatusResponse(state=state, summary="So it is.", modes={"a/b": "enforce"})
    for name, value in outcomes.items():
        answer.counters.add(kind="outcome", reason=name, value=value)
    return answer


def test_enforcing_agent_is_ok() -> None:
    assert worst(doctor_instance.agent(STATUS)) is Level.OK
    assert (
        worst(doctor_instance.counters(status({"tag_verified": 1000, "tag_absent": 1}))) is Level.OK
    )


def test_agent_that_only_audits_is_a_warning() -> None:
    audit = pb.StatusResponse(state="in_sync", modes={"a/b": "audit"})
    assert "none of 1 workloads" in only(doctor_instance.agent(audit), Level.WARNING).what


@pytest.mark.parametrize("state", ["stale", "expired", "syncing"])
def test_agent_without_its_policy_is_a_warning(state: str) -> None:
    assert state in only(doctor_instance.agent(status({}, state)), Level.WARNING).what


@pytest.mark.parametrize(
    ("outcome", "level", "said"),
    [
        ("process_map_full", Level.PROBLEM, "found no place"),
        ("hold_expired", Level.WARNING, "not attested in time"),
        ("handshake_lost", Level.WARNING, "forgotten"),
        ("flow_event_lost", Level.WARNING, "flow events"),
        ("tag_no_room", Level.WARNING, "no room"),
        ("tag_absent", Level.WARNING, "without a tag"),
    ],
)
def test_counted_trouble_is_told(outcome: str, level: Level, said: str) -> None:
    found = only(doctor_instance.counters(status({outcome: 100})), level)
    assert said in found.what
    assert "100" in found.what


def test_forged_tags_are_told() -> None:
    answer = pb.StatusResponse()
    answer.counters.add(
        kind="verdict", direction="ingress", verdict="refuse", reason="tag_forged", value=3
    )
    assert "3 tags were forged" in only(doctor_instance.counters(answer), Level.WARNING).what


def test_kernel_threads_and_the_gone_hold_nothing() -> None:
    assert doctor_host._capabilities(2) == set()  # kthreadd
    assert doctor_host._capabilities(1 << 22) == set()


def test_every_area_is_documented() -> None:
    text = (ROOT / "docs" / "doctor.md").read_text()
    sources = [*(ROOT / "agent/edge").glob("doctor_*.py"), ROOT / "agent/cli/doctor.py"]
    areas = {
        area
        for source in sources
        for area in re.findall(r'(?:^AREA = |(?:ok|warning|problem)\(\s*)"(\w+)"',
                               source.read_text(), re.M)
    }  # fmt: skip
    assert len(areas) > 4
    assert [area for area in areas if f"| `{area}` |" not in text] == []


@pytest.mark.parametrize(("failed", "level"), [(False, Level.OK), (True, Level.WARNING)])
def test_kernel_that_cannot_end_connections_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, failed: bool, level: Level
) -> None:
    def destroy(connections: list[Any]) -> list[tuple[Any, str]]:
        return [(connections[0], "the kernel was built without it")] if failed else []

    monkeypatch.setattr(sock_destroy, "destroy", destroy)
    found = doctor_kernel._ending()
    assert found.level is level
    assert bool(found.lost) is failed


@pytest.mark.parametrize(("works", "level"), [(True, Level.OK), (False, Level.WARNING)])
def test_services_older_than_the_agent_are_told(
    monkeypatch: pytest.MonkeyPatch, works: bool, level: Level
) -> None:
    monkeypatch.setattr(listener_flag, "works", lambda: works)
    found = doctor_kernel._listeners()
    assert found.level is level
    assert ("restart these services" in found.todo) is not works


def test_listeners_that_cannot_be_asked_are_told_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused() -> bool:
        raise BpfError(errno.EPERM, "running an iterator")

    monkeypatch.setattr(listener_flag, "works", refused)
    found = doctor_kernel._listeners()
    assert found.level is Level.WARNING
    assert "running an iterator" in found.what
