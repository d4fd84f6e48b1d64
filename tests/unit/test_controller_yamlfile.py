# SPDX-License-Identifier: Apache-2.0
"""YAML in: one meaning per file, and a line for every mistake."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import yamlfile
from controller.problems import InputRefused


def sentence(content: bytes | str) -> str:
    data = content.encode() if isinstance(content, str) else content
    with pytest.raises(InputRefused) as caught:
        yamlfile.parse("p.yaml", data)
    return str(caught.value)


def outcome(content: bytes) -> str:
    """The file's name if it was read, else the sentence."""
    try:
        yamlfile.parse("p.yaml", content)
    except InputRefused as error:
        return str(error)
    return "p.yaml"


def test_parse_keeps_the_line_of_every_field() -> None:
    (document,) = yamlfile.parse("p.yaml", b"# first\na: 1\nb:\n  - c: x\n  - d: y\n")
    assert document.value == {"a": 1, "b": [{"c": "x"}, {"d": "y"}]}
    assert document.source(("b", 1, "d")).line == 5
    assert document.source(("b", 1, "missing")).line == 5
    assert document.source().line == 2


def test_parse_leaves_out_empty_documents() -> None:
    assert [d.value for d in yamlfile.parse("p.yaml", b"---\n---\na: b\n---\n")] == [{"a": "b"}]


def test_a_lone_mapping_has_no_index_in_its_field_name() -> None:
    (document,) = yamlfile.parse("p.yaml", b"from:\n  segment: x\n")
    field, source = document.place(("from", 0, "segment"))
    assert (field, source.line) == ("from.segment", 2)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: &x 1\n", "p.yaml:1: expected plain values, got the anchor or alias x"),
        ("a: 1\nb: *x\n", "p.yaml:2: expected plain values, got the anchor or alias x"),
        ("a: 1\nb: 2\na: 3\n", "p.yaml:3: a: the key is here twice, first on line 1"),
        ("a:\n  b: 1\n\tc: 2\n", "p.yaml:3: expected spaces as indentation, got a tab"),
        (b"a: 1\nb: \xff\n", "p.yaml:2: expected UTF-8 text, got the byte 0xff"),
        (b"a: 1\nb: \x00\n", "p.yaml:2: expected text, got the control character U+0000"),
        ("a: 0777\n", "p.yaml:1: a: expected a decimal number or quoted text, got 0777"),
        ("a: 0x1f\n", "p.yaml:1: a: expected a decimal number or quoted text, got 0x1f"),
        ("a: 12:30\n", "p.yaml:1: a: expected a decimal number or quoted text, got 12:30"),
        ("a: 1_000\n", "p.yaml:1: a: expected a decimal number or quoted text, got 1_000"),
        ("a:\n  b:\n", "p.yaml:2: a.b: expected a value, got nothing"),
        ("a: !!python/object:os.system x\n", "p.yaml:1: a: expected no YAML tag"),
        ("a: !secret x\n", "p.yaml:1: a: expected no YAML tag"),
        ("a: !!set {x}\n", "p.yaml:1: a: expected no YAML tag"),
        ("<<: {a: 1}\n", "p.yaml:1: (key): expected plain keys, got the merge key <<"),
        ("1: x\n", "p.yaml:1: expected a text key, got the number 1"),
        ("no: x\n", "p.yaml:1: no: expected a text key, got the bare word no"),
        ("? [a]\n: x\n", "p.yaml:1: expected a text key"),
        ("a: [1, 2\n", "p.yaml:2: not valid YAML"),
        ("a: " + "[" * 40 + "]" * 40, "p.yaml:1: expected at most 16 levels of nesting"),
    ],
)
def test_parse_refuses_what_has_two_meanings_or_none(content: bytes | str, expected: str) -> None:
    assert sentence(content).startswith(expected)


def test_parse_refuses_a_file_that_is_too_large() -> None:
    assert "p.yaml: expected at most 1048576 bytes, got 1048577" in sentence(b"#" * 1048577)


def test_parse_refuses_too_many_documents() -> None:
    assert "expected at most 10000 documents" in sentence("---\na: b\n" * 10_001)


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
    )
    assert sentence(bomb).startswith("p.yaml:1: expected plain values")


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "Off", "NO"])
def test_bare_boolean_words_are_marked(word: str) -> None:
    (document,) = yamlfile.parse("p.yaml", f"a: {word}\nb: '{word}'\n".encode())
    assert isinstance(document.value["a"], yamlfile.Ambiguous)
    assert not isinstance(document.value["b"], yamlfile.Ambiguous)


@given(st.binary(max_size=300))
def test_parse_never_fails_otherwise_than_by_refusing(content: bytes) -> None:
    assert outcome(content).startswith("p.yaml")


@given(st.text(alphabet="ab:- \n\t[]{}#&*!|>'\"%@`?,0x1", max_size=80))
def test_parse_never_fails_otherwise_on_yaml_like_text(content: str) -> None:
    assert outcome(content.encode()).startswith("p.yaml")
