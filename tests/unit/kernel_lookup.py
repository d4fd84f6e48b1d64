# SPDX-License-Identifier: Apache-2.0
"""The kernel's look-up over compiled entries, in Python: what tests ask that have no kernel."""

import ipaddress
import sys
from dataclasses import dataclass

from agent.core import abi
from agent.core.compile import KernelPolicy, compile_policy
from agent.core.model import (
    Action,
    Decision,
    Direction,
    Identity,
    IPAddress,
    Mode,
    Protocol,
    Reason,
    Rule,
    Verdict,
)
from agent.core.policy import Query
from tests.unit.snapshots import FAR, WEB, snapshot

IN, OUT = Direction.INGRESS, Direction.EGRESS
_ADDRESSES = """192.0.2.2 192.0.2.77 198.51.1.1 198.51.100.7 203.0.113.1 127.0.0.1 127.9.9.9
    ::1 2001:db8::5 fd00::2 0.0.0.0 ::ffff:192.0.2.2"""
ADDRESSES: list[IPAddress] = [ipaddress.ip_address(text) for text in _ADDRESSES.split()]


@dataclass(frozen=True)
class Kernel:
    """bpf/judge.h in Python: the same order of look-ups over the same bytes."""

    policy: KernelPolicy

    def _trie(self, table: dict[bytes, bytes], key: bytes, bits: int) -> bytes | None:
        number = int.from_bytes(key, "big")
        for length in range(bits, -1, -1):
            kept = (number >> (bits - length) << (bits - length)).to_bytes(bits // 8, "big")
            found = table.get(length.to_bytes(4, sys.byteorder) + kept)
            if found is not None:
                return found
        return None

    def classify(self, address: IPAddress) -> abi.AddressEntry:
        packed = abi.pack_address(address)
        found = self.policy.addresses.get(packed)
        if found is None and self.policy.flags & abi.GenerationFlag.PREFIXES:
            found = self._trie(self.policy.networks, packed, 128)
        if found is None:
            return abi.AddressEntry(Identity.WORLD, 0)
        return abi.ADDRESS_ENTRY.unpack(found)

    def by_address(self, address: IPAddress) -> int:
        """`identity_by_address`: the peer's identity where nothing else speaks for it."""
        entry = self.classify(address)
        if not entry.host:
            return entry.identity
        peer = self.policy.peers.get(entry.host.to_bytes(4, sys.byteorder))
        tags_off = peer is not None and abi.PEER.unpack(peer).flags & abi.PeerFlag.TAGS_OFF
        return entry.identity if tags_off else Identity.UNPROVEN

    def _for_peer(self, key: abi.RuleKey, ranges: bool) -> bytes | None:
        found = self.policy.rules.get(abi.RULE_KEY.pack(key))
        if found is None and ranges:
            port = key.port.to_bytes(2, "big")
            asked = abi.RangeKey(0, key.local, key.peer, key.scope, key.protocol, port)
            found = self._trie(self.policy.ranges, abi.RANGE_KEY.pack(asked)[4:], 96)
        if found is None:
            whole = key._replace(port=0, scope=key.scope | abi.Scope.WHOLE)
            found = self.policy.rules.get(abi.RULE_KEY.pack(whole))
        return found

    def find(self, key: abi.RuleKey, ranges: bool) -> abi.RuleEntry | None:
        found = self._for_peer(key, ranges)
        if found is None and key.peer:
            found = self._for_peer(key._replace(peer=0), ranges)
        return None if found is None else abi.RULE_ENTRY.unpack(found)

    def _key(self, query: Query, local: int, peer: int) -> abi.RuleKey:
        return abi.RuleKey(local, peer, query.port, query.protocol, int(query.direction))

    def mode(self, local: int) -> tuple[int, abi.ModeEntry]:
        for identity in (local, Identity.HOST):
            found = self.policy.modes.get(identity.to_bytes(4, sys.byteorder))
            if found is not None:
                return identity, abi.MODE_ENTRY.unpack(found)
        raise AssertionError("every policy has the mode of host")

    def lifeline(self, query: Query) -> int:
        flags = abi.GenerationFlag(self.policy.flags)
        asked = abi.GenerationFlag.LIFELINES_IN
        if query.direction is OUT:
            asked = abi.GenerationFlag.LIFELINES_OUT
        if asked not in flags:
            return 0
        by: int = Identity.WORLD
        if query.address is not None:
            by = self.classify(query.address).identity
        entry = self.find(
            self._key(query, Identity.LIFELINE, by), abi.GenerationFlag.RANGES in flags
        )
        return entry.rule if entry and entry.action == abi.RuleAction.LIFELINE else 0

    def entry(self, query: Query) -> abi.RuleEntry | None:
        """The entry that decides, or None before rules are asked."""
        local, mode = self.mode(query.local)
        if self.lifeline(query) or mode.mode == Mode.OFF:
            return None
        ranges = bool(mode.flags & abi.ModeFlag.RANGES)
        return self.find(self._key(query, local, query.peer), ranges)

    def decide(self, query: Query, *, provisional: bool = False) -> Decision:
        lifeline = self.lifeline(query)
        if lifeline:
            return Decision(Verdict.ALLOW, Reason.LIFELINE, lifeline)
        _, mode = self.mode(query.local)
        if mode.mode == Mode.OFF:
            return Decision(Verdict.ALLOW, Reason.MODE_OFF)
        refused = Verdict.REFUSE if mode.mode == Mode.ENFORCE else Verdict.AUDIT
        entry = self.entry(query)
        if entry and entry.action == abi.RuleAction.ALLOW:
            if provisional:
                return Decision(Verdict.ALLOW, Reason.PROVISIONAL)
            return Decision(Verdict.ALLOW, Reason.RULE_ALLOW, entry.rule)
        if entry and entry.action == abi.RuleAction.DENY:
            return Decision(refused, Reason.RULE_DENY, entry.rule)
        if query.same_host and query.local == query.peer:
            return Decision(Verdict.ALLOW, Reason.SELF)
        return Decision(refused, Reason.NO_RULE)

    def provisional(self, local: int, protocol: Protocol, port: int) -> Decision:
        query = Query(OUT, protocol, local, Identity.MANAGED, port)
        return self.decide(query, provisional=True)

    def staged(self, query: Query) -> tuple[int, Action] | None:
        entry = self.entry(query)
        if entry is None or not entry.staged:
            return None
        deny = entry.staged_action == abi.RuleAction.DENY
        return entry.staged, Action.DENY if deny else Action.ALLOW


def compiled(*rules: Rule, modes: dict[int, Mode] | None = None) -> Kernel:
    return Kernel(compile_policy(snapshot(*rules, modes=modes)))


def ask(
    kernel: Kernel,
    port: int,
    *,
    local: int = WEB,
    peer: int = FAR,
    direction: Direction = OUT,
    protocol: Protocol = Protocol.TCP,
    address: str | None = None,
    same_host: bool = False,
) -> tuple[Verdict, Reason, int]:
    where = None if address is None else ipaddress.ip_address(address)
    found = kernel.decide(Query(direction, protocol, local, peer, port, where, same_host))
    return found.verdict, found.reason, found.rule


def allowed(number: int) -> tuple[Verdict, Reason, int]:
    return Verdict.ALLOW, Reason.RULE_ALLOW, number


def denied(number: int) -> tuple[Verdict, Reason, int]:
    return Verdict.REFUSE, Reason.RULE_DENY, number


NO_RULE = (Verdict.REFUSE, Reason.NO_RULE, 0)
