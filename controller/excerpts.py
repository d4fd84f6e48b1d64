# SPDX-License-Identifier: Apache-2.0
"""A file's documents apart, each with the text that it has alone, comments included. Pure.

The store keeps documents and not files, so that one of them can be changed, shown and rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from controller.yamlfile import YamlDocument, parse


@dataclass(frozen=True, slots=True)
class Excerpt:
    """document: with the lines of its file."""

    document: YamlDocument
    text: str


@dataclass(frozen=True, slots=True)
class _Span:
    last_line: int
    text: str


def excerpts(file: str, content: bytes) -> list[Excerpt]:
    """Empty documents are left out. Raises InputRefused."""
    documents = parse(file, content)
    found: list[Excerpt] = []
    spans = _spans(content.decode("utf-8-sig"))
    for document in documents:
        first = document.lines[()]
        text = next(span.text for span in spans if span.last_line >= first)
        found.append(Excerpt(document, text.strip("\r\n") + "\n"))
    return found


def _spans(text: str) -> Iterator[_Span]:
    """What stands between two documents is the comment of the later one only behind `...`."""
    before, lead = 0, ""
    for event in yaml.parse(text, yaml.CSafeLoader):
        assert event.start_mark is not None
        assert event.end_mark is not None
        if isinstance(event, yaml.DocumentStartEvent):
            lead = text[before : event.start_mark.index]
            before = event.end_mark.index if event.explicit else event.start_mark.index
        elif isinstance(event, yaml.DocumentEndEvent):
            body = text[before : event.start_mark.index]
            yield _Span(event.start_mark.line + 1, lead + body)
            before = event.end_mark.index
