# SPDX-License-Identifier: Apache-2.0
"""Content as entries, its digest, and the way from one content to the next. Pure.

Shared by both sides of the policy stream, so that the digest that the controller signs and the one
that an agent computes cannot differ by having been written twice. An entry is a serialised message
and never looked into here: what it says is agent.edge.content_codec's. The rules are those of
`Content` and `Delta` in proto/cordon/v1/policy.proto.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum

Key = int | bytes
"""An identity, a rule's or a host's number; for `managed` the address's bytes."""
SETTINGS_KEY = 0
DIGEST_BYTES = 32
MAX_ENTRIES = 100_000
MAX_MANAGED = 1_000_000

_CONTEXT = b"cordon content v1\n"


class Section(IntEnum):
    """Parts of a content, by their field's number."""

    WORKLOADS = 1
    RULES = 2
    PEERS = 3
    NETWORKS = 4
    MODES = 5
    NAMES = 6
    MANAGED = 7
    SETTINGS = 8

    @property
    def limit(self) -> int:
        """How many entries it may have."""
        if self is Section.SETTINGS:
            return 1
        return MAX_MANAGED if self is Section.MANAGED else MAX_ENTRIES


Entries = Mapping[Section, Mapping[Key, bytes]]
"""A section that is not there is empty. Order is of no matter: the digest sorts."""
Removals = Mapping[Section, Sequence[Key]]
EMPTY: Entries = {section: {} for section in Section}


class DeltaRefused(ValueError):
    """The delta does not fit what is held; the sentence says where."""


def order(key: Key) -> tuple[int, Key]:
    """The order of a section's keys: numbers ascending; addresses with the shorter first."""
    return (len(key), key) if isinstance(key, bytes) else (0, key)


def digest(entries: Entries, known: dict[bytes, bytes] | None = None) -> bytes:
    """The content's digest, 32 bytes.

    known: hashes of entries that the caller keeps from one content to the next, so that only what
    changed is hashed; filled here, and the caller's to bound.
    """
    hashes = {} if known is None else known
    return digest_of(section_bytes(s, entries.get(s, {}), hashes) for s in Section)


def digest_of(sections: Iterable[bytes]) -> bytes:
    """From `section_bytes` of all sections in order, for who has some of them already."""
    total = hashlib.sha256(_CONTEXT)
    for section in sections:
        total.update(section)
    return total.digest()


def section_bytes(
    section: Section, entries: Mapping[Key, bytes], known: dict[bytes, bytes]
) -> bytes:
    """What one section adds to the digest: number, count, the hashes in the order of keys."""
    head = section.to_bytes(1, "big") + len(entries).to_bytes(4, "big")
    ordered = (entries[key] for key in sorted(entries, key=order))
    return head + b"".join([known.get(entry) or _hash(entry, known) for entry in ordered])


def _hash(entry: bytes, known: dict[bytes, bytes]) -> bytes:
    known[entry] = found = hashlib.sha256(entry).digest()
    return found


def difference(old: Entries, new: Entries) -> tuple[Removals, Entries]:
    """What leads from `old` to `new`: keys to remove, then entries to put.

    Sections in which nothing differs are left out. Settings cannot go: every content has them.
    """
    removals: dict[Section, Sequence[Key]] = {}
    upserts: dict[Section, Mapping[Key, bytes]] = {}
    for section in Section:
        before, after = old.get(section, {}), new.get(section, {})
        if before is after:
            continue
        gone = sorted(before.keys() - after.keys(), key=order)
        put = {key: entry for key, entry in after.items() if before.get(key) != entry}
        assert not (gone and section is Section.SETTINGS), "a content without settings"
        if gone:
            removals[section] = gone
        if put:
            upserts[section] = put
    return removals, upserts


def apply(entries: Entries, removals: Removals, upserts: Entries) -> Entries:
    """What is held after a delta; `entries` stays as it is. Raises DeltaRefused."""
    result = {}
    for section in Section:
        before = entries.get(section, {})
        gone, put = removals.get(section, ()), upserts.get(section, {})
        result[section] = _apply_section(section, before, gone, put) if gone or put else before
    return result


def _apply_section(
    section: Section, before: Mapping[Key, bytes], gone: Iterable[Key], put: Mapping[Key, bytes]
) -> Mapping[Key, bytes]:
    after = dict(before)
    name = section.name.lower()
    for key in gone:
        if key in put:
            raise DeltaRefused(f"{name}: {show(key)} is both removed and put")
        if after.pop(key, None) is None:
            raise DeltaRefused(f"{name}: {show(key)} is to be removed and is not there")
    after.update(put)
    if len(after) > section.limit:
        raise DeltaRefused(f"{name}: {len(after)} entries are more than {section.limit}")
    return after


def show(key: Key) -> str:
    """A key in a sentence."""
    return key.hex() if isinstance(key, bytes) else str(key)
