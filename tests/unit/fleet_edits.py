# SPDX-License-Identifier: Apache-2.0
"""Any edit of a small fleet, for tests that compile it step by step."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st

from controller.records import FleetSettings, Target
from tests.unit.fleets import Rows, host, until
from tests.unit.policies import NOW

_LABELS = st.dictionaries(
    st.sampled_from(["role", "rack"]), st.sampled_from(["web", "db", "other"]), max_size=2
)
_NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
_WORKLOADS = st.sampled_from(["web", "db", "hermit", "extra"])
_SEGMENTS = st.sampled_from(["front", "data", "lone"])
_PEERS = st.sampled_from(
    ["{any: true}", "{world: true}", "{unproven: true}",
     "{cidr: 10.0.0.0/8}", "{cidr: 10.1.0.0/16}",
     "{cidr: 192.0.2.2/32}",
     "{segment: front}", "{segment: data}", "{segment: default}",
     "{workload: web}", "{workload: db}", "{labels: {app: shop}}", "{labels: {app: none}}"]
)  # fmt: skip
_RULES = st.sampled_from(["r1", "r2", "r3", "r4"])
Edit = Callable[[Rows], None]


def _end(draw: st.DrawFn) -> str:
    return until(NOW + draw(st.integers(1, 30))) if draw(st.integers(0, 4)) == 0 else ""


@st.composite
def rule_edits(draw: st.DrawFn) -> Edit:
    kind, name = draw(st.sampled_from(["Allow", "Deny"])), draw(_RULES)
    if draw(st.integers(0, 3)) == 0:
        return lambda made: made.drop(kind, name)
    source, target = draw(_PEERS), draw(_PEERS | st.just("{segment: front}"))
    mode = draw(st.sampled_from(["enforce", "audit"]))
    ports = draw(st.sampled_from(["tcp/1", "any", "tcp/8-9"]))
    if not any(word in source + target for word in ("any", "segment", "workload", "labels")):
        target = "{segment: data}"
    text = (
        f"kind: {kind}\nname: {name}\nfrom: {source}\nto: {target}\nports: [{ports}]\n"
        f"mode: {mode}\n{_end(draw)}"
    )
    return lambda made: made.put(text)


@st.composite
def workload_edits(draw: st.DrawFn) -> Edit:
    name, segment = draw(_WORKLOADS), draw(_SEGMENTS)
    if draw(st.integers(0, 3)) == 0:
        return lambda made: made.drop("Workload", name)
    labels = draw(_LABELS)
    text = (
        f"kind: Workload\nname: {name}\nsegment: {segment}\n"
        f"labels: {{app: {draw(st.sampled_from(['shop', 'none']))}}}\n"
        f"match: [{{unit: {name}.service, host: {labels}}}]\n{_end(draw)}".replace("'", "")
    )
    return lambda made: made.put(text)


@st.composite
def host_edits(draw: st.DrawFn) -> Edit:
    name = draw(_NAMES)
    if draw(st.integers(0, 4)) == 0:
        return lambda made: made.drop_host(name)
    number = ord(name) - ord("a") + 1
    flags = {flag: draw(st.booleans()) for flag in ("tags", "nat", "lost")}
    row = host(name, number, draw(_LABELS), **flags)
    return lambda made: made.put_host(row)


@st.composite
def other_edits(draw: st.DrawFn) -> Edit:
    kind = draw(st.sampled_from(["segment", "lifeline", "quarantine", "settings", "nothing"]))
    if kind == "segment":
        name = draw(_SEGMENTS | st.just("default"))
        mode = draw(st.sampled_from(["off", "audit", "enforce", ""]))
        text = f"kind: Segment\nname: {name}\nmode: {mode}\n{_end(draw)}"
        return lambda made: made.put(text) if mode else made.drop("Segment", name)
    if kind == "lifeline":
        peer = draw(st.sampled_from(["{any: true}", "{cidr: 10.1.2.0/24}", "{world: true}"]))
        text = (
            f"kind: Lifeline\nname: l\ndirection: in\npeer: {peer}\nports: [tcp/22]\n{_end(draw)}"
        )
        drop = draw(st.booleans())
        return lambda made: made.drop("Lifeline", "l") if drop else made.put(text)
    if kind == "quarantine":
        target = draw(st.builds(Target, host=_NAMES) | st.builds(Target, workload=_WORKLOADS))
        on = draw(st.booleans())
        return lambda made: made.quarantine(target, on)
    settings_ = FleetSettings(hold_limit_ms=draw(st.integers(100, 103)))
    return lambda made: setattr(made, "settings", settings_) if kind == "settings" else None


@st.composite
def small_edits(draw: st.DrawFn) -> Edit:
    """Of one thing of what is there, so that little else hides what is forgotten."""
    name, workload, segment = draw(_NAMES), draw(_WORKLOADS), draw(_SEGMENTS)

    def lose(made: Rows) -> None:
        if row := made.hosts.get(name):
            made.put_host(replace(row, lost=not row.lost))

    def move(made: Rows) -> None:
        if row := made.documents.get(("Workload", workload)):
            made.put(re.sub("segment: .*", f"segment: {segment}", row.text))

    return lose if draw(st.booleans()) else move


_DOCUMENTS = rule_edits() | rule_edits() | workload_edits()
EDITS = _DOCUMENTS | small_edits() | host_edits() | other_edits()
