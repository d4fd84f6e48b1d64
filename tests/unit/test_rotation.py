# SPDX-License-Identifier: Apache-2.0
"""A key is replaced in three steps, none of which comes too early."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from controller.access_records import SecretRow
from controller.rotation import LAG_SECONDS, Rotation, RotationRefused

NOW = 1_700_000_000
LIFE = 86_400


def _row(id_: str, stage: str, since: int = NOW) -> SecretRow:
    return SecretRow("authority", id_, stage, since, b"", b"")


def _after(rows: Sequence[SecretRow], changed: Sequence[SecretRow]) -> list[SecretRow]:
    by_id = {row.id: row for row in (*rows, *changed)}
    return [row for row in by_id.values() if row.stage != "ended"]


def _stages(rows: Sequence[SecretRow]) -> dict[str, str]:
    return {row.id: row.stage for row in rows}


def _issued_always(before: int) -> int:
    """Certificates are issued all the time, each for LIFE."""
    return before - 1 + LIFE


def test_the_whole_way() -> None:
    rows = [_row("a", "active", 0)]
    rows = _after(rows, Rotation("authority", rows).prepare(_row("b", "next")))
    assert _stages(rows) == {"a": "active", "b": "next"}
    later = NOW + LIFE + LAG_SECONDS
    rows = _after(rows, Rotation("authority", rows).activate(later, _issued_always))
    assert _stages(rows) == {"a": "retired", "b": "active"}
    assert {row.since for row in rows} == {later}
    last = later + LIFE + LAG_SECONDS
    rows = _after(rows, Rotation("authority", rows).retire(last, _issued_always))
    assert _stages(rows) == {"b": "active"}


def test_activation_waits_for_all_who_do_not_know_the_next() -> None:
    rotation = Rotation("authority", [_row("a", "active", 0), _row("b", "next")])
    with pytest.raises(RotationRefused, match=r"holds for 24 h .* does not know the next one"):
        rotation.activate(NOW + LAG_SECONDS, _issued_always)
    with pytest.raises(RotationRefused, match="1 min"):
        rotation.activate(NOW + LIFE + LAG_SECONDS - 2, _issued_always)
    assert rotation.activate(NOW, lambda _: 0), "with nobody there, there is nothing to wait for"


def test_retirement_waits_for_all_who_may_need_the_old_one() -> None:
    rotation = Rotation("authority", [_row("a", "retired"), _row("b", "active")])
    with pytest.raises(RotationRefused, match="may need the old one"):
        rotation.retire(NOW + LIFE, _issued_always)


@pytest.mark.parametrize(
    ("stages", "step", "why"),
    [
        (("active", "next"), "prepare", "is prepared already"),
        (("active", "retired"), "prepare", "retire it first"),
        (("active",), "activate", "no next authority"),
        (("active", "retired"), "activate", "no next authority"),
        (("active", "next"), "retire", "no old authority"),
    ],
)
def test_steps_out_of_order_are_refused(stages: tuple[str, ...], step: str, why: str) -> None:
    rotation = Rotation("authority", [_row(stage, stage) for stage in stages])
    arguments = [_row("new", "next")] if step == "prepare" else [NOW, lambda _: 0]
    with pytest.raises(RotationRefused, match=why):
        getattr(rotation, step)(*arguments)
