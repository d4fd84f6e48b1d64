# SPDX-License-Identifier: Apache-2.0
"""Types of the fields that policy documents and the inventory share.

Each refuses with a sentence that starts with what was expected, and each describes itself in the
published JSON Schema as far as that language goes.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from agent.core.allow import MAX_NAME
from agent.core.model import IPAddress, IPNetwork
from controller import ports
from controller.yamlfile import Ambiguous, ambiguous, describe

MAX_TEXT = 1024
MAX_ITEMS = 256
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z", re.ASCII)
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}\Z", re.ASCII)
_DURATION = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)\Z", re.ASCII)
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000))

NAME_EXPECTED = (
    f"expected a name of 1 to {MAX_NAME} lower-case letters, digits and hyphens that starts and "
    "ends with a letter or digit"
)


class Strict(BaseModel):
    """Base of every document: unknown fields and other types are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)


def _text(value: Any) -> Any:
    if isinstance(value, Ambiguous):
        raise ValueError(ambiguous(value, "text"))
    return value


def _plain(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise ValueError(f"expected printable ASCII text, got {describe(value)}")
    if not 0 < len(value) <= MAX_TEXT:
        raise ValueError(f"expected 1 to {MAX_TEXT} characters, got {len(value)}")
    return value


def is_name(value: str) -> bool:
    """Whether it may be the name of a document, a host or an administrator."""
    return _NAME.match(value) is not None


def _name(value: str) -> str:
    if not is_name(value):
        raise ValueError(f"{NAME_EXPECTED}, got {describe(value)}")
    return value


def is_trust_domain(value: str) -> bool:
    return _TRUST_DOMAIN.match(value) is not None


def _domain(value: str) -> str:
    if not is_trust_domain(value):
        raise ValueError(
            "expected a trust domain of 1 to 255 lower-case letters, digits, dots, hyphens and "
            f"underscores (SPIFFE ID, section 2.1), got {describe(value)}"
        )
    return value


Text = Annotated[
    str, BeforeValidator(_text), AfterValidator(_plain), Field(json_schema_extra={"minLength": 1})
]
Name = Annotated[
    str,
    BeforeValidator(_text),
    AfterValidator(_name),
    Field(json_schema_extra={"pattern": r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}),
]
TrustDomain = Annotated[
    str,
    BeforeValidator(_text),
    AfterValidator(_domain),
    Field(json_schema_extra={"pattern": "^[a-z0-9._-]{1,255}$"}),
]
Reason = Annotated[str, BeforeValidator(_text), AfterValidator(_plain)]
Labels = Annotated[dict[Name, Text], Field(max_length=MAX_ITEMS)]


def _word(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value


SegmentMode = Annotated[Literal["off", "audit", "enforce"], BeforeValidator(_word)]
"""`mode: off` is written bare, and YAML 1.1 readers' false is not what it means."""


def _switch(value: Any) -> Any:
    words = {"on": True, "off": False}
    return words.get(value.lower(), value) if isinstance(value, str) else value


Switch = Annotated[
    bool,
    BeforeValidator(_switch),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": ["on", "off"]}]}),
]


def duration_text(milliseconds: int) -> str:
    """A duration as people write it."""
    for unit, size in _UNITS:
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def duration(low_ms: int, high_ms: int) -> Any:
    """The type of a duration field, as milliseconds, with its bounds."""

    def parse(value: Any) -> int:
        match = _DURATION.match(value) if isinstance(value, str) else None
        if not match:
            raise ValueError(
                f"expected a duration such as 90s, 10m, 12h or 30d, got {describe(value)}"
            )
        milliseconds = int(match[1]) * _UNIT_MS[match[2]]
        if not low_ms <= milliseconds <= high_ms:
            raise ValueError(
                f"expected a duration from {duration_text(low_ms)} to {duration_text(high_ms)}, "
                f"got {value}"
            )
        return milliseconds

    schema = {"type": "string", "pattern": "^[1-9][0-9]{0,8}(ms|s|m|h|d)$"}
    return Annotated[int, BeforeValidator(parse), WithJsonSchema(schema)]


def _ports(value: Any) -> Any:
    if not isinstance(value, str) or isinstance(value, Ambiguous):
        raise ValueError(f"{ports.EXPECTED}, got {describe(value)}")
    try:
        ports.parse(value)
    except ValueError as error:
        raise ValueError(f"{error}, got {describe(value)}") from error
    return value


Port = Annotated[str, BeforeValidator(_ports), Field(json_schema_extra={"pattern": ports.PATTERN})]
Ports = Annotated[list[Port], Field(min_length=1, max_length=MAX_ITEMS)]


def parse_network(value: str) -> IPNetwork:
    """A CIDR or a single address. Raises ValueError with a sentence."""
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise ValueError(
            f"expected a network such as 198.51.100.0/24 or 2001:db8::/32, got {describe(value)}"
        ) from error
    if "%" in value or (network.version == 6 and network.network_address.ipv4_mapped):
        raise ValueError(
            f"expected a network without a zone, IPv4 in dotted form, got {describe(value)}"
        )
    if ipaddress.ip_interface(value).ip != network.network_address:
        raise ValueError(
            f"expected a network without host bits, got {value}: "
            f"write {network} for the network or {value.partition('/')[0]} for the one address"
        )
    return network


def parse_host_address(value: str) -> IPAddress:
    """An address that a host can be reached at from another. Raises ValueError."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError as error:
        raise ValueError(
            f"expected an address such as 192.0.2.1 or fd00::1, got {describe(value)}"
        ) from error
    mapped = address.version == 6 and address.ipv4_mapped is not None
    bad = address.is_loopback or address.is_link_local or address.is_multicast
    if mapped or bad or address.is_unspecified:
        raise ValueError(
            "expected an address that other hosts can tell apart (not loopback, link-local, "
            f"multicast, unspecified or IPv4-mapped), got {value}"
        )
    return address


def _network(value: Any) -> Any:
    return parse_network(value) if isinstance(value, str) else value


def _address(value: Any) -> Any:
    return parse_host_address(value) if isinstance(value, str) else value


def _must_be_text(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {describe(value)}")
    return value


_STRING: dict[str, Any] = {"type": "string"}
Cidr = Annotated[
    IPNetwork, BeforeValidator(_network), BeforeValidator(_must_be_text), WithJsonSchema(_STRING)
]
Address = Annotated[
    IPAddress, BeforeValidator(_address), BeforeValidator(_must_be_text), WithJsonSchema(_STRING)
]


def _until(value: Any) -> Any:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(
            f"expected a time with its zone such as 2030-01-31T18:00:00Z, got {describe(value)}"
        )
    return moment


Until = Annotated[
    AwareDatetime,
    BeforeValidator(_until),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


ONE_OR_MORE = _one_or_more
"""For fields that take a mapping or a list of mappings."""
