# SPDX-License-Identifier: Apache-2.0
"""Test vectors of the tag: one file, run through the Python, the C and the kernel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("tag.json")


def load() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.read_text())
    return content
