# SPDX-License-Identifier: Apache-2.0
"""pydantic's errors as sentences with file, line and field.

pydantic speaks to programmers and knows no lines; whoever reads these has a YAML file open.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from controller.problems import Problem
from controller.yamlfile import Ambiguous, YamlDocument, ambiguous, describe

M = TypeVar("M", bound=BaseModel)

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "string_pattern_mismatch": "64 lower-case hexadecimal digits",
}


def validate(model: type[M], document: YamlDocument) -> tuple[M | None, list[Problem]]:
    """The value as a model, or all that is wrong with it."""
    try:
        return model.model_validate(document.value), []
    except ValidationError as error:
        return None, [_problem(model, document, details) for details in error.errors()]


def _problem(model: type[BaseModel], document: YamlDocument, details: ErrorDetails) -> Problem:
    field, source = document.place(details["loc"])
    return Problem(source, field, _sentence(model, details))


def _sentence(model: type[BaseModel], details: ErrorDetails) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "this field is missing"
    if kind == "extra_forbidden":
        return _unknown_field(model, details["loc"])
    if kind == "literal_error":
        expected = str(context["expected"]).replace("'", "").replace("True", "true")
        return f"expected {expected}, got {describe(value)}"
    if kind in ("too_short", "too_long"):
        low, high = context.get("min_length"), context.get("max_length")
        bound = f"at least {low}" if kind == "too_short" else f"at most {high}"
        return f"expected {bound} items, got {context.get('actual_length')}"
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        return f"expected {bound}, got {describe(value)}"
    if kind in _EXPECTED:
        if isinstance(value, Ambiguous):
            return ambiguous(value, _EXPECTED[kind])
        return f"expected {_EXPECTED[kind]}, got {describe(value)}"
    return f"{details['msg']}, got {describe(value)}"


def _unknown_field(model: type[BaseModel], loc: Sequence[str | int]) -> str:
    known = _fields_at(model, loc)
    name = str(loc[-1])
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"unknown field; expected one of {', '.join(known)}{hint}"


def _fields_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The field names of the model in which the last part of `loc` stands."""
    current = model
    for part in loc[:-1]:
        if isinstance(part, int):
            continue
        by_alias = {info.alias or name: info for name, info in current.model_fields.items()}
        current = _model_in(by_alias[part].annotation) or current
    return [info.alias or name for name, info in current.model_fields.items()]


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if found := _model_in(argument):
            return found
    return None
