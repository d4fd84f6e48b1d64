# SPDX-License-Identifier: Apache-2.0
"""The agent's end of the policy stream: a policy under which the controller is not heard is taken
back, and only what the controller said on the right stream confirms one.
"""

from __future__ import annotations

import pytest

from agent.core import stream
from agent.core.held import NackReason
from agent.core.stream import Timer
from tests.unit.control_host import EMPTY, RECORD, Host, confirmed, entries, release, welcomed


@pytest.fixture
def host() -> Host:
    return welcomed()


def test_a_policy_under_which_nobody_is_heard_is_taken_back_and_said_so(host: Host) -> None:
    confirmed(host, 1, entries(2))
    nonce = host.policy(release(2, entries(3)), entries(3))
    host.at += 10
    host.fire(Timer.CONFIRM)
    assert host.assembled[-1].stand.release.version == 1
    assert not host.assembled[-1].opened
    assert host.control.unconfirmed is None
    assert (host.nacks[-1].nonce, host.nacks[-1].reason) == (nonce, NackReason.UNCONFIRMED)
    assert [stand.release.version for stand in host.cached] == [1]
    host.end()
    host.fire(Timer.CONNECT)
    refused = host.opened[-1].hello.refused
    assert refused is not None
    assert (refused.nonce, refused.version) == (0, 2)
    host.welcome()
    host.reconnect()
    assert host.opened[-1].hello.refused is None, "it was heard"


def test_where_nothing_was_before_it_everything_passes_again(host: Host) -> None:
    host.policy(release(1), EMPTY)
    host.fire(Timer.CONFIRM)
    assert host.assembled[-1].opened
    assert host.control.unconfirmed is host.control.confirmed is None


def test_a_stream_that_breaks_meanwhile_comes_back_at_once_and_confirms(host: Host) -> None:
    confirmed(host)
    host.policy(release(2), EMPTY)
    host.end()
    assert host.timers[Timer.CONNECT] < 0.5
    host.fire(Timer.CONNECT)
    hello = host.opened[-1].hello
    assert hello.policy is not None
    assert hello.unconfirmed is not None
    assert (hello.policy.version, hello.unconfirmed.version) == (1, 2)
    host.welcome(confirmed=True)
    assert host.control.confirmed is not None
    assert host.control.confirmed.release.version == 2


def test_a_connection_older_than_the_first_policy_confirms_nothing() -> None:
    host = Host().begin()
    host.welcome()
    host.hear(stream.RecordCame(1, RECORD))
    host.hear(stream.Confirmed(host.policy(release(1), EMPTY)))
    assert host.control.confirmed is None
    assert len(host.opened) == 2
    host.welcome(confirmed=True)
    assert host.control.confirmed is not None


def test_a_confirm_of_another_nonce_or_stream_confirms_nothing(host: Host) -> None:
    nonce = host.policy(release(1), EMPTY)
    host.hear(stream.Confirmed(nonce + 1))
    host.hear(stream.Confirmed(nonce), number=99)
    host.reconnect()
    host.hear(stream.Confirmed(nonce))
    assert host.control.confirmed is None


def test_a_return_that_the_kernel_refuses_is_tried_again(host: Host) -> None:
    confirmed(host)
    host.policy(release(2), EMPTY)
    host.kernel = False
    host.fire(Timer.CONFIRM)
    host.carry_out(host.control.not_applied(NackReason.KERNEL, "busy"))
    assert Timer.CONFIRM in host.timers
    host.kernel = True
    host.fire(Timer.CONFIRM)
    assert host.control.unconfirmed is None
