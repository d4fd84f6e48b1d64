# SPDX-License-Identifier: Apache-2.0
"""Could one process match two alternatives equally well? Pure.

Answered without looking at any process, so "perhaps" counts as yes: two workloads that may tie must
be told apart in the policy, and not by chance on some host. Alternatives are told apart for sure
where both ask for the same kind of fact and no process can have both: another path, another
content, another unit, another user.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase

from agent.core.attest import specificity
from agent.core.containers import split_pattern
from agent.core.model import Selector

_GLOB = re.compile(r"[*?[]")
_ID = re.compile(r"[0-9a-f]{12,64}\Z")
_PRINTABLE = [chr(code) for code in range(32, 127)]
_STAR = "*"
_ROOT = {"root": "0"}


def may_tie(one: Selector, other: Selector) -> bool:
    """Whether both are equally specific and some process could match both."""
    return specificity(one) == specificity(other) and not _apart(one, other)


def bucket(selector: Selector) -> str | None:
    """Alternatives in different buckets cannot tie; None is in all of them."""
    if selector.sha256 is not None:
        return f"sha256={selector.sha256}"
    if selector.exe is not None:
        return f"exe={selector.exe}"
    unit = selector.unit
    if unit is not None and not _GLOB.search(unit) and not unit.endswith(".slice"):
        return f"unit={unit}"
    return None


def _apart(one: Selector, other: Selector) -> bool:
    tests: dict[str, Callable[[str, str], bool]] = {
        "sha256": str.__ne__,
        "exe": str.__ne__,
        "unit": _units_apart,
        "container": _containers_apart,
        "cgroup": lambda a, b: not globs_meet(a, b),
        "user": _owners_apart,
        "group": _owners_apart,
    }
    for name, apart in tests.items():
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine is not None and theirs is not None and apart(mine, theirs):
            return True
    return False


def _owners_apart(one: str, other: str) -> bool:
    """A name and a number may be the same user's; only of root's are both known."""
    one, other = _ROOT.get(one, one), _ROOT.get(other, other)
    if "0" in (one, other):
        return one != other
    return one != other and one.isdigit() == other.isdigit()


def _units_apart(one: str, other: str) -> bool:
    """A process has one unit, and is in the slices above it."""
    if globs_meet(one, other):
        return False
    slices = [globs_meet(pattern, "*.slice") for pattern in (one, other)]
    if not any(slices):
        return True
    if not all(slices) or _GLOB.search(one + other):
        return False
    short, long = sorted((one.removesuffix(".slice"), other.removesuffix(".slice")), key=len)
    return not long.startswith(f"{short}-")  # a-b.slice lies in a.slice


def _containers_apart(one: str, other: str) -> bool:
    """Names with names, ids with ids, images with images; else it may be the same container."""
    (kind, mine), (other_kind, theirs) = split_pattern(one), split_pattern(other)
    if "image" in (kind, other_kind) and kind != other_kind:
        return False
    if not kind and not other_kind and _is_id(mine) != _is_id(theirs):
        return False
    if kind and other_kind and kind != other_kind:
        return False
    if _is_id(mine) and _is_id(theirs):
        return not (mine.startswith(theirs) or theirs.startswith(mine))
    return not globs_meet(mine, theirs)


def _is_id(text: str) -> bool:
    return bool(_ID.match(text))


def globs_meet(one: str, other: str) -> bool:
    """Whether some text matches both patterns, as fnmatch.fnmatchcase understands them."""
    mine, theirs = _tokens(one), _tokens(other)
    reachable = {(0, 0)}
    pending = [(0, 0)]
    while pending:
        i, j = pending.pop()
        if i == len(mine) and j == len(theirs):
            return True
        for step in _steps(mine, theirs, i, j):
            if step not in reachable:
                reachable.add(step)
                pending.append(step)
    return False


def _steps(mine: list[str], theirs: list[str], i: int, j: int) -> list[tuple[int, int]]:
    """Where both may stand after one more character, or after a star that takes none."""
    a = mine[i] if i < len(mine) else ""
    b = theirs[j] if j < len(theirs) else ""
    steps: list[tuple[int, int]] = []
    if a == _STAR:
        steps.append((i + 1, j))
        if b and b != _STAR:
            steps.append((i, j + 1))
    if b == _STAR:
        steps.append((i, j + 1))
        if a and a != _STAR:
            steps.append((i + 1, j))
    if a and b and _STAR not in (a, b) and _share(a, b):
        steps.append((i + 1, j + 1))
    return steps


def _share(one: str, other: str) -> bool:
    """Whether some character matches both: each is a character, ? or [...]."""
    if len(one) == 1 and one != "?":
        return fnmatchcase(one, other)
    if len(other) == 1 and other != "?":
        return fnmatchcase(other, one)
    if one[:2] == "[!" or other[:2] == "[!":
        return True
    return any(fnmatchcase(c, one) and fnmatchcase(c, other) for c in _PRINTABLE)


def _tokens(pattern: str) -> list[str]:
    """Characters, "?", "*" and whole "[...]"."""
    tokens: list[str] = []
    at = 0
    while at < len(pattern):
        end = at + 1
        if pattern[at] == "[":
            # A "]" right behind "[" or "[!" is one of its characters.
            first = at + 2 if pattern[at + 1 : at + 2] == "!" else at + 1
            closing = pattern.find("]", first + 1)
            if closing >= 0:
                end = closing + 1
        token = pattern[at:end]
        if not (token == _STAR and tokens and tokens[-1] == _STAR):
            tokens.append("[[]" if token == "[" else token)
        at = end
    return tokens
