# SPDX-License-Identifier: Apache-2.0
"""What virtual machines compile once for all their agents is the datapath that bcc gives each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.edge import compiler, loader, sources
from agent.edge.compiler import Compiled
from agent.edge.hooks import HOOKS
from tests.vm import compile_once

ROOT = sources.source_root()


@pytest.fixture
def compiled() -> Iterator[Compiled]:
    text = sources.assemble(ROOT)
    with closing(compiler.compile_parts(ROOT, text, loader._defines())) as made:
        yield made


def test_programs_load_with_maps_that_are_fresh_and_of_the_same_shapes(compiled: Compiled) -> None:
    kept = compile_once.describe(compiled)
    assert any(shape.btf for shape in kept.maps.values()), "types are kept, or are there none?"
    with closing(compile_once.make(kept)) as again:
        assert not set(again.maps.values()) & set(compiled.maps.values())
        assert compile_once.describe(again) == kept
        for hook in HOOKS:
            os.close(loader._load_program(again, hook, again.maps))


def test_only_the_first_with_the_same_sources_compiles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiled: Compiled
) -> None:
    monkeypatch.setattr(compile_once, "FOLDER", tmp_path / "kept")
    asked: list[str] = []

    def compile_parts(root: Path, text: str, defines: list[str]) -> Compiled:
        asked.append(text)
        return compile_once.make(compile_once.describe(compiled))

    compile_ = compile_once.once(compile_parts)
    for text in ("one", "one", "two", "one"):
        compile_(ROOT, text, []).close()
    assert asked == ["one", "two"]
    compile_(ROOT, "one", ["-DOFFSET=1"]).close()
    assert asked == ["one", "two", "one"]
