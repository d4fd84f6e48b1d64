# SPDX-License-Identifier: Apache-2.0
"""Kinds of documents as people type them: `allow`, `Allow`, `allows`."""

from __future__ import annotations

import click

KINDS = ("Workload", "Segment", "Allow", "Deny", "Lifeline")
"""As controller.documents has them, which is slow to import."""
_PLURALS = {"denies": "Deny"}


def kind_of(text: str) -> str:
    """As documents write it. Raises UsageError."""
    word = text.lower()
    for kind in KINDS:
        if word in (kind.lower(), f"{kind.lower()}s"):
            return kind
    if word in _PLURALS:
        return _PLURALS[word]
    raise click.UsageError(f"expected a kind: {', '.join(KINDS)}, got {text!r}")
