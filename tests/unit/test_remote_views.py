# SPDX-License-Identifier: Apache-2.0
"""How the fleet's answers read: rows, sentences, problems with their lines, pages."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.cli import hosts_view, policy_input
from agent.cli.apply import outcome
from agent.cli.documents import who
from agent.cli.local_view import as_dict, word_of
from agent.cli.remote_options import paged
from agent.cli.rollout import Progress, summary
from agent.cli.tokens import administrator_row, token_row
from agent.cli.values import moment_text
from agent.pb import admin_pb2 as pb
from controller.problems import InputRefused

AT = 1_896_112_800
HOST = pb.Host(
    name="web-1", number=3, labels={"zone": "a", "role": "web"}, addresses=["192.0.2.1"],
    state="HOST_STATE_CONNECTED", version=27, current=True, last_seen=AT, agent_version="0.1.0",
)  # fmt: skip


def changed(host: pb.Host, **fields: object) -> pb.Host:
    other = pb.Host()
    other.CopyFrom(host)
    other.MergeFrom(pb.Host(**fields))  # type: ignore[arg-type]
    return other


# Messages as JSON.


def test_enums_are_words_flags_are_flags_and_numbers_are_numbers() -> None:
    found = as_dict(changed(HOST, version=1 << 60))
    assert found["state"] == "connected"
    assert found["current"] is True
    assert found["version"] == (1 << 60) + 0
    assert found["quarantined"] is False
    assert found["labels"] == {"zone": "a", "role": "web"}
    assert set(found) == {field.name for field in pb.Host.DESCRIPTOR.fields}


def test_messages_in_messages_are_the_same() -> None:
    answer = as_dict(pb.GetHostResponse(host=HOST, enrolled=AT, running={"web": 2}))
    assert answer["host"]["state"] == "connected"
    assert answer["enrolled"] == AT
    assert answer["running"] == {"web": 2}
    listed = as_dict(pb.ListHostsResponse(hosts=[HOST]))
    assert listed["hosts"][0]["last_seen"] == AT


def test_of_a_oneof_only_what_is_set_is_there() -> None:
    found = as_dict(pb.Token(id="x", host=pb.HostGrant(name="web-1", replace=True)))
    assert found["host"]["replace"] is True
    assert "administrator" not in found


def test_an_enum_that_is_newer_than_we_are_is_its_number() -> None:
    assert word_of(pb.HostState.DESCRIPTOR, 77) == "77"
    assert word_of(pb.Role.DESCRIPTOR, 2) == "editor"


# Hosts.


def test_a_host_is_a_row() -> None:
    assert hosts_view.row(HOST) == (
        "web-1", 3, "connected", "27", "192.0.2.1", "role=web,zone=a", moment_text(AT), "0.1.0", "",
    )  # fmt: skip
    assert len(hosts_view.COLUMNS) == len(hosts_view.row(HOST))


def test_what_is_not_well_with_a_host_is_in_its_row() -> None:
    behind = changed(HOST, quarantined=True, refused="no room", trouble="two machines")
    behind.current = False
    row = dict(zip(hosts_view.COLUMNS, hosts_view.row(behind), strict=True))
    assert row["state"] == "connected, quarantined"
    assert row["version"] == "27 (old)"
    assert row["trouble"] == "refused the newest version: no room; two machines"


def test_a_host_that_never_spoke_has_no_version_and_was_never_seen() -> None:
    new = pb.GetHostResponse(host=pb.Host(name="new", state="HOST_STATE_ENROLLED"))
    facts = dict(hosts_view.facts(new))
    assert facts["policy"] == "none that it has told of"
    assert facts["seen"] == "never"
    assert facts["networks"] == "any"


def test_what_an_operator_gave_is_told_apart_from_what_a_host_reports() -> None:
    for fixed, words in ((True, "given by an operator"), (False, "as it reports")):
        facts = dict(hosts_view.facts(pb.GetHostResponse(host=HOST, addresses_fixed=fixed)))
        assert facts["addresses"] == f"192.0.2.1, {words}"


# Tokens and administrators.


def test_tokens_say_for_whom_and_what_they_are() -> None:
    host = pb.Token(
        id="abc", host=pb.HostGrant(name="web-1", labels={"role": "web"}), state="spent",
        created=AT, expires=AT + 900, created_by="olga", used=AT + 5, used_from="192.0.2.9",
    )  # fmt: skip
    assert token_row(host) == (
        "abc", "spent", "host web-1", "role=web", "olga",
        moment_text(AT), moment_text(AT + 900), moment_text(AT + 5), "192.0.2.9",
    )  # fmt: skip
    admin = pb.Token(id="x", administrator=pb.AdministratorGrant(name="erika", role="ROLE_EDITOR"))
    assert token_row(admin)[2:4] == ("administrator erika", "editor")


def test_administrators_are_rows() -> None:
    one = pb.Administrator(name="olga", role="ROLE_OPERATOR", expires=AT, revoked=True)
    assert administrator_row(one) == ("olga", "operator", moment_text(AT), "revoked", "")


# Revisions and rollouts.


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (pb.ApplyResponse(revision=3, version=9, changes_total=1, hosts_touched=2),
         "revision 3, version 9: 1 document on 2 hosts"),
        (pb.ApplyResponse(changes_total=2, hosts_touched=1),
         "dry run, nothing was changed: 2 documents on 1 host"),
        (pb.ApplyResponse(), "nothing to change: the newest revision says all of it"),
    ],
)  # fmt: skip
def test_the_outcome_of_an_apply_is_one_sentence(answer: pb.ApplyResponse, sentence: str) -> None:
    assert outcome(answer) == sentence


def test_a_rollout_is_one_line() -> None:
    state = pb.WatchRolloutResponse(version=9, hosts=7, enforced=3, pending=1, refused=1, absent=2)
    assert summary(state) == "version 9: 3 of 7 hosts enforce it, 1 on its way, 1 refused, 2 away"
    assert summary(pb.WatchRolloutResponse(version=9)) == "version 9 changes no host"
    done = pb.WatchRolloutResponse(version=9, hosts=2, enforced=2, done=True)
    assert summary(done) == "version 9: 2 of 2 hosts enforce it"


def test_progress_says_each_change_and_each_refusal_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = Progress()
    state = pb.WatchRolloutResponse(version=9, hosts=2, pending=2)
    progress.show(state)
    progress.show(state)
    state = pb.WatchRolloutResponse(version=9, hosts=2, enforced=1, refused=1)
    state.refusals.add(host="db-1", message="no room\x1b[2J")
    progress.show(state)
    progress.show(state)
    progress.end()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "version 9: 0 of 2 hosts enforce it, 2 on its way",
        r"cordonctl: db-1 refused version 9: no room\x1b[2J",
        "version 9: 1 of 2 hosts enforce it, 1 refused",
    ]


def test_on_a_terminal_progress_is_one_line_that_is_gone_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress = Progress()
    for enforced in (0, 1):
        progress.show(pb.WatchRolloutResponse(version=9, hosts=1, enforced=enforced))
    progress.end()
    assert capsys.readouterr().err == (
        "\r\x1b[Kversion 9: 0 of 1 hosts enforce it"
        "\r\x1b[Kversion 9: 1 of 1 hosts enforce it"
        "\r\x1b[K"
    )


def test_who_did_it_reads_without_what_is_the_same_for_all() -> None:
    assert who("spiffe://example.org/admin/operator/olga") == "admin/operator/olga"
    assert who("controller") == "controller"


# Policy files.


def test_files_are_taken_once_and_folders_are_walked(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("a.yaml", "b/c.yml", "b/.hidden.yaml", "b/readme.txt"):
        (tmp_path / name).write_text(f"# {name}\n")
    found = policy_input.read_policy([tmp_path / "b" / "c.yml", tmp_path])
    assert [one.name for one in found] == [str(tmp_path / "b/c.yml"), str(tmp_path / "a.yaml")]
    assert found[0].content == b"# b/c.yml\n"


def test_a_hyphen_is_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"kind: Allow\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    (one,) = policy_input.read_policy([Path("-"), Path("-")])
    assert (one.name, one.content) == ("stdin", text)


def test_what_cannot_be_read_or_is_too_large_is_named(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (1 << 20))
    assert len(policy_input.read_policy([large])) == 1
    large.write_bytes(b"#" * ((1 << 20) + 1))
    for path, words in (
        (large, "large.yaml: expected at most 1048576 bytes: split the file"),
        (tmp_path / "no.yaml", "no.yaml: expected a file; there is none"),
    ):
        with pytest.raises(InputRefused, match=words):
            policy_input.read_policy([path])


def test_all_files_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("12345")
    monkeypatch.setattr(policy_input, "MAX_TOTAL", 9)
    with pytest.raises(InputRefused, match="expected at most 10000 files and 9 bytes in all"):
        policy_input.read_policy([tmp_path])


def test_a_problem_is_shown_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    sent = [pb.PolicyFile(name="p.yaml", content=b"kind: Segment\nname: x\nmode: maybe\x1b\n")]
    problems = [
        pb.DocumentProblem(file="p.yaml", line=3, field="mode", message="expected off"),
        pb.DocumentProblem(file="p.yaml", line=99, message="beyond the end"),
        pb.DocumentProblem(message="all of it"),
    ]
    policy_input.show_problems(problems, 5, sent)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "cordonctl: p.yaml:3: mode: expected off",
        r"     3 | mode: maybe\x1b",
        "cordonctl: p.yaml:99: beyond the end",
        "cordonctl: policy: all of it",
        "cordonctl: and 2 more; mend these first",
    ]


def test_of_many_problems_the_first_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [pb.DocumentProblem(file="p", line=n, message="bad") for n in range(1, 31)]
    policy_input.show_problems(problems, 30, [])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "cordonctl: and 10 more; mend these first"


def test_a_long_line_is_cut_and_bytes_that_are_no_text_are_no_fault() -> None:
    assert policy_input.source_line(b"x" * 500, 1) == "x" * 120 + "…"
    assert policy_input.source_line(b"a\n\xff\tb", 2) == "\ufffd   b"
    assert policy_input.source_line(b"a", 0) == ""


# Pages.


def test_pages_are_asked_for_until_the_last_or_the_limit() -> None:
    asked: list[tuple[int, str]] = []

    def ask(size: int, token: str) -> object:
        asked.append((size, token))
        start = int(token or 0)
        end = min(start + min(size, 2), 5)
        return SimpleNamespace(items=range(start, end), next_page_token=str(end) if end < 5 else "")

    assert list(paged(ask, "items")) == [0, 1, 2, 3, 4]
    assert [token for _, token in asked] == ["", "2", "4"]
    asked.clear()
    assert list(paged(ask, "items", 3)) == [0, 1, 2]
    assert asked == [(3, ""), (1, "2")]
