# SPDX-License-Identifier: Apache-2.0
"""The five kinds of policy documents, as types. Form only: what they mean together is `compiler`'s.

These models are also where the published JSON Schema comes from (`schema`), so there is one
description of the language.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import (
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from agent.core.containers import split_pattern
from controller.fields import (
    MAX_ITEMS,
    ONE_OR_MORE,
    Cidr,
    Labels,
    Name,
    Ports,
    Reason,
    SegmentMode,
    Strict,
    Text,
    Until,
)
from controller.problems import InputRefused, Problem, Source
from controller.validation import validate
from controller.yamlfile import YamlDocument, describe

DEFAULT_SEGMENT = "default"
"""The segment of processes that match no workload."""

_OWNER = re.compile(r"[a-z_][a-z0-9_.-]{0,30}\$?\Z", re.ASCII | re.IGNORECASE)
_LAST_UID = 0xFFFFFFFE

Always = Annotated[Literal[True], Field()]
Id = Annotated[int, Field(ge=0, le=_LAST_UID)]


class Match(Strict):
    """One alternative of a workload: all that is set must hold."""

    unit: Text | None = None
    cgroup: Text | None = None
    container: Text | None = None
    exe: Text | None = None
    sha256: Annotated[Text, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    user: Text | None = None
    uid: Id | None = None
    group: Text | None = None
    gid: Id | None = None
    host: Labels = Field(default_factory=dict)

    @field_validator("exe", "cgroup")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            raise ValueError(f"expected a path that starts with /, got {describe(value)}")
        return value

    @field_validator("exe")
    @classmethod
    def _exact(cls, value: str | None) -> str | None:
        if value is not None and (value.endswith("/") or "//" in value or "/../" in value):
            raise ValueError(f"expected the executable's real path, got {describe(value)}")
        return value

    @field_validator("unit")
    @classmethod
    def _no_path(cls, value: str | None) -> str | None:
        if value is not None and "/" in value:
            raise ValueError(f"expected a systemd unit's name, got {describe(value)}")
        return value

    @field_validator("user", "group")
    @classmethod
    def _owner(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not _OWNER.match(value):
            number = {"user": "uid", "group": "gid"}[str(info.field_name)]
            raise ValueError(
                f"expected a {info.field_name}'s name, got {describe(value)}; "
                f"a number goes into {number}"
            )
        return value

    @field_validator("container")
    @classmethod
    def _container(cls, value: str | None) -> str | None:
        if value is not None and (not split_pattern(value)[1] or "/" in value.split("=")[0]):
            raise ValueError(
                f"expected a container's id or name, or image= and an image, got {describe(value)}"
            )
        return value

    @model_validator(mode="after")
    def _something(self) -> Self:
        facts = self.model_fields_set - {"host"}
        if not facts:
            raise ValueError(
                "expected at least one of unit, cgroup, container, exe, sha256, user, uid, "
                "group, gid: host alone would take every process of the host"
            )
        for name, number in (("user", "uid"), ("group", "gid")):
            if {name, number} <= facts:
                raise ValueError(f"expected either {name} or {number}, got both")
        return self


class AddressPeer(Strict):
    """Who, by address: exactly one of these. All that a lifeline may ask, for it asks no proof."""

    cidr: Cidr | None = None
    world: Always | None = None
    any: Always | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = sorted(self.model_fields_set)
        if len(given) != 1:
            kinds = ", ".join(type(self).model_fields)
            got = " and ".join(given) or "none"
            raise ValueError(
                f"expected exactly one of {kinds}, got {got}; alternatives are items of a list"
            )
        return self


class Peer(AddressPeer):
    """Who: exactly one of these."""

    segment: Name | None = None
    workload: Name | None = None
    labels: Annotated[Labels, Field(min_length=1)] | None = None
    fqdn: Text | None = None
    unproven: Always | None = None


Peers = Annotated[
    list[Peer],
    BeforeValidator(ONE_OR_MORE, json_schema_input_type=Peer | list[Peer]),
    Field(min_length=1, max_length=MAX_ITEMS),
]

AddressPeers = Annotated[
    list[AddressPeer],
    BeforeValidator(ONE_OR_MORE, json_schema_input_type=AddressPeer | list[AddressPeer]),
    Field(min_length=1, max_length=MAX_ITEMS),
]


class _Document(Strict):
    name: Name
    until: Until | None = None
    reason: Reason | None = None


class Workload(_Document):
    """Which processes are this workload."""

    kind: Literal["Workload"]
    segment: Name
    labels: Labels = Field(default_factory=dict)
    match: Annotated[list[Match], Field(min_length=1, max_length=MAX_ITEMS)]

    @field_validator("segment")
    @classmethod
    def _not_default(cls, value: str) -> str:
        if value == DEFAULT_SEGMENT:
            raise ValueError(
                "expected a segment other than default, which is that of processes that match "
                "no workload"
            )
        return value


class Segment(_Document):
    """What is done with verdicts about a segment's workloads."""

    kind: Literal["Segment"]
    mode: SegmentMode


