# SPDX-License-Identifier: Apache-2.0
"""What operators type for the fleet, and how it reads: durations, times, labels, settings."""

from __future__ import annotations

import time
from datetime import datetime

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli import values
from agent.cli.kinds import KINDS, kind_of
from agent.cli.settings import NAMES, parse_settings, settings_facts
from agent.cli.values import Duration, Moment
from agent.pb import admin_pb2 as pb
from controller.documents import KINDS as KINDS_OF_DOCUMENTS
from controller.records import FleetSettings

NOW = 1_900_000_000.5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("8h", 28_800), ("1d12h", 129_600), ("0s", 0), ("1h30m", 5_400)],
)
def test_a_duration_is_its_parts_together(text: str, seconds: int) -> None:
    assert values.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "m", "15 m", "-5m", "1.5h", "15min", "1h ", "٣m", "5M"])
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 90s, 15m"):
        values.duration(text)


@given(st.integers(0, 10**9))
def test_a_duration_reads_as_it_is_written(seconds: int) -> None:
    assert values.duration(values.duration_text(seconds)) == seconds


def test_a_moment_is_a_duration_from_now_on_or_back() -> None:
    assert values.moment("2h", NOW, ahead=True) == int(NOW) + 7_200
    assert values.moment("2h", NOW, ahead=False) == int(NOW) - 7_200


def test_a_moment_with_a_zone_is_that_moment_and_without_one_it_is_of_this_machine() -> None:
    assert values.moment("2030-01-31T18:00:00Z", NOW, ahead=True) == 1_896_112_800
    assert values.moment("2030-01-31T19:00:00+01:00", NOW, ahead=True) == 1_896_112_800
    local = int(datetime(2030, 1, 31, 18).timestamp())
    assert values.moment("2030-01-31T18:00", NOW, ahead=True) == local
    assert values.moment("2030-01-31 18:00", NOW, ahead=False) == local


@pytest.mark.parametrize("text", ["", "tomorrow", "2030-13-01", "18:00", "5", "99999999999d"])
def test_what_is_no_moment_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a duration such as 2h or 1d12h, or a time"):
        values.moment(text, NOW, ahead=True)


def test_a_moment_reads_as_it_is_written() -> None:
    text = values.moment_text(1_896_112_800)
    assert values.moment(text, NOW, ahead=True) == 1_896_112_800
    assert values.moment_text(0) == ""


def test_an_option_that_lies_ahead_refuses_the_past() -> None:
    with pytest.raises(click.BadParameter, match="expected a time in the future"):
        Moment(ahead=True).convert("2001-01-01", None, None)
    with pytest.raises(click.BadParameter, match="expected a time in the future"):
        Moment(ahead=True).convert("0s", None, None)
    assert Moment(ahead=False).convert("2001-01-01T00:00Z", None, None) == 978_307_200
    assert Moment(ahead=True).convert("1h", None, None) > time.time()


def test_an_option_with_a_duration_keeps_its_bounds() -> None:
    ttl = Duration(60, 86_400)
    assert ttl.convert("1m", None, None) == 60
    for text in ("59s", "1d1s"):
        with pytest.raises(click.BadParameter, match="expected a duration from 1m to 1d, got"):
            ttl.convert(text, None, None)


def test_labels_come_in_one_option_or_in_several() -> None:
    assert values.label_pairs(["role=web,zone=a", "tier=1"]) == {
        "role": "web", "zone": "a", "tier": "1",
    }  # fmt: skip
    assert values.label_pairs(["url=a=b", "empty="]) == {"url": "a=b", "empty": ""}
    assert values.labels_text({"zone": "a", "role": "web"}) == "role=web,zone=a"
    assert values.merged([{"a": "1"}, {"a": "2", "b": "3"}]) == {"a": "2", "b": "3"}


@pytest.mark.parametrize("text", ["role", "=web", "", "role=web,", "role=web,zone"])
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected labels such as role=web,zone=a"):
        values.label_pairs([text])


def test_a_label_with_two_values_is_refused() -> None:
    assert values.label_pairs(["a=1,a=1"]) == {"a": "1"}
    with pytest.raises(ValueError, match="the label a is there twice, as 1 and 2"):
        values.label_pairs(["a=1", "a=2"])


def test_more_labels_than_a_host_may_have_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at most 64 labels, got 65"):
        values.label_pairs([f"k{number}=v" for number in range(65)])


def test_a_hyphen_after_a_label_removes_it() -> None:
    assert values.label_changes(["role=web", "zone-", "a=b-"]) == (
        {"role": "web", "a": "b-"},
        ["zone"],
    )
    with pytest.raises(ValueError, match="the label a is set and removed at once"):
        values.label_changes(["a=1", "a-"])
    with pytest.raises(ValueError, match="expected the name of a label"):
        values.label_changes(["-"])


def test_the_kinds_are_those_of_documents_in_any_case_and_number() -> None:
    assert set(KINDS) == set(KINDS_OF_DOCUMENTS)
    for text in ("allow", "Allow", "ALLOWS", "allows"):
        assert kind_of(text) == "Allow"
    assert kind_of("denies") == kind_of("denys") == "Deny"
    with pytest.raises(click.UsageError, match=r"expected a kind: Workload, .*, got 'pods'"):
        kind_of("pods")


def test_every_setting_of_the_fleet_can_be_set() -> None:
    assert len(NAMES) == len(pb.FleetSettings.DESCRIPTOR.fields)
    for name in NAMES:
        assert parse_settings([f"{name}=700"]).ListFields()[0][1] == 700
    assert {field.name for field in pb.FleetSettings.DESCRIPTOR.fields} <= {
        *FleetSettings.__dataclass_fields__
    }


def test_settings_are_durations_or_numbers() -> None:
    wanted = pb.FleetSettings(lease_seconds=7_200, epochs_ahead=3, epoch_seconds=600)
    assert parse_settings(["lease=2h", "epochs_ahead=3", "epoch_seconds=600"]) == wanted
    assert dict(settings_facts(wanted))["lease"] == "2h"
    assert dict(settings_facts(wanted))["epochs_ahead"] == 3


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("lease", "expected NAME=VALUE with one of epoch, "),
        ("leese=1h", "expected NAME=VALUE with one of epoch, "),
        ("lease=soon", "expected a duration"),
        ("epochs_ahead=1h", "epochs_ahead: expected a whole number, got '1h'"),
        ("epochs_ahead=0", "epochs_ahead: expected 1 to 4294967295, got 0"),
        ("epochs_ahead=4294967296", "epochs_ahead: expected 1 to 4294967295"),
        ("epochs_ahead=-1", "epochs_ahead: expected a whole number"),
    ],
)
def test_what_is_no_setting_is_refused(word: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_settings([word])


def test_a_setting_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="lease_seconds is there twice"):
        parse_settings(["lease=1h", "lease_seconds=60"])
