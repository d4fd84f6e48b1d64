# SPDX-License-Identifier: Apache-2.0
"""Whom a certificate is for: SPIFFE IDs of hosts, administrators and controllers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from controller.access_records import Role
from controller.fields import is_name, is_trust_domain

_SCHEME = "spiffe://"


class Kind(Enum):
    """The first part of the path."""

    HOST = "host"
    ADMINISTRATOR = "admin"
    CONTROLLER = "controller"


class NotASubject(ValueError):
    """The text names nobody whom we give certificates to."""


@dataclass(frozen=True, slots=True)
class Subject:
    """role: of administrators, else None."""

    trust_domain: str
    kind: Kind
    name: str
    role: Role | None = None

    def __str__(self) -> str:
        role = f"/{self.role.name.lower()}" if self.role else ""
        return f"{_SCHEME}{self.trust_domain}/{self.kind.value}{role}/{self.name}"


def parse(text: str) -> Subject:
    """Nothing but what `str` makes of a subject. Raises NotASubject."""
    if text.startswith(_SCHEME):
        match text.removeprefix(_SCHEME).split("/"):
            case [domain, "host", name]:
                return _checked(Subject(domain, Kind.HOST, name))
            case [domain, "controller", name]:
                return _checked(Subject(domain, Kind.CONTROLLER, name))
            case [domain, "admin", role, name] if role in _ROLES:
                return _checked(Subject(domain, Kind.ADMINISTRATOR, name, _ROLES[role]))
    raise NotASubject("expected the SPIFFE ID of a host, an administrator or a controller")


_ROLES = {role.name.lower(): role for role in Role}


def _checked(subject: Subject) -> Subject:
    if is_trust_domain(subject.trust_domain) and is_name(subject.name):
        return subject
    raise NotASubject("expected a trust domain and a name in the SPIFFE ID")
