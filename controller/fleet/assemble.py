# SPDX-License-Identifier: Apache-2.0
"""The content of one placement class: hosts on which the same workloads may run, with the same
selectors. In two steps, because hosts come and go more often than rules change: what follows from
rules, and what follows from the hosts that these name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.core.content import SETTINGS_KEY, Entries, Key, Section, digest_of, section_bytes
from agent.core.model import Action, Identity, IPNetwork, Mode, Rule
from controller.fleet import entries as make
from controller.fleet.book import end_of
from controller.fleet.ground import RESERVED_NAMES, Ground, lone_rules
from controller.fleet.places import Placed
from controller.rules import HostRules, Statement, rules_from


@dataclass(frozen=True, slots=True)
class ClassKey:
    """What tells classes apart."""

    placed: Placed
    lone: bool
    """In quarantine."""

    @property
    def residents(self) -> frozenset[int]:
        return frozenset(workload.identity for workload in self.placed)


@dataclass(frozen=True, slots=True)
class Ruled:
    """What follows from rules. named: identities whose hosts must be known; everyone: all hosts.

    until: when the first of the documents in here holds no longer.
    """

    rules: Mapping[Key, bytes]
    networks: Mapping[Key, bytes]
    workloads: Mapping[Key, bytes]
    modes: Mapping[Key, bytes]
    network_names: Mapping[int, str]
    mentioned: frozenset[int]
    named: frozenset[int]
    everyone: bool
    until: int | None


def rule_class(key: ClassKey, ground: Ground, ends: Mapping[int, int]) -> Ruled:
    """ends: identity -> when what documents say of it holds no longer."""
    here = key.residents | {int(Identity.HOST)}
    touching = [ground.statements[name] for name in sorted(ground.touching(here))]
    if key.lone:
        touching = [s for s in touching if s.action is Action.LIFELINE]
    cidrs: set[IPNetwork] = set().union(*(s.peer.networks for s in touching))
    networks = ground.number(cidrs if key.lone else cidrs | ground.isolated.keys())
    written = rules_from(touching, here, networks, ground.rules)
    own = lone_rules() if key.lone else ground.quarantine_rules(key.residents, networks)
    return _ruled(key, ground, written, tuple(own), _until(key, touching, ends))


def _until(key: ClassKey, touching: Iterable[Statement], ends: Mapping[int, int]) -> int | None:
    found = [end for s in touching if (end := end_of(s.placed.document)) is not None]
    here = key.residents | {int(Identity.HOST)}
    found += [ends[identity] for identity in here if identity in ends]
    return min(found, default=None)


def _ruled(
    key: ClassKey, ground: Ground, written: HostRules, own: tuple[Rule, ...], until: int | None
) -> Ruled:
    named: set[int] = set()
    mentioned: set[int] = set()
    everyone = False
    for rule in written.rules:
        named |= rule.peers or frozenset()
        mentioned |= rule.locals or frozenset()
        everyone |= rule.peers is None and rule.action is not Action.LIFELINE
    for rule in own:
        mentioned |= (rule.peers or frozenset()) | (rule.locals or frozenset())
    every = {rule.number: make.rule_entry(rule) for rule in (*written.rules, *own)}
    return Ruled(
        rules=dict(sorted(every.items())),
        networks={n.identity: make.network_entry(n) for n in written.networks},
        workloads={w.identity: make.workload_entry(w) for w in key.placed},
        modes=_modes(key, ground),
        network_names={n.identity: str(n.cidr) for n in written.networks},
        mentioned=frozenset(mentioned | named),
        named=frozenset(named),
        everyone=everyone or int(Identity.HOST) in named,
        until=until,
    )


def _modes(key: ClassKey, ground: Ground) -> dict[Key, bytes]:
    """In quarantine is enforced, whatever the segment wants."""
    modes = {int(Identity.HOST): ground.default_mode}
    modes |= {w.identity: ground.mode(w.segment) for w in key.placed}
    for identity in modes if key.lone else ground.workloads & modes.keys():
        modes[identity] = Mode.ENFORCE
    return {identity: make.mode_entry(identity, mode) for identity, mode in sorted(modes.items())}


@dataclass(frozen=True, slots=True)
class Common:
    """What all contents have, with what it adds to digests; made once for all."""

    managed: Mapping[Key, bytes]
    settings: bytes
    managed_section: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Content:
    """What an audience enforces. peers: numbers. until: as in Ruled."""

    entries: Entries
    digest: bytes
    peers: frozenset[int]
    until: int | None


@dataclass(slots=True)
class Names:
    """Entries of names, each made once. known: of workloads."""

    known: Mapping[int, str]
    _made: dict[tuple[int, str], bytes] = field(default_factory=dict)

    def section(self, mentioned: Iterable[int], networks: Mapping[int, str]) -> dict[Key, bytes]:
        wanted = {i: self.known[i] for i in mentioned if i in self.known}
        wanted |= RESERVED_NAMES
        wanted.update(networks)
        return {identity: self._entry(identity, wanted[identity]) for identity in sorted(wanted)}

    def _entry(self, identity: int, name: str) -> bytes:
        found = self._made.get((identity, name))
        if found is None:
            found = self._made[identity, name] = make.name_entry(identity, name)
        return found


def assemble(
    ruled: Ruled,
    peers: Mapping[int, tuple[bytes, frozenset[int]]],
    names: Names,
    common: Common,
    hashes: dict[bytes, bytes],
) -> Content:
    """peers: those that the rules name, in order: entry and residents."""
    mentioned = ruled.mentioned.union(*(residents for _, residents in peers.values()))
    entries: dict[Section, Mapping[Key, bytes]] = {
        Section.WORKLOADS: ruled.workloads,
        Section.RULES: ruled.rules,
        Section.PEERS: {number: entry for number, (entry, _) in peers.items()},
        Section.NETWORKS: ruled.networks,
        Section.MODES: ruled.modes,
        Section.NAMES: names.section(mentioned, ruled.network_names),
        Section.MANAGED: common.managed,
        Section.SETTINGS: {SETTINGS_KEY: common.settings},
    }
    sections = (
        common.managed_section
        if section is Section.MANAGED
        else section_bytes(section, items, hashes)
        for section, items in entries.items()
    )
    return Content(entries, digest_of(sections), frozenset(peers), ruled.until)
