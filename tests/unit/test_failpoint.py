# SPDX-License-Identifier: Apache-2.0
"""Named places where a test lets the agent die: what arms them, and that nothing else does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.edge import cache_file, failpoint
from agent.edge.failpoint import NAMES, VARIABLE, FailpointError, parse
from agent.edge.libbpf import BpfError

ROOT = Path(__file__).resolve().parents[2]
SOURCES = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "agent").rglob("*.py"))
REACHED = re.findall(r'failpoint\.reached\(\s*"([^"]+)"\s*\)', SOURCES)


@pytest.fixture
def armed(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """For who arms one: it is off again afterwards."""
    yield monkeypatch
    monkeypatch.delenv(VARIABLE, raising=False)
    failpoint.arm()


def arm(armed: pytest.MonkeyPatch, text: str) -> None:
    armed.setenv(VARIABLE, text)
    failpoint.arm()


def test_each_name_has_its_place_and_each_place_a_name() -> None:
    assert set(REACHED) == NAMES


def test_each_name_stands_on_the_page() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [name for name in sorted(NAMES) if f"`{name}`" not in page] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "file.before-sync",
        "file.before-sync:explode",
        "file.before-sync@0:kill",
        "file.before-sync:sleep",
        "file.before-sync:sleep:-1",
        "file.before-sync:sleep:601",
        "file.before-dinner:kill",
        "file.after-rename:error",
        "file.before-sync:kill\n",
    ],
)
def test_what_is_none_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(FailpointError, match=VARIABLE):
        parse(text)


def test_a_command_with_a_wrong_one_touches_nothing(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('host_name = "a"\n', encoding="utf-8")
    for command in ("run", "load", "join", "uninstall"):
        done = subprocess.run(
            [sys.executable, "-m", "agent.cli.agent", command, "--config", str(config)],
            cwd=ROOT,
            env={**os.environ, VARIABLE: "file.before-dinner:kill"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2, done
        assert "there is no failpoint file.before-dinner" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_without_the_variable_nothing_happens(tmp_path: Path) -> None:
    assert failpoint.armed() is None
    cache_file.write_atomically(tmp_path / "file", b"content")


def test_an_error_is_what_a_failed_call_raises_and_comes_once(
    armed: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    cache_file.write_atomically(path, b"old")
    arm(armed, "file.before-rename@2:error")
    cache_file.write_atomically(path, b"newer")
    with pytest.raises(BpfError, match=r"failpoint file\.before-rename"):
        cache_file.write_atomically(path, b"newest")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"newer"
    cache_file.write_atomically(path, b"last")
    assert path.read_bytes() == b"last"


WRITE = """
import sys
from pathlib import Path
from agent.edge import cache_file, failpoint
failpoint.arm()
cache_file.write_atomically(Path(sys.argv[1]), b"new content")
"""


@pytest.mark.parametrize("name", sorted(name for name in NAMES if name.startswith("file.")))
def test_a_writer_that_is_killed_leaves_the_old_file_or_the_new_one(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "folder" / "file"
    cache_file.write_atomically(path, b"old")
    done = subprocess.run(
        [sys.executable, "-c", WRITE, str(path)],
        cwd=ROOT,
        env={**os.environ, VARIABLE: f"{name}:kill"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done
    assert path.read_bytes() == (b"new content" if name == "file.after-rename" else b"old")
    cache_file.write_atomically(path, b"next")
    assert [file.name for file in path.parent.iterdir()] == ["file"], "the next one clears up"
    assert path.read_bytes() == b"next"
