# SPDX-License-Identifier: Apache-2.0
"""The published JSON Schemas of the policy language and the inventory, for editors and pipelines.

Made from the same models that check the input: `python -m controller.schema docs/schema` writes
them, and a test holds the files fresh. JSON Schema cannot say everything (host bits of a network,
what names refer to); `cordonctl compile` is the judge.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from controller.documents import Allow, Deny, Lifeline, Segment, Workload
from controller.inventory import Inventory

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_AnyDocument = Annotated[Workload | Segment | Allow | Deny | Lifeline, Field(discriminator="kind")]


def schemas() -> dict[str, str]:
    """File name -> JSON text."""
    return {
        "policy.schema.json": _text("One document of a Cordon policy", _AnyDocument),
        "inventory.schema.json": _text("The inventory of a Cordon installation", Inventory),
    }


def _text(title: str, kind: Any) -> str:
    schema = TypeAdapter(kind).json_schema(by_alias=True, mode="validation")
    whole = {"$schema": _DIALECT, **_without_null(schema), "title": title}
    return json.dumps(whole, indent=2) + "\n"


def _without_null(schema: Any) -> Any:
    """The models' None means "not there"; an explicit null is refused by the reader."""
    if isinstance(schema, list):
        return [_without_null(item) for item in schema if item != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    kept = {k: _without_null(v) for k, v in schema.items() if not (k == "default" and v is None)}
    if len(kept.get("anyOf", ())) == 1:
        return {**kept.pop("anyOf")[0], **kept}
    return kept


def main(folder: str) -> None:
    """Write them all."""
    for name, text in schemas().items():
        (Path(folder) / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
