# SPDX-License-Identifier: Apache-2.0
"""The numbers behind names: workloads' identities, hosts, rules, networks, and the revision.

A number is given once and never again: a name that is gone keeps it, so that a tag, a counter or a
log line of last week still means what it meant. Losing this file means handing all numbers out anew
and every host's policy with them; it belongs into the backup.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.core.model import FIRST_NETWORK_IDENTITY, FIRST_WORKLOAD_IDENTITY, STRANGER

FORMAT = 1
FIRST_RESERVED_RULE = 0xFFFFFF00
"""Rules that no document has, such as quarantine's, are numbered from here."""
FIRST_RESERVED_NETWORK = 0xFF0000
"""Likewise: addresses of hosts in quarantine."""
FIRST = {
    "workloads": FIRST_WORKLOAD_IDENTITY,
    "hosts": 1,
    "rules": 1,
    "networks": FIRST_NETWORK_IDENTITY,
}
LIMIT = {
    "workloads": FIRST_NETWORK_IDENTITY,
    "hosts": STRANGER,
    "rules": FIRST_RESERVED_RULE,
    "networks": FIRST_RESERVED_NETWORK,
}
"""First number that is too large."""


class AllocationsError(Exception):
    """The state cannot be used; the sentence says why and what to do."""


@dataclass(frozen=True, slots=True)
class Allocations:
    """revision: of the last compile; the next one is larger.

    rules: keyed `kind/name/direction`, such as `Allow/web-to-db/ingress`.
    networks: keyed by CIDR. A controller's only: snapshot files number them anew.
    """

    revision: int = 0
    workloads: Mapping[str, int] = field(default_factory=dict)
    hosts: Mapping[str, int] = field(default_factory=dict)
    rules: Mapping[str, int] = field(default_factory=dict)
    networks: Mapping[str, int] = field(default_factory=dict)

    def extended(
        self,
        workloads: Iterable[str],
        hosts: Iterable[str],
        rules: Iterable[str],
        networks: Iterable[str] = (),
    ) -> Allocations:
        """The next revision's, with a number for every name. Raises AllocationsError."""
        return Allocations(
            revision=self.revision + 1,
            workloads=_extend("workloads", self.workloads, workloads),
            hosts=_extend("hosts", self.hosts, hosts),
            rules=_extend("rules", self.rules, rules),
            networks=_extend("networks", self.networks, networks),
        )

    def encode(self) -> str:
        """As JSON, for people to diff and machines to keep."""
        document = {
            "format": FORMAT,
            "revision": self.revision,
            **{kind: dict(getattr(self, kind)) for kind in FIRST},
        }
        return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _extend(kind: str, given: Mapping[str, int], names: Iterable[str]) -> Mapping[str, int]:
    """New names take the next numbers in the order of the alphabet, so that order is no input."""
    numbers = dict(given)
    following = max(numbers.values(), default=FIRST[kind] - 1) + 1
    for name in sorted(set(names) - numbers.keys()):
        if following >= LIMIT[kind]:
            raise AllocationsError(
                f"no numbers left for {kind}: all up to {LIMIT[kind] - 1} were given out once; "
                "start with a new state folder and hand every host its new snapshot"
            )
        numbers[name] = following
        following += 1
    return numbers


def decode(text: str) -> Allocations:
    """Read `encode`'s text. Raises AllocationsError."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AllocationsError(f"not JSON ({error}); restore it from a backup") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise AllocationsError(f"expected the format {FORMAT} of this version")
    revision = document.get("revision")
    if type(revision) is not int or revision < 0:
        raise AllocationsError("expected revision to be a number from 0; restore it from a backup")
    document.setdefault("networks", {})  # files of older versions have none
    numbers = {kind: _numbers(kind, document.get(kind)) for kind in FIRST}
    return Allocations(revision, **numbers)


def _numbers(kind: str, value: object) -> Mapping[str, int]:
    if not isinstance(value, dict):
        raise AllocationsError(f"expected {kind} to be a mapping; restore it from a backup")
    for name, number in value.items():
        if type(number) is not int or not FIRST[kind] <= number < LIMIT[kind]:
            raise AllocationsError(
                f"expected {kind}.{name} to be a number from {FIRST[kind]} to {LIMIT[kind] - 1}; "
                "restore it from a backup"
            )
    if len(set(value.values())) != len(value):
        raise AllocationsError(f"two names share one number in {kind}; restore it from a backup")
    return value
