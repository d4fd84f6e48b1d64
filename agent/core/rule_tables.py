# SPDX-License-Identifier: Apache-2.0
"""The rules of a snapshot as tables for each (local, peer): entries of `rules` and `ranges`. Pure.

The kernel asks (local, peer) for exact port, range, whole protocol, then the same for any peer, and
takes the first hit. So everything is settled here: Deny over Allow, staged rules, wildcards of the
local side and, wherever a rule names a peer, the rules for any peer merged into that peer's table.
A table holds only the ports that its own rules touch; the rest falls through to the table of any
peer, and an entry that would repeat what is found there is left out.

Speed comes from sharing: identities under the same rules share one encoded table, and only the
eight bytes that name (local, peer) differ.

How many entries fit is `agent.core.compile`'s affair, which asks for one local at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from struct import Struct

from agent.core import segments
from agent.core.abi import RANGE_PREFIX_BITS, RULE_ENTRY, GenerationFlag, RuleAction, Scope
from agent.core.model import Action, Direction, Identity, Mode, Rule, Snapshot
from agent.core.policy import answerers
from agent.core.segments import Entries, Function, Ground, Resolve, Span, Strokes

_DENY, _ALLOW, _STAGED_DENY, _STAGED_ALLOW = range(4)
_HEAD = Struct("=II")
"""(local, peer), which all keys of one table share."""
_RULE_TAIL = Struct("=HBB")
_RANGE_FRONT = Struct("=I")
_RANGE_TAIL = Struct("=BB")
_NOTHING = bytes(RULE_ENTRY.size)
Indices = tuple[int, ...]
"""Rules of one snapshot, in ascending order of number."""


def modes(snapshot: Snapshot) -> dict[int, Mode]:
    """Of each local identity. The host's is Audit unless the policy says another."""
    return {Identity.HOST: Mode.AUDIT} | dict(snapshot.modes)


def _kind(rule: Rule) -> int:
    """The rule's place in a ground."""
    if rule.action is Action.DENY:
        return _STAGED_DENY if rule.staged else _DENY
    return _STAGED_ALLOW if rule.staged else _ALLOW


@dataclass(slots=True)
class _Side:
    """Rules, as indices in ascending order of number, of one local identity and direction."""

    wide: list[int] = field(default_factory=list)
    by_peer: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, index: int, peers: Iterable[int] | None) -> None:
        if peers is None:
            self.wide.append(index)
            return
        for peer in peers:
            self.by_peer[peer].append(index)


