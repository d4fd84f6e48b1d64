# SPDX-License-Identifier: Apache-2.0
"""Functions of ports: rules painted over the port space, and their smallest encoding.

`agent.core.rule_tables` asks two things here: which rules speak of which ports (`paint`), and with
which exact entries, prefixes and whole-protocol entry a table says that (`encode`). Nothing here
knows identities or bytes of keys. Ports are 0 to 65535, both ends included.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from agent.core.model import PortRange, Protocol

LAST_PORT = 65535

Ground = tuple[int, int, int, int]
"""Smallest number of the Deny, Allow, staged Deny and staged Allow rules here; 0 for none."""
NO_GROUND: Ground = (0, 0, 0, 0)
Span = tuple[int, int, int]
"""Protocol, first port, last port."""
Stroke = tuple[int, int, int, int]
"""First port, last port, place in the ground, rule number."""
Strokes = dict[int, list[Stroke]]
"""By protocol, in ascending order of rule number."""
Segments = tuple[list[int], list[Ground]]
"""Where segments start, the first at 0, and their grounds."""
Function = dict[int, Segments]
"""By protocol; absent where nothing speaks of it."""
_UNTOUCHED: Segments = ([0], [NO_GROUND])
EVERYTHING: tuple[Span, ...] = tuple((int(protocol), 0, LAST_PORT) for protocol in Protocol)


class Piece(NamedTuple):
    """A segment with the value it should answer and the one that wider entries answer anyway."""

    first: int
    last: int
    value: bytes
    below: bytes


Exact = tuple[int, int, bool, bytes]
"""An entry of `rules`: protocol, port, whether it stands for the whole protocol, value."""
Prefix = tuple[int, int, int, bytes]
"""An entry of `ranges`: protocol, port, how many of its bits count (0 to 15), value."""
Entries = tuple[list[Exact], list[Prefix]]
Resolve = Callable[[Ground, Ground], bytes]
"""What a table answers for the ground of its own rules and that of the rules for any peer."""


def spans(ports: tuple[PortRange, ...]) -> tuple[Span, ...]:
    """The ports of a rule; protocols without ports are always whole."""
    if not ports:
        return EVERYTHING
    return tuple(
        (int(p.protocol), 0, LAST_PORT)
        if p.protocol is Protocol.OTHER
        else (int(p.protocol), p.first, p.last)
        for p in ports
    )


def paint(strokes: Strokes) -> Function:
    """Each segment's ground. Strokes come in ascending order of rule number, so the first stays."""
    return {protocol: _paint(found) for protocol, found in strokes.items()}


def _paint(strokes: list[Stroke]) -> Segments:
    points = {0}
    for first, last, _, _ in strokes:
        points.add(first)
        points.add(last + 1)
    points.discard(LAST_PORT + 1)
    starts = sorted(points)
    place = {start: index for index, start in enumerate(starts)}
    cells = [[0, 0, 0, 0] for _ in starts]
    # free[kind][i]: where to look for the first cell from i on that `kind` has not painted yet, so
    # that many wide rules cost no more than few.
    free = [list(range(len(starts) + 1)) for _ in range(4)]
    for first, last, kind, number in strokes:
        end = place.get(last + 1, len(starts))
        index = _find(free[kind], place[first])
        while index < end:
            cells[index][kind] = number
            free[kind][index] = index + 1
            index = _find(free[kind], index)
    return starts, [(cell[0], cell[1], cell[2], cell[3]) for cell in cells]


def _find(free: list[int], index: int) -> int:
    while free[index] != index:
        free[index] = free[free[index]]
        index = free[index]
    return index


def ground_at(function: Function, protocol: int, port: int) -> Ground:
    found = function.get(protocol)
    if found is None:
        return NO_GROUND
    return found[1][bisect_right(found[0], port) - 1]


def merge(one: Ground, other: Ground) -> Ground:
    """Of both, the smaller number of each kind."""
    if one is NO_GROUND:
        return other
    if other is NO_GROUND:
        return one
    a, b, c, d = one
    e, f, g, h = other
    return (
        min(a, e) if a and e else a or e,
        min(b, f) if b and f else b or f,
        min(c, g) if c and g else c or g,
        min(d, h) if d and h else d or h,
    )


def encode(own: Strokes, wide: Function, resolve: Resolve) -> Entries:
    """Entries of a table whose misses are answered by the table of `wide`."""
    exact: list[Exact] = []
    prefixes: list[Prefix] = []
    for protocol, strokes in own.items():
        if all(stroke[0] == stroke[1] for stroke in strokes):
            exact += _encode_singles(protocol, strokes, wide, resolve)
        else:
            _encode_segments(protocol, strokes, (wide, resolve), (exact, prefixes))
    return exact, prefixes


