# SPDX-License-Identifier: Apache-2.0
"""The soak's judgement: what grows is found, what is noise is not, nothing unexpected is passed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from tests.soak import judgement
from tests.soak.judgement import Series, judge
from tests.soak.trend import BLOCKS, Point, block_medians, trend

HOUR = 3600
CONFIDENCE = 0.999


def course(shape: Callable[[float], float], seconds: int = HOUR, every: int = 5) -> list[Point]:
    return [(float(at), shape(at)) for at in range(0, seconds, every)]


def noisy(shape: Callable[[float], float], deviation: float, seed: int = 7) -> list[Point]:
    generator = random.Random(seed)
    return course(lambda at: shape(at) + generator.gauss(0, deviation))


def wrong(points: list[Point], grain: float = 1.0, warm: float = 0.0) -> bool:
    (finding,) = judge([Series("memory", points, grain, "MiB")], warm)
    return bool(finding.wrong)


def test_slope_of_a_straight_line_is_its_own() -> None:
    found = trend(course(lambda at: 100 + at / HOUR), CONFIDENCE)
    assert found is not None
    assert math.isclose(found.slope * HOUR, 1.0)
    assert math.isclose(found.low, found.slope)
    assert math.isclose(found.high, found.slope)


def test_one_sample_in_four_may_be_wild() -> None:
    points = course(lambda at: 100 + at / HOUR)
    points = [(at, 5000.0 if i % 4 == 0 else value) for i, (at, value) in enumerate(points)]
    found = trend(points, CONFIDENCE)
    assert found is not None
    assert math.isclose(found.slope * HOUR, 1.0, rel_tol=0.1)


def test_too_few_points_tell_nothing() -> None:
    assert trend([], CONFIDENCE) is None
    assert trend([(float(at), 1.0) for at in range(7)], CONFIDENCE) is None
    assert trend([(5.0, 1.0)] * 100, CONFIDENCE) is None


def test_blocks_are_equal_spans_of_time() -> None:
    blocks = block_medians(course(lambda at: at))
    assert len(blocks) == BLOCKS
    assert [at for at, _ in blocks] == [value for _, value in blocks]


def test_slow_leak_under_noise_is_found() -> None:
    """4 MiB an hour under noise of the same size."""
    assert wrong(noisy(lambda at: 90 + 4 * at / HOUR, deviation=4))


@pytest.mark.parametrize("seed", range(20))
def test_noise_without_a_trend_is_no_leak(seed: int) -> None:
    assert not wrong(noisy(lambda at: 90.0, deviation=4, seed=seed))


def test_leak_by_steps_is_found() -> None:
    assert wrong(course(lambda at: 90 + at // 600))


def test_one_step_of_the_grain_is_no_leak() -> None:
    assert not wrong(course(lambda at: 90.0 + (at > HOUR / 2)))


def test_what_falls_is_no_leak() -> None:
    assert not wrong(course(lambda at: 200 - at / 10))


def test_warm_up_does_not_count() -> None:
    def warming(at: float) -> float:
        return 60 + min(at, 600) / 10

    assert not wrong(course(warming), warm=600)
    assert wrong(course(lambda at: 60 + at / 100), warm=600)


def test_descriptor_that_leaks_every_ten_minutes_is_found() -> None:
    assert wrong(course(lambda at: 20.0 + at // 600))


def test_confidence_grows_with_the_number_of_series() -> None:
    points = noisy(lambda at: 90 + 3 * at / HOUR, deviation=4)
    alone = judge([Series("one", points, 1.0)], 0)[0].trend
    among = judge([Series(str(i), points, 1.0) for i in range(50)], 0)[0].trend
    assert alone is not None
    assert among is not None
    assert among.low < alone.low


def test_restarted_process_gives_one_point_a_life_once_it_is_warm() -> None:
    lives = [[(begin + at, 50.0 if at < 20 else 80.0 + begin) for at in range(0, 60, 5)]
             for begin in (0.0, 100.0, 200.0)]  # fmt: skip
    lives.append([(300.0, 1.0), (305.0, 1.0)])
    assert [value for _, value in judgement.levels(lives, 20.0)] == [80.0, 180.0, 280.0]


def sample(name: str, value: float = 1.0, **labels: str) -> judgement.Sample:
    return name, labels, value


@pytest.mark.parametrize(
    "found",
    [
        sample("cordon_bpf_map_errors_total", map="processes"),
        sample("cordon_verdicts_total", direction="ingress", verdict="refuse", reason="tag_forged"),
        sample("cordon_verdicts_total", direction="egress", verdict="allow", reason="no_policy"),
        sample("cordon_tags_total", result="no_key"),
        sample("cordon_events_lost_total", kind="process"),
    ],
    ids=lambda found: found[0],
)
def test_metric_of_a_wrong_kind_is_told_as_soon_as_it_rises(found: judgement.Sample) -> None:
    now = judgement.quiet_metrics([found], undisturbed=False)
    assert judgement.risen({}, now) == now != {}
    assert judgement.risen(now, now) == {}


def test_metrics_of_ordinary_service_may_rise() -> None:
    ordinary = [
        sample("cordon_verdicts_total", direction="egress", verdict="refuse", reason="no_rule"),
        sample("cordon_tags_total", result="written"),
        sample("cordon_snapshots_total", result="applied"),
    ]
    assert judgement.quiet_metrics(ordinary, undisturbed=True) == {}


def test_host_whose_agent_is_never_away_loses_no_flow_and_gives_up_no_hold() -> None:
    lost = [sample("cordon_events_lost_total", kind="flow"), sample("cordon_holds_expired_total")]
    assert judgement.quiet_metrics(lost, undisturbed=False) == {}
    assert len(judgement.quiet_metrics(lost, undisturbed=True)) == 2


def test_logs_may_hold_what_the_soak_causes_and_nothing_else() -> None:
    log = (
        "info state state=loading event=state\n"
        "warning state state=stale event=state\n"
        "warning no controller is heard reason=UNAVAILABLE retry_seconds=0.5 event=controller_lost"
    )
    assert judgement.unexpected_lines(log) == []
    odd = [
        "error policy could not be applied version=3 reason=x event=policy_not_applied",
        "error no controller is heard reason=REVOKED event=controller_lost",
        "warning hooks are missing event=tampered",
        "Traceback (most recent call last):",
    ]
    assert judgement.unexpected_lines("\n".join([log, *odd])) == odd