class RuleTables:
    """The one mutable thing here: `rules` and `ranges` as they grow.

    locals: the identities whose tables are wanted, each by `compile_local`. with_ranges: of those,
    the ones that have an entry of `ranges`.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.rules: dict[bytes, bytes] = {}
        self.ranges: dict[bytes, bytes] = {}
        self.flags = GenerationFlag(0)
        self.with_ranges: set[int] = set()
        self.locals = [local for local, mode in modes(snapshot).items() if mode is not Mode.OFF]
        self._rules = sorted(snapshot.rules, key=lambda rule: rule.number)
        self._kinds = [_kind(rule) for rule in self._rules]
        self._spans = [segments.spans(rule.ports) for rule in self._rules]
        self._answerers = answerers(snapshot)
        self._sides: dict[tuple[int, Direction], _Side] = defaultdict(_Side)
        self._functions: dict[Indices, Function] = {(): {}}
        self._encoded: dict[tuple[Indices, Indices], _Encoded] = {}
        self._sort_rules()

    def _sort_rules(self) -> None:
        known = frozenset(self.locals)
        for index, rule in enumerate(self._rules):
            if rule.action is not Action.LIFELINE:
                locals_: Iterable[int] = self.locals if rule.locals is None else rule.locals & known
                if rule.staged:
                    self.flags |= GenerationFlag.STAGED
            else:
                locals_ = () if rule.staged else (Identity.LIFELINE,)
            for local in locals_:
                self._sides[local, rule.direction].add(index, rule.peers)

    def compile_lifelines(self) -> None:
        for direction, flag in (
            (Direction.INGRESS, GenerationFlag.LIFELINES_IN),
            (Direction.EGRESS, GenerationFlag.LIFELINES_OUT),
        ):
            side = self._sides.get((Identity.LIFELINE, direction))
            if side is not None:
                self.flags |= flag
                self._compile_side(Identity.LIFELINE, direction, side, _lifeline_value)

    def compile_local(self, local: int) -> None:
        for direction in Direction:
            side = self._sides.get((local, direction))
            if side is None:
                continue
            self._compile_side(local, direction, side, _rule_value)
            if direction is Direction.EGRESS:
                self._compile_managed(local, side)

    def _compile_side(
        self, local: int, direction: Direction, side: _Side, resolve: Resolve
    ) -> None:
        wide = tuple(side.wide)
        if wide:
            self._put(local, Identity.NONE, self._table(direction, wide, (), resolve))
        for peer, found in side.by_peer.items():
            self._put(local, peer, self._table(direction, tuple(found), wide, resolve))

    def _table(
        self, direction: Direction, own: Indices, wide: Indices, resolve: Resolve
    ) -> _Encoded:
        found = self._encoded.get((own, wide))
        if found is None:
            entries = segments.encode(self._strokes(own), self._function(wide), resolve)
            found = self._encoded[own, wide] = _pack(entries, direction)
        return found

    def _function(self, indices: Indices) -> Function:
        found = self._functions.get(indices)
        if found is None:
            found = self._functions[indices] = segments.paint(self._strokes(indices))
        return found

    def _strokes(self, indices: Indices) -> Strokes:
        strokes: Strokes = {}
        for index in indices:
            rule, kind = self._rules[index], self._kinds[index]
            for protocol, first, last in self._spans[index]:
                strokes.setdefault(protocol, []).append((first, last, kind, rule.number))
        return strokes

    def _compile_managed(self, local: int, side: _Side) -> None:
        """Table of peer ID_MANAGED: what `policy.provisional` says."""
        strokes = self._managed_strokes(side)
        if strokes:
            wide = self._function(tuple(side.wide))
            entries = segments.encode(strokes, wide, _managed_value)
            self._put(local, Identity.MANAGED, _pack(entries, Direction.EGRESS))

    def _managed_strokes(self, side: _Side) -> Strokes:
        """Where somebody's own rules allow (Allow), and where they deny it to all (Deny)."""
        denied = self._with_own_deny(side)
        opened = self._opened(side, denied)
        blocked: list[Span] = []
        for peer in denied:
            blocked += self._judge_one(side.by_peer[peer], opened)
        strokes: Strokes = {}
        if denied == self._answerers:
            for protocol, first, last in _common(blocked, len(denied)):
                strokes.setdefault(protocol, []).append((first, last, _DENY, 1))
        for protocol, first, last in opened:
            strokes.setdefault(protocol, []).append((first, last, _ALLOW, 1))
        return strokes

    def _with_own_deny(self, side: _Side) -> frozenset[int]:
        denying = {
            peer
            for peer, found in side.by_peer.items()
            if any(self._kinds[index] == _DENY for index in found)
        }
        return self._answerers & denying

    def _opened(self, side: _Side, denied: frozenset[int]) -> set[Span]:
        """Ports that some answerer without a Deny of its own is allowed by name."""
        opened: set[Span] = set()
        seen: set[int] = set()
        for peer in side.by_peer.keys() & (self._answerers - denied):
            for index in side.by_peer[peer]:
                if index not in seen and self._kinds[index] == _ALLOW:
                    opened.update(self._spans[index])
                seen.add(index)
        return opened

    def _judge_one(self, found: list[int], opened: set[Span]) -> list[Span]:
        """Adds to `opened` what these rules allow; returns what they deny."""
        blocked: list[Span] = []
        for protocol, (starts, grounds) in self._function(tuple(found)).items():
            ends = [*starts[1:], segments.LAST_PORT + 1]
            for first, end, ground in zip(starts, ends, grounds, strict=True):
                if ground[_DENY]:
                    blocked.append((protocol, first, end - 1))
                elif ground[_ALLOW]:
                    opened.add((protocol, first, end - 1))
        return blocked

    def _put(self, local: int, peer: int, encoded: _Encoded) -> None:
        head = _HEAD.pack(local, peer)
        rules = self.rules
        for tail, value in encoded.rules:
            rules[head + tail] = value
        if encoded.ranges:
            self.with_ranges.add(local)
            for front, tail, value in encoded.ranges:
                self.ranges[front + head + tail] = value


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A table but for the (local, peer) in its keys."""

    rules: list[tuple[bytes, bytes]]
    ranges: list[tuple[bytes, bytes, bytes]]


def _pack(entries: Entries, direction: Direction) -> _Encoded:
    scope = int(Scope.EGRESS) if direction is Direction.EGRESS else 0
    whole_scope = scope | int(Scope.WHOLE)
    pack = _RULE_TAIL.pack
    exact, prefixes = entries
    return _Encoded(
        [
            (pack(port, protocol, whole_scope if whole else scope), value)
            for protocol, port, whole, value in exact
        ],
        [
            (
                _RANGE_FRONT.pack(RANGE_PREFIX_BITS + length),
                _RANGE_TAIL.pack(scope, protocol) + port.to_bytes(2, "big"),
                value,
            )
            for protocol, port, length, value in prefixes
        ],
    )


def _rule_value(own: Ground, wide: Ground) -> bytes:
    """Deny over Allow; and the staged rule that would turn the answer."""
    deny, allow, staged_deny, staged_allow = segments.merge(own, wide)
    if deny:
        return RULE_ENTRY.struct.pack(deny, 0, RuleAction.DENY, 0)
    if allow:
        turned = RuleAction.DENY if staged_deny else 0
        return RULE_ENTRY.struct.pack(allow, staged_deny, RuleAction.ALLOW, turned)
    if staged_allow and not staged_deny:
        return RULE_ENTRY.struct.pack(0, staged_allow, RuleAction.NONE, RuleAction.ALLOW)
    return _NOTHING


def _lifeline_value(own: Ground, wide: Ground) -> bytes:
    number = segments.merge(own, wide)[_ALLOW]
    return RULE_ENTRY.struct.pack(number, 0, RuleAction.LIFELINE, 0) if number else _NOTHING


def _managed_value(own: Ground, wide: Ground) -> bytes:
    """`own` is of `_managed_strokes`; what the table of any peer says already, it says itself."""
    if own[_DENY] and not wide[_DENY]:
        return _NOTHING
    if own[_ALLOW] and not wide[_DENY] and not wide[_ALLOW]:
        return RULE_ENTRY.struct.pack(0, 0, RuleAction.ALLOW, 0)
    return _rule_value(segments.NO_GROUND, wide)


def _common(spans: Iterable[Span], count: int) -> Iterator[Span]:
    """Where `count` of the spans overlap."""
    changes: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for protocol, first, last in spans:
        changes[protocol][first] += 1
        changes[protocol][last + 1] -= 1
    for protocol, found in changes.items():
        depth = 0
        places = sorted(found)
        for place, after in pairwise(places):
            depth += found[place]
            if depth == count:
                yield protocol, place, after - 1