def _encode_singles(
    protocol: int, strokes: list[Stroke], wide: Function, resolve: Resolve
) -> Iterator[Exact]:
    """The common case, without a partition of the port space."""
    cells: dict[int, list[int]] = {}
    for port, _, kind, number in strokes:
        cell = cells.setdefault(port, [0, 0, 0, 0])
        cell[kind] = cell[kind] or number
    for port, (deny, allow, staged_deny, staged_allow) in cells.items():
        under = ground_at(wide, protocol, port)
        value = resolve((deny, allow, staged_deny, staged_allow), under)
        if value != resolve(NO_GROUND, under):
            yield protocol, port, False, value


def _encode_segments(
    protocol: int,
    strokes: list[Stroke],
    below: tuple[Function, Resolve],
    out: Entries,
) -> None:
    wide, resolve = below
    exact, prefixes = out
    own = _paint(strokes)
    pieces = list(_joined(_pieces(protocol, own, wide, resolve)))
    whole = _cheapest_whole(pieces) if _touched(own) > LAST_PORT // 2 else None
    if whole is not None:
        exact.append((protocol, 0, True, whole))
    for piece in pieces:
        if piece.value != (piece.below if whole is None else whole):
            _write(protocol, piece, exact, prefixes)


def _pieces(protocol: int, own: Segments, wide: Function, resolve: Resolve) -> Iterator[Piece]:
    """Segments in ascending order: all of them if the table touches most ports, else the touched.

    A whole-protocol entry, which must say what the untouched ports answer too, pays only then.
    """
    starts, grounds = own
    wide_starts, wide_grounds = wide.get(protocol, _UNTOUCHED)
    everything = _touched(own) > LAST_PORT // 2
    index = 0
    for first, end, ground in zip(starts, [*starts[1:], LAST_PORT + 1], grounds, strict=True):
        if ground == NO_GROUND and not everything:
            continue
        index = bisect_right(wide_starts, first, index) - 1
        while first < end:
            after = wide_starts[index + 1] if index + 1 < len(wide_starts) else LAST_PORT + 1
            under = wide_grounds[index]
            below = resolve(NO_GROUND, under)
            yield Piece(first, min(after, end) - 1, resolve(ground, under), below)
            first = after
            index += 1


def _touched(own: Segments) -> int:
    starts, grounds = own
    ends = [*starts[1:], LAST_PORT + 1]
    return sum(e - s for s, e, g in zip(starts, ends, grounds, strict=True) if g != NO_GROUND)


def _joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Neighbours that say the same become one, except single ports: a hash beats a trie."""
    held: Piece | None = None
    for piece in pieces:
        if held is not None and _may_join(held, piece):
            held = Piece(held.first, piece.last, held.value, held.below)
            continue
        if held is not None:
            yield held
        held = piece
    if held is not None:
        yield held


def _may_join(one: Piece, other: Piece) -> bool:
    return (
        one[2:] == other[2:]
        and one.last + 1 == other.first
        and not (_single(one) and _single(other))
    )


def _single(piece: Piece) -> bool:
    return piece.first == piece.last


def _cheapest_whole(pieces: list[Piece]) -> bytes | None:
    """The value that a whole-protocol entry should have; None if none is cheaper.

    Prefixes count before entries: a trie costs several hash look-ups.
    """
    by_value: dict[bytes, tuple[int, int]] = {}
    total = without = (0, 0)
    for piece in pieces:
        cost = _cost(piece)
        total = _sum(total, cost)
        by_value[piece.value] = _sum(by_value.get(piece.value, (0, 0)), cost)
        if piece.value != piece.below:
            without = _sum(without, cost)
    best: bytes | None = None
    for value, saved in by_value.items():
        cost = (total[0] - saved[0], total[1] - saved[1] + 1)
        if cost < without:
            best, without = value, cost
    return best


def _sum(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def _cost(piece: Piece) -> tuple[int, int]:
    """Prefixes, and entries in all."""
    if _single(piece):
        return 0, 1
    lengths = [length for _, length in prefixes_of(piece.first, piece.last)]
    return sum(length < 16 for length in lengths), len(lengths)


def _write(protocol: int, piece: Piece, exact: list[Exact], prefixes: list[Prefix]) -> None:
    if piece.first == 0 and piece.last == LAST_PORT:
        exact.append((protocol, 0, True, piece.value))
        return
    for port, length in prefixes_of(piece.first, piece.last):
        if length == 16:
            exact.append((protocol, port, False, piece.value))
        else:
            prefixes.append((protocol, port, length, piece.value))


def prefixes_of(first: int, last: int) -> Iterator[tuple[int, int]]:
    """The fewest (port, bits) that cover exactly these ports."""
    while first <= last:
        size = first & -first or LAST_PORT + 1
        while size > last - first + 1:
            size >>= 1
        yield first, 17 - size.bit_length()
        first += size
