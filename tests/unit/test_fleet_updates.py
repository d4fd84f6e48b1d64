# SPDX-License-Identifier: Apache-2.0
"""The fleet's compiler: step by step it comes to what it makes of the whole, and touches no more
than it must.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.content import Section
from controller.fleet.compile import Fleet
from tests.unit.fleet_edits import EDITS, Edit
from tests.unit.fleets import THREE, loaded, names, rows, snapshot
from tests.unit.policies import WEB_TO_DB


def state(fleet: Fleet) -> dict[str, object]:
    return {
        "hosts": {name: fleet.record(name) for name in fleet.hosts},
        "contents": {
            audience: (content.digest, content.peers, content.until, content.entries)
            for audience, content in fleet.audiences.items()
        },
        "moment": fleet.moment,
        "next": fleet.next_end(),
    }


@given(st.lists(st.lists(EDITS, min_size=1, max_size=2), min_size=1, max_size=10))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_updates_lead_to_what_a_load_of_the_result_gives(steps: list[list[Edit]]) -> None:
    made = rows(WEB_TO_DB)
    made.part()
    fleet = loaded(made)
    for edits in steps:
        for edit in edits:
            edit(made)
        before = {audience: content.digest for audience, content in fleet.audiences.items()}
        touched = fleet.update(made.part(seconds=5))
        whole = loaded(made)
        assert state(fleet) == state(whole)
        after = {audience: content.digest for audience, content in fleet.audiences.items()}
        changed = {a for a in after if before.get(a) != after[a]}
        assert changed <= touched.audiences
        assert touched.gone == before.keys() - after.keys()
        for name in fleet.hosts:
            snapshot(fleet, name)
    assert fleet.advance(made.at + 100).audiences == whole.advance(made.at + 100).audiences
    assert state(fleet) == state(whole)


def test_a_change_touches_no_audience_that_it_does_not_concern() -> None:
    made = rows(WEB_TO_DB)
    made.part()
    fleet = loaded(made)
    lone = fleet.content(fleet.audience("c"))
    made.put(WEB_TO_DB.replace("6379", "6380"))
    touched = fleet.update(made.part())
    assert touched.audiences == {fleet.audience("a"), fleet.audience("b")}
    assert fleet.content(fleet.audience("c")) is lone
    assert touched.hosts == frozenset()
    old, new = lone, fleet.content(fleet.audience("a"))
    assert old.entries[Section.MANAGED] is new.entries[Section.MANAGED]


def test_who_has_a_rule_for_anybody_hears_of_every_host_that_comes_and_goes() -> None:
    made = rows(WEB_TO_DB.replace("{workload: web}", "{any: true}"))
    made.part()
    fleet = loaded(made)
    assert names(snapshot(fleet, "b").peers) == ["a", "b", "c"]
    made.put_host(replace(THREE["c"], lost=True))
    assert fleet.audience("b") in fleet.update(made.part()).audiences
    assert names(snapshot(fleet, "b").peers) == ["a", "b"]
