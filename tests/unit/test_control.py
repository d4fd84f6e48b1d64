# SPDX-License-Identifier: Apache-2.0
"""The agent's end of the policy stream: what it takes into the kernel and acknowledges, and what it
refuses.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core import stream
from agent.core.content import Section
from agent.core.held import NackReason
from agent.core.stream import Ack, Nack, Timer
from tests.unit.control_host import (
    ELSEWHERE,
    EMPTY,
    RECORD,
    UNIX,
    Host,
    confirmed,
    entries,
    keys,
    release,
    welcomed,
)


@pytest.fixture
def host() -> Host:
    return welcomed()


def test_a_policy_is_acknowledged_when_the_kernel_judges_by_it_and_not_before(host: Host) -> None:
    host.kernel = False
    nonce = host.policy(release(1), EMPTY)
    assert host.said == []
    host.apply()
    assert host.said == [Ack(nonce, 1, 10, 3)]
    assert host.phase == "UNCONFIRMED"


def test_the_cache_is_written_when_it_is_confirmed_and_not_before(host: Host) -> None:
    nonce = host.policy(release(1), EMPTY)
    assert host.cached == []
    host.hear(stream.Confirmed(nonce))
    assert [stand.release.version for stand in host.cached] == [1]
    assert Timer.CONFIRM not in host.timers


def test_in_sync_is_what_the_controller_says(host: Host) -> None:
    confirmed(host)
    assert host.phase == "SYNCING"
    host.hear(stream.InSync(1))
    assert host.phase == "IN_SYNC"


def test_what_the_kernel_refused_is_taken_when_it_comes_again(host: Host) -> None:
    host.kernel = False
    refused = host.policy(release(1), EMPTY)
    host.carry_out(host.control.not_applied(NackReason.KERNEL, "no descriptor left"))
    assert [(nack.nonce, nack.reason) for nack in host.nacks] == [(refused, NackReason.KERNEL)]
    assert host.control.refused == "no descriptor left"
    host.kernel = True
    host.hear(stream.Confirmed(host.policy(release(1), EMPTY)))
    assert host.control.confirmed is not None
    assert host.control.refused == ""


def test_a_delta_leads_from_what_is_confirmed_to_what_is_signed(host: Host) -> None:
    before = confirmed(host, 1, entries(2, 3))
    body = (before.digest, {Section.PEERS: [3]}, {Section.PEERS: {4: b"peer 4"}})
    host.policy(release(2, entries(2, 4)), body)
    assert host.control.unconfirmed is not None
    assert host.control.unconfirmed.peers == {2, 4}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ((b"x" * 32, {}, {}), NackReason.DELTA),
        (None, NackReason.DELTA),
        (entries(9), NackReason.DELTA),
    ],
    ids=["other base", "unchanged", "other content"],
)
def test_what_does_not_lead_to_the_signed_digest_is_refused(
    host: Host, body: object, reason: NackReason
) -> None:
    confirmed(host, 1, entries(2))
    host.policy(release(2, entries(3)), body)
    assert [nack.reason for nack in host.nacks] == [reason]
    assert host.phase == "SYNCING"


def test_what_is_for_others_old_ended_or_of_the_future_is_refused(host: Host) -> None:
    of = confirmed(host, 5)
    wrong = {
        replace(of, version=6, audience=ELSEWHERE): NackReason.AUDIENCE,
        replace(of, version=4): NackReason.OLDER,
        replace(of, store_epoch=0, version=99): NackReason.OLDER,
        replace(of, issued=of.issued - 1): NackReason.OLDER,
        replace(of, version=6, expires=int(UNIX) - 1): NackReason.TIME,
        replace(of, version=6, issued=int(UNIX) + 301): NackReason.TIME,
    }
    for one, reason in wrong.items():
        host.policy(one, None)
        assert host.nacks[-1].reason is reason, one
    assert host.control.confirmed is not None
    assert host.control.confirmed.release == of


def test_a_higher_epoch_of_the_store_goes_before_a_higher_version(host: Host) -> None:
    confirmed(host, 50)
    host.policy(release(3, EMPTY, epoch=2), EMPTY)
    assert host.nacks == []


def test_records_and_keys_are_of_this_host_and_newer_than_what_is_held(host: Host) -> None:
    host.hear(stream.RecordCame(2, replace(RECORD, host=8, serial=9)))
    host.hear(stream.RecordCame(3, RECORD))
    host.hear(stream.KeysCame(4, replace(keys(9), host=8)))
    host.hear(stream.KeysCame(5, keys(9)))
    host.hear(stream.KeysCame(6, keys(9)))
    reasons = [(nack.nonce, nack.reason) for nack in host.nacks]
    assert reasons == [
        (2, NackReason.AUDIENCE),
        (3, NackReason.OLDER),
        (4, NackReason.AUDIENCE),
        (6, NackReason.OLDER),
    ]
    assert [ack.nonce for ack in host.acks] == [5]


def test_keys_that_come_alone_come_into_force_under_the_policy_that_is_there(host: Host) -> None:
    confirmed(host, 1, entries(2))
    host.hear(stream.KeysCame(7, keys(9, 2)))
    assert host.assembled[-1].stand.ring.serial == 9
    assert host.assembled[-1].stand.release.version == 1
    assert host.cached[-1].ring.serial == 9


def test_a_record_of_another_audience_waits_for_its_release(host: Host) -> None:
    confirmed(host)
    count = len(host.assembled)
    host.hear(stream.RecordCame(7, replace(RECORD, serial=6, audience=ELSEWHERE)))
    assert len(host.assembled) == count
    host.policy(replace(release(2), audience=ELSEWHERE), EMPTY)
    assert host.assembled[-1].stand.record.serial == 6


def test_keys_of_hosts_that_are_no_peers_any_more_are_gone_when_it_is_confirmed(
    host: Host,
) -> None:
    host.hear(stream.KeysCame(7, keys(9, 2, 3)))
    confirmed(host, 1, entries(2))
    assert host.cached[-1].ring.keys(2)
    assert not host.cached[-1].ring.keys(3)


def test_one_thing_at_a_time_is_on_its_way_into_the_kernel(host: Host) -> None:
    confirmed(host)
    host.kernel = False
    host.hear(stream.KeysCame(7, keys(9)))
    host.policy(release(2), EMPTY)
    assert [command.stand.release.version for command in host.assembled[1:]] == [1]
    host.apply()
    assert [command.stand.release.version for command in host.assembled[1:]] == [1, 2]


def test_what_the_kernel_has_no_room_for_is_refused_as_such(host: Host) -> None:
    host.kernel = False
    nonce = host.policy(release(1), EMPTY)
    host.carry_out(host.control.not_applied(NackReason.TOO_LARGE, "too large"))
    assert host.nacks == [Nack(nonce, NackReason.TOO_LARGE, "too large", 1, 1)]
    assert host.control.refused == "too large"
