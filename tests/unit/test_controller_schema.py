# SPDX-License-Identifier: Apache-2.0
"""The published schemas say what the models say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.documents import KINDS
from controller.schema import schemas

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "schema"


@pytest.mark.parametrize("name", sorted(schemas()))
def test_the_published_schema_is_fresh(name: str) -> None:
    published = (FOLDER / name).read_text(encoding="utf-8")
    assert published == schemas()[name], "run python -m controller.schema docs/schema"


def test_the_schema_knows_every_kind_and_no_unknown_field() -> None:
    schema = json.loads(schemas()["policy.schema.json"])
    assert set(schema["discriminator"]["mapping"]) == set(KINDS)
    for definition in schema["$defs"].values():
        assert definition["additionalProperties"] is False
