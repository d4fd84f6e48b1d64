# SPDX-License-Identifier: Apache-2.0
"""`cordonctl status | ps | sockets | observe`: what they show, and how they end.

Long because all four commands speak to one made-up daemon.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.cli import local_view as view
from agent.cli.ctl import cordonctl
from agent.cli.output import Exit, printable
from agent.core.flows import Filter, Flow
from agent.edge.local_view import flow_message
from agent.pb import local_pb2 as pb
from tests.unit.local_agent import FLOW, SOCKETS, STATUS, LocalAgent, local_agent
from tests.unit.terminal import on_terminal
from tests.unit.users import somebody

ROOT = Path(__file__).resolve().parents[2]
CORDONCTL = [sys.executable, "-m", "agent.cli.ctl"]
END_SECONDS = 20.0
REFUSED = replace(
    FLOW, verdict="refuse", reason="no_rule", rule=0, rule_name="", proof="address", pid=43,
    remote_port=22, peer_workload="world",
)  # fmt: skip
INGRESS = replace(FLOW, direction="ingress", local_port=80, local_workload="front/www")


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[LocalAgent]:
    with local_agent(tmp_path) as running:
        yield running


def run(agent: LocalAgent, *arguments: str) -> Result:
    return CliRunner().invoke(cordonctl, [*arguments, "--socket", str(agent.socket)])


def start(
    agent: LocalAgent, *arguments: str, stdout: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    """The command as a process of its own."""
    return subprocess.Popen(
        [*CORDONCTL, *arguments, "--socket", str(agent.socket)],
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


# ---- status, ps, sockets


def test_status_tells_people_what_is_in_force(agent: LocalAgent) -> None:
    result = run(agent, "status")
    assert result.exit_code == Exit.OK
    facts = dict(line.split(None, 1) for line in result.stdout.splitlines() if line)
    assert facts["state"] == "in_sync"
    assert facts["summary"] == "Policy version 7 is in force."
    assert facts["host"] == "host-a (3)"
    assert facts["hooks"] == "13 of 13 attached"
    assert "version 7, expires 2027-01-15T09:00:00" in result.stdout
    assert "LIFELINE, always open  admin-ssh" in result.stdout
    assert "verdict  egress     allow    rule_allow   5\n" in result.stdout


def test_status_in_json_has_every_field_and_numbers_as_numbers(agent: LocalAgent) -> None:
    answer = json.loads(run(agent, "status", "--output", "json").stdout)
    assert set(answer) == {field.name for field in STATUS.DESCRIPTOR.fields}
    assert (answer["policy_version"], answer["apply_seconds"]) == (7, 0.0123)
    assert answer["counters"][1] == {
        "kind": "outcome", "direction": "", "verdict": "", "reason": "tag_written",
        "value": 1 << 40,
    }  # fmt: skip
    assert answer["modes"] == {"front/web": "enforce"}
    assert answer["refused"] == ""


def test_status_without_a_policy_says_so() -> None:
    facts = dict(view.status_facts(pb.StatusResponse(state="syncing", host_name="a")))
    assert (facts["policy"], facts["last apply"], facts["host"]) == ("none", "", "a")


def test_status_does_not_call_missing_what_could_not_be_looked_at() -> None:
    unseen = pb.StatusResponse(state="in_sync", hooks_expected=13, unseen="Too many open files")
    facts = dict(view.status_facts(unseen))
    assert facts["hooks"] == "unknown of 13"
    assert facts["CANNOT LOOK"] == "whether the hooks are attached: Too many open files"


def test_ps_shows_identity_and_evidence(agent: LocalAgent) -> None:
    lines = run(agent, "ps").stdout.splitlines()
    assert lines[0].split() == [
        "PID", "COMMAND", "WORKLOAD", "IDENTITY", "MODE", "STATE", "AGE", "EVIDENCE",
    ]  # fmt: skip
    assert lines[1].split() == [
        "42", "web", "front/web", "300", "enforce", "attested", "1.5s", "unit=web.service",
        "user=web",
    ]  # fmt: skip


def test_ps_of_one_process(agent: LocalAgent) -> None:
    answer = json.loads(run(agent, "ps", "--pid", "42", "--output", "json").stdout)
    assert [(p["pid"], p["evidence"]) for p in answer] == [
        (42, ["unit=web.service", "user=web"])
    ]  # fmt: skip


@pytest.mark.parametrize("output", ["table", "json"])
def test_ps_of_a_process_that_is_not_there_is_status_1(agent: LocalAgent, output: str) -> None:
    result = run(agent, "ps", "--pid", "77", "--output", output)
    assert result.exit_code == Exit.REFUSED
    assert result.stdout == ""
    assert result.stderr == "cordonctl: process 77 is not of this instance, or has ended\n"


def test_sockets_show_both_ends_and_the_rule(agent: LocalAgent) -> None:
    lines = run(agent, "sockets").stdout.splitlines()
    assert lines[1].split() == [
        "tcp", "established", "192.0.2.1:40000", "front/web", "192.0.2.2:5432", "data/db", "tag",
        "allow", "rule_allow", "web-to-db", "-", "42",
    ]  # fmt: skip
    assert lines[2].split() == [
        "tcp", "listen", "[::]:80", "front/web", "-", "-", "-", "-", "-", "-", "-", "42",
    ]  # fmt: skip


def test_sockets_in_json_have_every_field(agent: LocalAgent) -> None:
    answer = json.loads(run(agent, "sockets", "--output", "json").stdout)
    assert [set(one) for one in answer] == [{f.name for f in SOCKETS[0].DESCRIPTOR.fields}] * 2
    assert (answer[0]["rule"], answer[0]["generation"]) == (5, 1)


def test_an_answer_that_is_not_whole_says_so(agent: LocalAgent) -> None:
    agent.view.more = True
    result = run(agent, "sockets", "--output", "json")
    assert len(json.loads(result.stdout)) == 2
    assert "there are more sockets" in result.stderr


# ---- what is shown never steers the terminal


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢", "plain é 漢"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\u202egnp", r"\u202egnp"),
        ("\udcff", r"\udcff"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_command_cannot_clear_the_screen(agent: LocalAgent) -> None:
    assert r"43   sh\x1b[2J  host" in run(agent, "ps").stdout
    assert "\x1b" not in run(agent, "ps", "--output", "json").stdout


def test_a_name_cannot_break_the_line_of_a_flow(agent: LocalAgent) -> None:
    agent.add(replace(FLOW, local_workload="a/b\nfake line"))
    result = run(agent, "observe", "--last", "1", "--no-follow")
    assert len(result.stdout.splitlines()) == 1


# ---- terminals


def test_a_wide_terminal_gets_a_table_with_a_bold_head(agent: LocalAgent) -> None:
    shown = on_terminal([*CORDONCTL, "ps", "--socket", str(agent.socket)], columns=120)
    assert "\x1b[1mEVIDENCE" in shown
    assert "300       enforce  attested  1.5s  unit=web.service user=web" in shown


def test_no_color_means_no_escape_sequence(agent: LocalAgent) -> None:
    for command in ("ps", "status"):
        argv = [*CORDONCTL, command, "--socket", str(agent.socket)]
        assert "\x1b" not in on_terminal(argv, columns=120, env={"NO_COLOR": "1"})
        assert "\x1b" not in on_terminal(argv, columns=120, env={"TERM": "dumb"})


@pytest.mark.parametrize("command", ["status", "ps", "sockets"])
def test_a_terminal_of_20_columns_loses_nothing(agent: LocalAgent, command: str) -> None:
    argv = [*CORDONCTL, command, "--socket", str(agent.socket)]
    lines = on_terminal(argv, columns=20, env={"NO_COLOR": "1"}).splitlines()
    assert max(map(len, lines)) <= 20
    folded = "".join(line[10:].strip() for line in lines)
    wanted = {"status": "13 of 13", "ps": "unit=web.service", "sockets": "192.0.2.1:40000"}
    assert wanted[command].replace(" ", "") in folded.replace(" ", "")


def test_the_c_locale_is_enough(agent: LocalAgent) -> None:
    agent.add(replace(FLOW, local_workload="front/é"))
    argv = [*CORDONCTL, "observe", "--last", "1", "--no-follow", "--socket", str(agent.socket)]
    for extra in ({"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}):
        done = subprocess.run(
            argv, cwd=ROOT, env={**os.environ, **extra}, capture_output=True, timeout=END_SECONDS
        )
        assert done.returncode == Exit.OK, done.stderr
        assert "front/é" in done.stdout.decode() or rb"front/\xe9" in done.stdout


# ---- observe


def test_a_flow_is_one_line_with_everything_that_decided() -> None:
    line = view.flow_line(flow_message(FLOW))
    assert line.partition(" ")[2] == (
        "ALLOW  tcp front/web 192.0.2.1:40000 -> data/db 192.0.2.2:5432 rule_allow "
        "rule=web-to-db proof=tag pid=42"
    )
    assert line.partition(" ")[0].endswith(".250")


def test_a_flow_of_an_unbound_socket_shows_no_local_address() -> None:
    flow = replace(REFUSED, local_address="::", local_port=0, suppressed=9)
    assert view.flow_line(flow_message(flow)).partition(" ")[2] == (
        "REFUSE tcp front/web -> world 192.0.2.2:22 no_rule proof=address pid=43 suppressed=9"
    )


def test_observe_shows_what_happens_from_then_on(agent: LocalAgent) -> None:
    agent.add(REFUSED)
    child = start(agent, "observe", "--count", "2", "--output", "json")
    agent.wait_for_observers(1)
    agent.add(FLOW)
    agent.add(INGRESS)
    out, err = child.communicate(timeout=END_SECONDS)
    assert (child.returncode, err) == (Exit.OK, b"")
    assert [json.loads(line) for line in out.splitlines()] == [asdict(FLOW), asdict(INGRESS)]
    agent.wait_for_observers(0)


def test_observe_filters(agent: LocalAgent) -> None:
    for flow in (FLOW, REFUSED, INGRESS):
        agent.add(flow)

    def seen(*filters: str) -> list[tuple[str, str, str]]:
        result = run(agent, "observe", "--last", "9", "--no-follow", "--output", "json", *filters)
        assert result.exit_code == Exit.OK, result.stderr
        flows = map(json.loads, result.stdout.splitlines())
        return [(f["direction"], f["verdict"], f["local_workload"]) for f in flows]

    allowed, refused, ingress = (
        (f.direction, f.verdict, f.local_workload) for f in (FLOW, REFUSED, INGRESS)
    )
    assert seen() == [allowed, refused, ingress]
    assert seen("--verdict", "refuse", "--verdict", "audit") == [refused]
    assert seen("--reason", "no_rule") == [refused]
    assert seen("--direction", "ingress") == [ingress]
    assert seen("--port", "22") == [refused]
    assert seen("--port", "80") == [ingress]
    assert seen("--pid", "42") == [allowed, ingress]
    assert seen("--workload", "world", "--workload", "www") == [refused, ingress]
    assert seen("--workload", "front/web") == [allowed, refused]
    assert seen("--workload", "web", "--port", "5432") == [allowed]
    assert seen("--workload", "nobody") == []


def test_last_takes_the_newest_that_pass(agent: LocalAgent) -> None:
    for port in range(1, 6):
        agent.add(replace(FLOW, local_port=port))
        agent.add(replace(REFUSED, local_port=port))
    argv = ("observe", "--last", "2", "--no-follow", "--verdict", "allow", "--output", "json")
    shown = [json.loads(line) for line in run(agent, *argv).stdout.splitlines()]
    assert [flow["local_port"] for flow in shown] == [4, 5]


def test_last_comes_first_and_what_happens_after(agent: LocalAgent) -> None:
    agent.add(REFUSED)
    child = start(agent, "observe", "--last", "1", "--count", "2", "--output", "json")
    agent.wait_for_observers(1)
    agent.add(FLOW)
    out, _ = child.communicate(timeout=END_SECONDS)
    assert [json.loads(line)["verdict"] for line in out.splitlines()] == ["refuse", "allow"]


def test_empty_filter_passes_everything() -> None:
    assert all(Filter().passes(flow) for flow in (FLOW, REFUSED, INGRESS))


# ---- how commands end


def test_ctrl_c_ends_observe_without_a_word(agent: LocalAgent) -> None:
    child = start(agent, "observe")
    agent.wait_for_observers(1)
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=END_SECONDS) == (b"", b"")
    assert child.returncode == Exit.OK


def test_observe_ends_as_soon_as_nobody_reads(agent: LocalAgent) -> None:
    """Not only at the next event: `observe | head -1` on a quiet host."""
    reader, writer = os.pipe()
    child = start(agent, "observe", stdout=writer)
    os.close(writer)
    agent.wait_for_observers(1)
    os.close(reader)
    _, err = child.communicate(timeout=END_SECONDS)
    assert (child.returncode, err) == (Exit.OK, b"")
    agent.wait_for_observers(0)


@pytest.mark.parametrize("output", ["table", "json"])
def test_closed_pipe_is_no_traceback(agent: LocalAgent, output: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    child = start(agent, "status", "--output", output, stdout=writer)
    os.close(writer)
    _, err = child.communicate(timeout=END_SECONDS)
    assert (child.returncode, err) == (Exit.REFUSED, b"")


def test_full_disk_is_a_sentence(agent: LocalAgent) -> None:
    with open("/dev/full", "wb") as full:
        child = start(agent, "ps", stdout=full.fileno())
        _, err = child.communicate(timeout=END_SECONDS)
    assert err == b"cordonctl: the answer cannot be written: No space left on device\n"
    assert child.returncode == Exit.REFUSED


def test_no_stdout_is_a_sentence(agent: LocalAgent) -> None:
    line = f"exec {' '.join(CORDONCTL)} status --socket {agent.socket} >&-"
    done = subprocess.run(["sh", "-c", line], cwd=ROOT, stderr=subprocess.PIPE, timeout=END_SECONDS)
    assert done.returncode == Exit.REFUSED
    assert done.stderr == b"cordonctl: stdout is closed, there is nowhere to write the answer\n"


def test_agent_that_ends_while_it_is_observed_is_status_1(tmp_path: Path) -> None:
    with local_agent(tmp_path) as agent:
        child = start(agent, "observe")
        agent.wait_for_observers(1)
    _, err = child.communicate(timeout=END_SECONDS)
    assert child.returncode == Exit.REFUSED
    assert err.startswith(f"cordonctl: there is no agent at {agent.socket}".encode())


@pytest.mark.parametrize("command", ["status", "observe"])
def test_agent_that_hangs_is_told_after_a_bound(
    agent: LocalAgent, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr("agent.cli.local.TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(agent.view, "status", go_on.wait)
    result = run(agent, command)
    go_on.set()
    assert result.exit_code == Exit.REFUSED
    assert f"the agent at {agent.socket} did not answer within 10 s" in result.stderr


def test_more_observers_than_may_is_a_sentence(
    agent: LocalAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.edge.flow_log.MAX_OBSERVERS", 0)
    result = run(agent, "observe")
    assert result.exit_code == Exit.REFUSED
    assert "0 observers watch already, end one of them" in result.stderr


# ---- which agent


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cordonctl, arguments)


def test_config_says_which_socket(agent: LocalAgent, tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        f'host_name = "a"\nsnapshot = "/x"\npolicy_key = "/y"\ninstance = "a"\n'
        f'run_dir = "{agent.socket.parent}"\n'
    )
    assert invoke("status", "--config", str(config)).exit_code == Exit.OK


def test_instance_is_looked_for_in_run(monkeypatch: pytest.MonkeyPatch, agent: LocalAgent) -> None:
    monkeypatch.setattr("agent.cli.connection.RUN_DIR", agent.socket.parent)
    assert invoke("status", "--instance", "a").exit_code == Exit.OK
    missing = invoke("status")
    assert missing.exit_code == Exit.REFUSED
    assert f"there is no agent at {agent.socket.parent}/default.sock" in missing.stderr
    assert f"(in {agent.socket.parent}: a)" in missing.stderr


def test_a_path_with_a_percent_sign_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "a %41b"
    folder.mkdir()
    with local_agent(folder) as agent:
        assert agent.socket.is_socket()
        assert run(agent, "status").exit_code == Exit.OK


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--socket", "/x", "--instance", "a"], "only one of --instance, --config and --socket"),
        (["--config", "/nowhere.toml"], "/nowhere.toml: cannot be read: No such file"),
        (["--socket", "/tmp/" + "a" * 103], "a socket's path has at most 107 bytes"),
    ],
)
def test_bad_question_is_status_2(arguments: list[str], sentence: str) -> None:
    result = invoke("status", *arguments)
    assert result.exit_code == Exit.BAD_INPUT
    assert sentence in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--pid", "0"],
        ["--pid", "99999999999"],
        ["--port", "65536"],
        ["--verdict", "maybe"],
        ["--reason", "maybe"],
        ["--direction", "up"],
        ["--last", "-1"],
        ["--no-follow"],
    ],
)
def test_bad_filter_is_status_2(arguments: list[str]) -> None:
    assert invoke("observe", *arguments).exit_code == Exit.BAD_INPUT


def test_an_agent_that_has_ended_is_told_from_one_that_never_was(tmp_path: Path) -> None:
    left = tmp_path / "a.sock"
    left.touch()
    result = invoke("status", "--socket", str(left))
    assert result.exit_code == Exit.REFUSED
    assert f"no agent answers at {left}: it has ended" in result.stderr
    assert "the kernel goes on enforcing" in result.stderr


@pytest.mark.parametrize(
    ("folder_mode", "socket_mode", "sentence"),
    [
        (0o000, 0o666, "cannot be reached (Permission denied)"),
        (0o755, 0o000, "cannot be used (Permission denied)"),
    ],
)
def test_wrong_user_is_told_to_be_root(folder_mode: int, socket_mode: int, sentence: str) -> None:
    invoke("status", "--help")  # what is imported is imported as who we are
    with tempfile.TemporaryDirectory() as name, local_agent(Path(name)) as agent:
        agent.socket.chmod(socket_mode)
        Path(name).chmod(folder_mode)
        with somebody():
            result = run(agent, "status")
        Path(name).chmod(0o700)
    assert result.exit_code == Exit.REFUSED
    assert f"{agent.socket} {sentence}: it is root's alone, run this as root" in result.stderr


def test_flow_has_the_fields_of_its_message() -> None:
    assert {f.name for f in pb.Flow.DESCRIPTOR.fields} == set(Flow.__slots__)


def test_what_is_only_counted_cannot_be_observed(agent: LocalAgent) -> None:
    result = run(agent, "observe", "--verdict", "held")
    assert result.exit_code == Exit.BAD_INPUT
    assert "'held' is not one of 'allow', 'refuse', 'audit'" in result.stderr
