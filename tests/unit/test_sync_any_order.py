# SPDX-License-Identifier: Apache-2.0
"""The controller's end of a policy stream: whatever the order of things, the agent ends up with
what is meant for it.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.content import Section
from controller.talk import Beat, End
from tests.unit.talks import CHANGED, edit, relabel, right, talk

_STEPS = st.sampled_from(
    ["edit", "edit", "lose", "relabel", "move", "hear", "hear", "hear", "answer", "answer",
     "answer", "drop", "restart", "beat", "age"]
)  # fmt: skip


@given(st.lists(_STEPS, max_size=40), st.randoms(use_true_random=False))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_the_order_the_agent_ends_up_with_what_is_meant_for_it(
    steps: list[str], random: object
) -> None:
    made = talk()
    made.connect()
    for number, step in enumerate(steps):
        made.now += 1
        row = made.site.rows.hosts["a"]
        match step:
            case "edit":
                edit(made, 7000 + number)
                made.tell(CHANGED)
            case "lose":
                other = made.site.rows.hosts["b"]
                made.site.rows.put_host(replace(other, lost=not other.lost))
                made.site.publish()
                made.tell(CHANGED)
            case "relabel":
                role = "web" if row.labels["role"] != "web" else "db"
                serial = row.record_serial + 1
                made.site.rows.put_host(replace(row, labels={"role": role}, record_serial=serial))
                made.site.publish()
                made.tell(CHANGED)
            case "move":
                relabel(made, zone=str(number % 2))
                made.tell(CHANGED)
            case "hear":
                made.step_down()
            case "answer":
                made.step_up()
            case "drop":
                made.connect()
            case "restart":
                made.site.start()
                made.connect()
            case "beat":
                made.tell(Beat(number))
            case "age":
                made.site.rows.at += made.site.rows.settings.epoch_seconds // 2
                made.site.publish()
                made.tell(CHANGED)
        pending = [a for a in made.sent if isinstance(a, End)]
        assert pending == []
    made.settle()
    made.tell(Beat(1000))
    made.settle()
    assert right(made)
    assert made.agent.in_sync == 1
    assert made.agent.entries[Section.SETTINGS]
