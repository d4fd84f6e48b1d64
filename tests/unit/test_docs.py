# SPDX-License-Identifier: Apache-2.0
"""What the documents say is what the code does: samples work, and nothing is left out."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from agent.cli.agent import cordon_agent
from agent.cli.ctl import COMMANDS, cordonctl
from agent.config import KEYS, parse_config
from agent.core.standing import State

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
AGENT = (ROOT / "docs" / "agent.md").read_text(encoding="utf-8")
POLICY = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
PAGES = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
GROUPS: dict[str, click.Group] = {"cordon-agent": cordon_agent, "cordonctl": cordonctl}


def samples(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command of both programs, as "program command"."""
    for program, group in GROUPS.items():
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield f"{program} {name}", command


EVERY = dict(commands())


# ---- help


@pytest.mark.parametrize("name", EVERY)
def test_every_command_and_every_option_has_a_help_text(name: str) -> None:
    command = EVERY[name]
    assert command.help
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert [o.name for o in options if not (o.help or "").endswith((".", "]"))] == []


@pytest.mark.parametrize("name", EVERY)
def test_the_list_of_commands_shows_whole_sentences(name: str) -> None:
    program, _, short = name.partition(" ")
    shown = CliRunner().invoke(GROUPS[program], ["--help"]).stdout
    (line,) = re.findall(rf"^  {short} +(.*)$", shown, re.M)
    assert line.endswith(".")
    assert not line.endswith("...")


def test_the_list_of_cordonctl_is_what_its_modules_have() -> None:
    assert set(COMMANDS) == {n.partition(" ")[2] for n in EVERY if n.startswith("cordonctl ")}


# ---- docs/agent.md


@pytest.mark.parametrize("key", KEYS)
def test_every_setting_has_its_row(key: str) -> None:
    assert re.search(rf"^\| `{key}` \|", AGENT, re.M)


@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
def test_every_state_has_its_row(state: State) -> None:
    assert re.search(rf"^\| .*`{state.value}`.* \|", AGENT, re.M)


@pytest.mark.parametrize("name", sorted(EVERY))
def test_every_command_and_option_is_told_on_some_page(name: str) -> None:
    program, _, short = name.partition(" ")
    assert name in PAGES or (program in PAGES and re.search(f"`{short}[` ]", PAGES))
    options = [p for p in EVERY[name].params if isinstance(p, click.Option)]
    assert [o.opts[0] for o in options if o.opts[0] not in PAGES] == []


def test_defaults_are_those_of_the_code() -> None:
    table = {k: "/x" if k != "host_name" else "a" for k in ("host_name", "snapshot", "policy_key")}
    config = parse_config(table, "agent.toml")
    for key in ("instance", "bpffs", "state_dir", "run_dir", "flow_history"):
        default = re.escape(str(getattr(config, key)))
        assert re.search(rf"^\| `{key}` \| `?{default}`? \|", AGENT, re.M), key


# ---- samples


@pytest.mark.parametrize("text", [README, AGENT], ids=["README.md", "docs/agent.md"])
def test_samples_of_agent_toml_are_read(text: str) -> None:
    found = [tomllib.loads(sample) for sample in samples(text, "toml")]
    parse_config(found[0], "agent.toml")
    for more in found[1:]:
        parse_config({**found[0], **more}, "agent.toml")


@pytest.fixture
def as_a_newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's files, in the folder where one is."""
    hosts, policy = samples(README, "yaml")
    monkeypatch.chdir(tmp_path)
    Path("hosts.yaml").write_text(hosts, encoding="utf-8")
    Path("policy").mkdir()
    Path("policy/payments.yaml").write_text(policy, encoding="utf-8")


@pytest.mark.usefixtures("as_a_newcomer")
def test_what_the_readme_compiles_and_asks_works() -> None:
    lines = [line for block in samples(README, "") for line in block.splitlines()]
    asked = [shlex.split(line) for line in lines if " --policy " in line]
    assert [words[1] for words in asked] == ["compile", "explain"]
    for words in asked:
        result = CliRunner().invoke(cordonctl, words[1:])
        assert (result.exit_code, result.stderr) == (0, ""), result.stderr
    assert "allowed" in result.stdout
    assert Path("out/app-1.snapshot").is_file()
    assert Path("out/policy.pub").is_file()


SURROUNDINGS = """
kind: Segment
name: web
mode: enforce
---
kind: Segment
name: backup
mode: enforce
---
kind: Workload
name: shop
segment: web
match: [{unit: shop.service}]
---
kind: Workload
name: keeper
segment: backup
match: [{unit: keeper.service}]
"""
"""What the fragments of docs/policy.md name and do not show."""


def test_fragments_of_the_policy_language_compile(tmp_path: Path) -> None:
    hosts, *fragments = samples(POLICY, "yaml")
    (tmp_path / "hosts.yaml").write_text(hosts, encoding="utf-8")
    folder = tmp_path / "policy"
    folder.mkdir()
    for number, text in enumerate([SURROUNDINGS, *fragments]):
        (folder / f"{number}.yaml").write_text(text, encoding="utf-8")
    words = ["compile", "--inventory", tmp_path / "hosts.yaml", "--policy", folder, "--out"]
    result = CliRunner().invoke(cordonctl, [*map(str, words), str(tmp_path / "out")])
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("text", [README, AGENT, POLICY], ids=["README", "agent", "policy"])
def test_no_document_shows_a_command_or_an_option_that_is_not_there(text: str) -> None:
    for program, words in re.findall(r"\b(cordonctl|cordon-agent) ([a-z]+\b[^`\n|]*)", text):
        name, *rest = words.split()
        if name not in {n.partition(" ")[2] for n in EVERY}:
            assert not rest or not rest[0].startswith("--"), words
            continue
        options = {o for p in EVERY[f"{program} {name}"].params for o in p.opts}
        assert {word for word in rest if word.startswith("--")} <= options, words


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))],
    ids=lambda page: page.name,
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
