# SPDX-License-Identifier: Apache-2.0
"""Which workloads may run where, by labels, which are few where hosts are many.

As `controller.placement.place`, of which this is the form that one changed workload does not make
begin anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.core.model import Workload as PlacedWorkload
from controller.documents import Workload
from controller.placement import alternatives
from controller.records import Labels

LabelKey = tuple[tuple[str, str], ...]
Placed = tuple[PlacedWorkload, ...]
"""In the order of their identities."""


def label_key(labels: Labels) -> LabelKey:
    return tuple(sorted(labels.items()))


@dataclass(slots=True)
class Places:
    """placed: for each set of labels that some host has."""

    placed: dict[LabelKey, Placed] = field(default_factory=dict)
    _indexed: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    _by_label: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    _anywhere: set[str] = field(default_factory=set)

    def update(
        self,
        names: Iterable[str],
        workloads: Mapping[str, Workload],
        numbers: Mapping[str, int],
    ) -> set[LabelKey]:
        """Where these workloads make a difference, now that they have changed."""
        changed = set(names)
        for name in changed:
            self._index(name, workloads.get(name))
        touched: set[LabelKey] = set()
        ids = {numbers[name] for name in changed}
        for key, before in self.placed.items():
            labels = dict(key)
            kept = [w for w in before if w.identity not in ids]
            found = (_place(workloads[n], numbers[n], labels) for n in changed & workloads.keys())
            after = _ordered([*kept, *(w for w in found if w is not None)])
            if after != before:
                touched.add(key)
                self.placed[key] = after
        return touched

    def _index(self, name: str, workload: Workload | None) -> None:
        """By one label of each alternative, so that few have to be asked for a set of labels."""
        self._anywhere.discard(name)
        for label in self._indexed.pop(name, ()):
            self._by_label[label].discard(name)
        for match in workload.match if workload is not None else ():
            one = min(match.host.items(), default=None)
            (self._anywhere if one is None else self._by_label[one]).add(name)
            if one is not None:
                self._indexed.setdefault(name, set()).add(one)

    def learn(
        self, key: LabelKey, workloads: Mapping[str, Workload], numbers: Mapping[str, int]
    ) -> Placed:
        """Of a set of labels that may be new."""
        found = self.placed.get(key)
        if found is None:
            names = self._anywhere.union(*(self._by_label.get(label, ()) for label in key))
            labels = dict(key)
            placed = (_place(workloads[name], numbers[name], labels) for name in names)
            found = self.placed[key] = _ordered(w for w in placed if w is not None)
        return found

    def forget(self, keys: Iterable[LabelKey]) -> None:
        """No host has these labels any more."""
        for key in keys:
            self.placed.pop(key, None)


def _place(workload: Workload, number: int, labels: dict[str, str]) -> PlacedWorkload | None:
    match = alternatives(workload, labels)
    return PlacedWorkload(number, workload.name, workload.segment, match) if match else None


def _ordered(placed: Iterable[PlacedWorkload]) -> Placed:
    return tuple(sorted(placed, key=lambda workload: workload.identity))