class _Rule(_Document):
    from_: Peers = Field(alias="from")
    to: Peers
    ports: Ports
    mode: Literal["enforce", "audit"] = "enforce"


class Allow(_Rule):
    """Lets pass."""

    kind: Literal["Allow"]


class Deny(_Rule):
    """Refuses, whatever is allowed."""

    kind: Literal["Deny"]


class Lifeline(_Document):
    """Always open on every host, judged before everything else."""

    kind: Literal["Lifeline"]
    direction: Literal["in", "out"]
    peer: AddressPeers
    ports: Ports


Document = Workload | Segment | Allow | Deny | Lifeline
KINDS: dict[str, type[Document]] = {
    "Workload": Workload,
    "Segment": Segment,
    "Allow": Allow,
    "Deny": Deny,
    "Lifeline": Lifeline,
}

D = TypeVar("D", bound=Document)


@dataclass(frozen=True, slots=True)
class Placed:
    """A document and the YAML that it came from."""

    document: Document
    yaml: YamlDocument

    @property
    def source(self) -> Source:
        return self.yaml.source()

    def problem(self, message: str, *path: str | int) -> Problem:
        """Something wrong with one field; `path` as in the document."""
        field, source = self.yaml.place(path)
        return Problem(source, field, message)


@dataclass(frozen=True, slots=True)
class Revision:
    """All documents, as one whole."""

    placed: tuple[Placed, ...]

    def of(self, kind: type[D]) -> list[tuple[D, Placed]]:
        return [
            (cast(D, item.document), item)
            for item in self.placed
            if isinstance(item.document, kind)
        ]


def read_documents(yaml_documents: list[YamlDocument]) -> Revision:
    """Check the form of every document. Raises InputRefused with all that is wrong."""
    problems: list[Problem] = []
    placed: list[Placed] = []
    for yaml_document in yaml_documents:
        result = _read_one(yaml_document)
        if isinstance(result, Placed):
            placed.append(result)
        else:
            problems.extend(result)
    problems.extend(_duplicates(placed))
    if problems:
        raise InputRefused(problems)
    return Revision(tuple(placed))


def _read_one(yaml_document: YamlDocument) -> Placed | list[Problem]:
    value: Any = yaml_document.value
    names = ", ".join(KINDS)
    if not isinstance(value, dict):
        message = f"expected a document with kind: {names}, got {describe(value)}"
        return [Problem(yaml_document.source(), "", message)]
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        got = describe(kind) if "kind" in value else "no kind"
        message = f"expected one of {names}, got {got}"
        return [Problem(yaml_document.source(("kind",)), "kind", message)]
    model, problems = validate(KINDS[kind], yaml_document)
    return Placed(model, yaml_document) if model else problems


def _duplicates(placed: list[Placed]) -> list[Problem]:
    """Names are unique per kind: they are what counters, events and people say."""
    first: dict[tuple[str, str], Placed] = {}
    problems: list[Problem] = []
    for item in placed:
        key = (item.document.kind, item.document.name)
        other = first.setdefault(key, item)
        if other is not item:
            message = f"expected a new name, but {key[0]} {key[1]} stands in {other.source} already"
            problems.append(item.problem(message, "name"))
    return problems
