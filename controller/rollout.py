# SPDX-License-Identifier: Apache-2.0
"""How far each version has come: answers of hosts in, counts out. Pure.

This controller knows its own streams at once; of the others' hosts it gets what the store has.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from controller.records import Seen

VERSIONS = 64
"""Of which it is remembered whom they changed: half a MiB each where that is ten thousand hosts."""
SHOWN = 100
_NEVER = Seen()

Order = tuple[int, int]
"""(store_epoch, version)."""


class Standing(Enum):
    """Where a host is with a version."""

    ENFORCED = "enforced"
    PENDING = "pending"
    REFUSED = "refused"
    ABSENT = "absent"


@dataclass(slots=True)
class _Live:
    """A host with a stream here."""

    held: Order = (0, 0)
    refused: Order = (0, 0)
    message: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """refusals: (host, sentence), the first of them."""

    version: int
    hosts: int = 0
    enforced: int = 0
    pending: int = 0
    refused: int = 0
    absent: int = 0
    refusals: tuple[tuple[str, str], ...] = ()

    @property
    def done(self) -> bool:
        return not self.pending


@dataclass(slots=True)
class Rollout:
    """changes: grows with every answer, so that who watches can see whether to look again."""

    changes: int = 0
    _live: dict[str, _Live] = field(default_factory=dict)
    _touched: OrderedDict[int, frozenset[str]] = field(default_factory=OrderedDict)

    def note_version(self, version: int, hosts: Iterable[str]) -> None:
        """It changes the policy of these hosts."""
        self._touched[version] = self._touched.get(version, frozenset()) | frozenset(hosts)
        while len(self._touched) > VERSIONS:
            self._touched.popitem(last=False)
        self.changes += 1

    def connected(self, host: str, held: Order) -> None:
        """Its stream is here, and that is confirmed on it."""
        self._live[host] = _Live(held)
        self.changes += 1

    def gone(self, host: str) -> None:
        if self._live.pop(host, None) is not None:
            self.changes += 1

    def enforced(self, host: str, held: Order) -> None:
        live = self._live.setdefault(host, _Live())
        live.held = max(live.held, held)
        self.changes += 1

    def refused(self, host: str, version: Order, message: str) -> None:
        live = self._live.setdefault(host, _Live())
        live.refused, live.message = version, message
        self.changes += 1

    def hosts(self, version: int) -> frozenset[str] | None:
        """Whom it changes, or a step of the compiler that it was part of; None: nobody here
        remembers."""
        if version in self._touched:
            return self._touched[version]
        later = [known for known in self._touched if known > version]
        return self._touched[min(later)] if len(later) < len(self._touched) else None

    def elsewhere(self, hosts: Iterable[str]) -> frozenset[str]:
        """Those without a stream here."""
        return frozenset(hosts) - self._live.keys()

    def count(self, version: int, wanted: Mapping[str, Order], seen: Mapping[str, Seen]) -> Counts:
        """wanted: what each host has to hold, which is older for one that came to policy that was
        there. seen: what the store has of those without a stream here."""
        numbers = dict.fromkeys(Standing, 0)
        refusals: list[tuple[str, str]] = []
        enforced = 0  # most of them, most of the time
        for host, order in wanted.items():
            live = self._live.get(host)
            if live is not None and live.held >= order:
                enforced += 1
                continue
            standing, message = _standing(order, live, seen.get(host, _NEVER))
            numbers[standing] += 1
            if standing is Standing.REFUSED:
                refusals.append((host, message))
        numbers[Standing.ENFORCED] += enforced
        return Counts(
            version=version,
            hosts=sum(numbers.values()),
            enforced=numbers[Standing.ENFORCED],
            pending=numbers[Standing.PENDING],
            refused=numbers[Standing.REFUSED],
            absent=numbers[Standing.ABSENT],
            refusals=tuple(sorted(refusals)[:SHOWN]),
        )


def _standing(version: Order, live: _Live | None, seen: Seen) -> tuple[Standing, str]:
    absent = live is None and not seen.controller
    if live is None:
        refused = (seen.store_epoch, seen.refused_version)
        live = _Live((seen.store_epoch, seen.version), refused, seen.refused)
    if live.held >= version:
        return Standing.ENFORCED, ""
    if live.refused >= version:
        return Standing.REFUSED, live.message
    return (Standing.ABSENT if absent else Standing.PENDING), ""
