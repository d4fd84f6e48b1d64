# SPDX-License-Identifier: Apache-2.0
"""Random policies over a small fixed world, as the documents that an operator would write.

Small on purpose: few workloads, ports and networks, so that rules overlap, contradict and mask each
other all the time. Everything comes from one `random.Random`; the same seed is the same policy.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

Document = dict[str, Any]

WORKLOADS: dict[str, str | None] = {"web": "a", "api": "a", "db": "b", "cache": "b", "both": None}
"""Name, which is its unit's, too -> the only host where it may run, if there is one."""
SEGMENTS = ("front", "data", "core")
PORTS = (1, *range(8000, 8010), 65535)
"""What is served: both ends of the port space, and neighbours for the edges of ranges."""
_EDGES = (1, 2, 7999, *range(8000, 8010), 8011, 9000, 65534, 65535)
CIDRS = (
    "192.0.2.0/24",
    "192.0.2.0/30",
    "192.0.2.2/31",
    "192.0.2.3/32",
    "192.0.2.2/32",
    "198.51.100.0/24",
    "127.0.0.0/8",
    "0.0.0.0/0",
    "fd00::/64",
    "fd00::3/128",
    "fd00::2/127",
    "::1/128",
    "::/0",
)
_LABELS = {"app": ("shop", "bank"), "tier": ("one", "two")}


class Writer:
    """Writes one policy after the other."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def policy(self) -> str:
        """YAML, of which JSON is a part."""
        rng = self._rng
        documents = [self._segment(name) for name in (*SEGMENTS, "default")]
        kept = [name for name in WORKLOADS if rng.random() < 0.93]
        documents += [self._workload(name) for name in kept]
        documents += [self._rule("Allow", f"allow-{i}", kept) for i in range(rng.randint(4, 10))]
        documents += [self._rule("Deny", f"deny-{i}", kept) for i in range(rng.randint(0, 4))]
        documents += [self._lifeline(i) for i in range(rng.choice((0, 0, 0, 1)))]
        return "\n---\n".join(json.dumps(document) for document in documents) + "\n"

    def _segment(self, name: str) -> Document:
        mode = self._rng.choices(("enforce", "audit", "off"), (75, 17, 8))[0]
        return {"kind": "Segment", "name": name, "mode": mode}

    def _workload(self, name: str) -> Document:
        host = WORKLOADS[name]
        match: Document = {"unit": f"{name}.service"}
        if host is not None:
            match["host"] = {"role": host}
        labels = {key: self._rng.choice(values) for key, values in _LABELS.items()}
        return {
            "kind": "Workload",
            "name": name,
            "segment": self._rng.choice(SEGMENTS),
            "labels": labels,
            "match": [match],
        }

    def _rule(self, kind: str, name: str, workloads: Sequence[str]) -> Document:
        """One side at least names what runs on a managed host; the other may be anything."""
        rng = self._rng
        sides = [self._processes(workloads), self._anybody(workloads)]
        rng.shuffle(sides)
        document = {
            "kind": kind,
            "name": name,
            "from": sides[0],
            "to": sides[1],
            "ports": self._ports(narrow=kind == "Deny"),
        }
        if rng.random() < 0.18:
            document["mode"] = "audit"
        return document

    def _lifeline(self, number: int) -> Document:
        rng = self._rng
        peer = rng.choice([{"world": True}, {"any": True}, *({"cidr": c} for c in CIDRS)])
        return {
            "kind": "Lifeline",
            "name": f"lifeline-{number}",
            "direction": rng.choice(("in", "out")),
            "peer": peer,
            "ports": self._ports(narrow=True),
        }

    def _processes(self, workloads: Sequence[str]) -> list[Document]:
        rng = self._rng
        if rng.random() < 0.2:
            return [{"any": True}]
        kinds: list[Document] = [
            {"segment": rng.choice((*SEGMENTS, "default"))},
            {"labels": {key: rng.choice(values) for key, values in rng.sample(_ITEMS, 1)}},
        ]
        if workloads:
            kinds += [{"workload": rng.choice(workloads)}] * 2
        return rng.sample(kinds, rng.choice((1, 1, 2)))

    def _anybody(self, workloads: Sequence[str]) -> list[Document]:
        rng = self._rng
        if rng.random() < 0.6:
            return self._processes(workloads)
        kinds: list[Document] = [{"world": True}, {"unproven": True}]
        kinds += [{"cidr": cidr} for cidr in rng.sample(CIDRS, 3)]
        return rng.sample(kinds, rng.choice((1, 1, 2)))

    def _ports(self, *, narrow: bool) -> list[str]:
        rng = self._rng
        if rng.random() < (0.1 if narrow else 0.25):
            return [rng.choice(("any", "tcp/*", "udp/*"))]
        return [self._port() for _ in range(rng.randint(1, 3))]

    def _port(self) -> str:
        rng = self._rng
        protocol = rng.choice(("tcp", "tcp", "tcp", "udp"))
        if rng.random() < 0.35:
            return f"{protocol}/{rng.choice(PORTS)}"
        first, last = sorted(rng.sample(_EDGES, 2))
        return f"{protocol}/{first}-{last}"


_ITEMS = sorted(_LABELS.items())
