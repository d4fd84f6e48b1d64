# SPDX-License-Identifier: Apache-2.0
"""YAML text to plain values, each with its line. Strict, so that a file means one thing only.

Refused: aliases and anchors (bombs), duplicate keys, explicit tags beyond the plain ones, merge
keys, numbers that YAML versions read differently (octal, sexagesimal ...), what is not UTF-8, NUL
and other control characters, and more than the bounds below. The bare words yes, no, on and off
are booleans in YAML 1.1 and text in 1.2: they come out as `Ambiguous`, and the field's type decides
(`mode: off` is plain enough, a label `country: no` is refused with the advice to quote it).

libyaml parses; the values are built here and not by PyYAML's constructors, because these know
neither lines nor YAML 1.2. Timestamps stay text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from controller.problems import InputRefused, Source, refuse

MAX_BYTES = 1 << 20
MAX_DOCUMENTS = 10_000
MAX_DEPTH = 16

Path = tuple[str | int, ...]
Value = Any
"""str, Ambiguous, int, float, bool, None, list of values, dict of str to value."""

_PREFIX = "tag:yaml.org,2002:"
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_MAX_DIGITS = 18


class Ambiguous(str):
    """A bare yes, no, on or off (in any case)."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """lines: path of every field and item -> its line; () is the document's first line."""

    file: str
    value: Value
    lines: Mapping[Path, int]

    def source(self, path: Path = ()) -> Source:
        """Where a field stands; for one that is missing, the nearest that holds it."""
        while path not in self.lines:
            path = path[:-1]
        return Source(self.file, self.lines[path])

    def place(self, path: Path) -> tuple[str, Source]:
        """A field's name as the file has it, and where it stands.

        A checker may say `from[0].segment` where the file has a lone mapping: an index that the
        file does not have is left out.
        """
        found: Path = ()
        for part in path:
            if isinstance(part, int) and (*found, part) not in self.lines:
                continue
            if part == "[key]":
                continue
            found = (*found, part)
        return dotted(found), self.source(found)


def parse(file: str, content: bytes) -> list[YamlDocument]:
    """All documents of a file; empty ones are left out. Raises InputRefused."""
    text = _decode(file, content)
    try:
        _refuse_aliases(file, text)
        nodes = [node for node in yaml.compose_all(text, yaml.CSafeLoader) if node is not None]
    except yaml.MarkedYAMLError as error:
        raise refuse(*_syntax_error(file, text, error)) from error
    documents = [_build(file, node) for node in nodes]
    return [document for document in documents if document.value is not None]


def _decode(file: str, content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise refuse(
            Source(file), f"expected at most {MAX_BYTES} bytes, got {len(content)}: split the file"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise refuse(
            Source(file, line), f"expected UTF-8 text, got the byte 0x{content[error.start]:02x}"
        ) from error
    if found := _CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise refuse(
            Source(file, line),
            f"expected text, got the control character U+{ord(found.group()):04X}",
        )
    return text


def _refuse_aliases(file: str, text: str) -> None:
    """On the event level: composing first would already expand them."""
    documents = depth = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if anchor := getattr(event, "anchor", None):
            raise refuse(
                Source(file, line),
                f"expected plain values, got the anchor or alias {_clip(anchor)}: "
                "anchors and aliases are not supported, write the value out",
            )
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise refuse(Source(file, line), f"expected at most {MAX_DEPTH} levels of nesting")
        if documents > MAX_DOCUMENTS:
            raise refuse(
                Source(file, line), f"expected at most {MAX_DOCUMENTS} documents: split the file"
            )


def _syntax_error(file: str, text: str, error: yaml.MarkedYAMLError) -> tuple[Source, str]:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 0
    lines = text.splitlines()
    bad = lines[line - 1] if 0 < line <= len(lines) else ""
    if "\t" in bad[: len(bad) - len(bad.lstrip())]:
        return Source(file, line), "expected spaces as indentation, got a tab"
    context = f" ({error.context})" if error.context else ""
    return Source(file, line), f"not valid YAML: {error.problem}{context}"


@dataclass(slots=True)
class _Builder:
    file: str
    lines: dict[Path, int] = field(default_factory=dict)

    def refuse(self, node: yaml.Node, path: Path, message: str) -> InputRefused:
        return refuse(Source(self.file, node.start_mark.line + 1), message, dotted(path))

    def value(self, node: yaml.Node, path: Path) -> Value:
        self.lines.setdefault(path, node.start_mark.line + 1)
        kind = node.tag.removeprefix(_PREFIX)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path, kind)
        raise self.refuse(node, path, f"expected no YAML tag, got {node.tag}")

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Value]:
        result: dict[str, Value] = {}
        for key_node, value_node in node.value:
            key = self.key(key_node, path)
            here = (*path, key)
            if key in result:
                raise self.refuse(
                    key_node, here, f"the key is here twice, first on line {self.lines[here]}"
                )
            self.lines[here] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, here)
        return result

    def key(self, node: yaml.Node, path: Path) -> str:
        key = self.value(node, (*path, "(key)")) if isinstance(node, yaml.ScalarNode) else None
        if isinstance(key, Ambiguous):
            raise self.refuse(node, (*path, str(key)), ambiguous(key, "a text key"))
        if not isinstance(key, str):
            raise self.refuse(node, path, f"expected a text key, got {describe(key)}")
        return key

    def scalar(self, node: yaml.ScalarNode, path: Path, kind: str) -> Value:
        text = node.value
        if kind in ("str", "timestamp", "value"):
            return text
        if kind == "null":
            if path:  # an empty field is a forgotten one, never "anything"
                raise self.refuse(node, path, "expected a value, got nothing")
            return None
        if kind == "bool":
            return text.lower() == "true" if text.lower() in ("true", "false") else Ambiguous(text)
        if kind == "int" and _DECIMAL.match(text) and len(text) <= _MAX_DIGITS:
            return int(text)
        if kind == "float":
            return text if ":" in text else _float(text)
        raise self.refuse(node, path, _bad_scalar(kind, text))


def _float(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _bad_scalar(kind: str, text: str) -> str:
    if kind == "merge":
        return "expected plain keys, got the merge key <<, which is not supported"
    if kind == "int":
        return (
            f"expected a decimal number or quoted text, got {_clip(text)}, which YAML versions "
            "read differently (octal, hexadecimal, base 60 ...)"
        )
    return f"expected no YAML tag, got {kind}"


def _build(file: str, node: yaml.Node) -> YamlDocument:
    builder = _Builder(file)
    value = builder.value(node, ())
    return YamlDocument(file, value, builder.lines)


def dotted(path: Path) -> str:
    """A path as people write it: `from[0].segment`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{_clip(part)}" if text else _clip(part)
    return text


def ambiguous(value: str, expected: str) -> str:
    """The sentence about a bare yes, no, on or off where text is wanted."""
    return (
        f"expected {expected}, got the bare word {value}, which YAML 1.1 reads as a boolean: "
        f'write "{value}" in quotes'
    )


def describe(value: Value) -> str:
    """A value as an error sentence names it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"'{_clip(value)}'"
    return "a list" if isinstance(value, list) else "a mapping"


def _clip(text: str) -> str:
    """Bounded and printable, whatever the file holds: it goes to a terminal."""
    clean = ascii(text)[1:-1] if not (text.isascii() and text.isprintable()) else text
    return clean if len(clean) <= 80 else f"{clean[:77]}..."
