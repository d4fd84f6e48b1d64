# SPDX-License-Identifier: Apache-2.0
"""What the compiler of a fleet keeps of a change while it works, and what it says of it after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.core.content import Section
from agent.core.model import Identity, IPAddress
from controller.fleet.assemble import ClassKey, Content, Ruled


@dataclass(frozen=True, slots=True)
class HostRecordFields:
    """What a HostRecord says, but for the serialising."""

    store_epoch: int
    serial: int
    host: int
    name: str
    trust_domain: str
    audience: bytes
    addresses: tuple[IPAddress, ...]
    tags_off: bool
    nat: bool
    issued: int


@dataclass(frozen=True, slots=True)
class Touched:
    """What an update changed. audiences: whose content is another one now, new ones included.
    gone: that no host has any more. hosts: names, whose row changed, appeared or went.
    """

    audiences: frozenset[bytes] = frozenset()
    gone: frozenset[bytes] = frozenset()
    hosts: frozenset[str] = frozenset()


def compare(
    before: Mapping[bytes, Content], after: Mapping[bytes, Content], hosts: frozenset[str]
) -> Touched:
    changed = (
        audience
        for audience, content in after.items()
        if audience not in before
        or before[audience].digest != content.digest
        or before[audience].until != content.until
    )
    return Touched(frozenset(changed), frozenset(before.keys() - after.keys()), hosts)


@dataclass(slots=True)
class Class:
    ruled: Ruled
    content: Content | None = None
    """None: it must be put together anew."""


@dataclass(slots=True)
class Marks:
    """What the update at hand has touched, as identities; `every`: all classes' rules.

    common: what all contents have. local: on whose hosts rules must be made anew.
    shown: of hosts that appeared, changed or went as peers; hosts: whether there was any.
    named: that are called otherwise now.
    """

    every: bool = False
    common: bool = False
    local: set[int] = field(default_factory=set)
    shown: set[int] = field(default_factory=set)
    hosts: bool = False
    named: set[int] = field(default_factory=set)

    def touch_rules(self, key: ClassKey) -> bool:
        here = key.residents | {int(Identity.HOST)}
        return self.every or not here.isdisjoint(self.local)

    def touch_content(self, found: Class) -> bool:
        ruled, content = found.ruled, found.content
        assert content is not None, "asked of a content that is there"
        if self.common or (self.hosts and ruled.everyone):
            return True
        if not ruled.named.isdisjoint(self.shown):
            return True
        return not content.entries[Section.NAMES].keys().isdisjoint(self.named)
