# SPDX-License-Identifier: Apache-2.0
"""`cordonctl compile` and `explain` as scripts use them: output, errors and exit statuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from agent.cli.ctl import COMMANDS, cordonctl

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
SOURCES = ["--inventory", str(EXAMPLES / "hosts.yaml"), "--policy", str(EXAMPLES / "policy")]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cordonctl, arguments)


def explain(source: str, target: str, port: str, *more: str) -> Result:
    return run("explain", "--from", source, "--to", target, "--port", port, *(more or SOURCES))


def test_the_examples_compile_without_a_warning(tmp_path: Path) -> None:
    result = run("compile", *SOURCES, "--out", str(tmp_path / "out"))
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0].split() == [
        "HOST", "REVISION", "WORKLOADS", "RULES", "PEERS", "EXPIRES", "FILE",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:]] == ["db-1", "web-1"]
    assert "\x1b" not in result.stdout


def test_compile_answers_programs_in_json(tmp_path: Path) -> None:
    out, state = tmp_path / "out", tmp_path / "kept"
    result = run("compile", *SOURCES, "--out", str(out), "--state", str(state), "--output", "json")
    answer = json.loads(result.stdout)
    assert [host["host"] for host in answer["hosts"]] == ["db-1", "web-1"]
    assert answer["public_key"] == str(out / "policy.pub")
    assert (state / "root.key").exists()


def test_bad_input_is_status_2_with_its_sentences_and_no_output(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("kind: Segment\nname: x\nmode: maybe\n")
    out = tmp_path / "out"
    result = run("compile", *SOURCES[:2], "--policy", str(tmp_path), "--out", str(out))
    assert result.exit_code == 2
    assert result.stderr == (
        f"cordonctl: {tmp_path}/p.yaml:3: mode: expected off, audit or enforce, got 'maybe'\n"
    )
    assert not out.exists()


def test_lost_state_is_status_2(tmp_path: Path) -> None:
    (tmp_path / "web-1.snapshot").write_bytes(b"")
    result = run("compile", *SOURCES, "--out", str(tmp_path))
    assert result.exit_code == 2
    assert "not the state that they were made with" in result.stderr


def test_explain_is_status_0_for_what_passes() -> None:
    result = explain("web", "db", "tcp/6379")
    assert result.exit_code == 0
    assert result.stdout.startswith("web -> db tcp/6379: allowed\n")
    assert "rules.yaml:14" in result.stdout


def test_explain_is_status_1_for_what_is_refused_and_prints_the_missing_allow() -> None:
    result = explain("stranger", "db", "tcp/6379")
    assert result.exit_code == 1
    document = yaml.safe_load(result.stdout.partition("missing:\n")[2])
    assert document == {
        "kind": "Allow",
        "name": "stranger-to-db-tcp-6379",
        "from": {"workload": "stranger"},
        "to": {"workload": "db"},
        "ports": ["tcp/6379"],
    }


def test_explain_answers_programs_in_json() -> None:
    result = explain("db", "world", "tcp/80", *SOURCES, "--output", "json")
    answer = json.loads(result.stdout)
    assert result.exit_code == 1
    assert answer["result"] == "refused"
    (end,) = answer["ends"]
    assert (end["reason"], end["rule"]["name"], end["rule"]["action"]) == (
        "rule_deny", "data-stays-inside", "deny",
    )  # fmt: skip
    assert end["rule"]["file"].endswith("policy/rules.yaml")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nobody", "db", "tcp/1"), "expected a workload, host:NAME, an address"),
        (("web", "db", "http"), "expected a port such as tcp/443"),
        (("web", "db", "tcp/1", *SOURCES[:2]), "expected either --inventory and --policy, or"),
        (("web", "db", "tcp/1", "--snapshot", "/nowhere"), "expected a file; there is none"),
    ],
)
def test_explain_is_status_2_for_a_bad_question(arguments: tuple[str, ...], expected: str) -> None:
    result = explain(*arguments)
    assert result.exit_code == 2
    assert expected in result.stderr


def test_explain_reads_snapshots_that_hosts_were_given(tmp_path: Path) -> None:
    run("compile", *SOURCES, "--out", str(tmp_path))
    paths = [f"--snapshot={tmp_path}/{host}.snapshot" for host in ("web-1", "db-1")]
    assert explain("web", "db", "tcp/6379", *paths).exit_code == 0
    assert explain("web", "db", "tcp/22", *paths).exit_code == 1


def test_explain_refuses_a_snapshot_that_is_not_genuine(tmp_path: Path) -> None:
    run("compile", *SOURCES, "--out", str(tmp_path / "a"))
    run("compile", *SOURCES, "--out", str(tmp_path / "b"))
    result = explain(
        "web", "db", "tcp/1",
        "--snapshot", str(tmp_path / "a" / "web-1.snapshot"),
        "--key", str(tmp_path / "b" / "policy.pub"),
    )  # fmt: skip
    assert result.exit_code == 2
    assert "it is signed with key" in result.stderr


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_of_the_list_exists(name: str) -> None:
    assert run(name, "--help").exit_code == 0


def test_the_readme_names_only_commands_that_exist() -> None:
    named = set(re.findall(r"^\S*cordonctl (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {"compile", "status"} <= named <= set(COMMANDS)


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from agent.cli.ctl import cordonctl\n"
        "try: cordonctl(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('pydantic', 'yaml', 'rich', 'grpc') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "compile" in done.stdout
