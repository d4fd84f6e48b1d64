# SPDX-License-Identifier: Apache-2.0
"""The controller's end of a policy stream: what an agent refused or took back, and when it is sent
again.
"""

from __future__ import annotations

from dataclasses import replace

from controller.talk import Acked, NackReason, NoteRefused, SendInSync, SendPolicy, Welcome
from tests.unit.streams import nack
from tests.unit.talks import CHANGED, edit, kinds, refuse_policy, right, synced, talk


def test_a_refused_release_is_not_sent_again_but_the_next_version_is() -> None:
    made = synced()
    edit(made, 6380)
    made.tell(CHANGED)
    (refused,) = refuse_policy(made, NackReason.CONTENT)
    assert refused == NoteRefused((1, made.site.rows.version), "no")
    made.now += 10_000
    made.tell(CHANGED)
    assert kinds(made) == [NoteRefused]
    edit(made, 6381)
    made.tell(CHANGED)
    made.settle()
    assert right(made)


def test_what_the_kernel_refused_is_tried_again_with_growing_pauses_until_it_takes_it() -> None:
    made = synced()
    edit(made, 6380)
    made.tell(CHANGED)
    for pause in (30, 60, 120, 240, 480, 480, 480):
        (refused,) = refuse_policy(made, NackReason.KERNEL)
        assert refused == NoteRefused((1, made.site.rows.version), "no")
        made.sent.clear()
        made.now += pause - 1
        made.tell(CHANGED)
        assert SendPolicy not in kinds(made)
        made.now += 1
        made.tell(CHANGED)
        assert SendPolicy in kinds(made)
    made.settle()
    assert right(made)


def test_a_delta_that_does_not_fit_is_followed_by_the_whole_at_once() -> None:
    made = synced()
    edit(made, 6380)
    made.tell(CHANGED)
    (again,) = refuse_policy(made, NackReason.DELTA)
    assert isinstance(again, SendPolicy)
    assert again.base is None
    made.settle()
    assert right(made)


def test_a_whole_that_does_not_fit_is_not_sent_for_ever() -> None:
    made = talk()
    made.connect()
    made.step_down()
    made.step_down()
    made.step_down()
    made.up.clear()
    made.tell(Acked(1))
    made.tell(Acked(2))
    found = refuse_policy(made, NackReason.DELTA)
    assert [type(action) for action in found] == [NoteRefused, SendInSync]


def test_a_release_that_was_not_confirmed_is_tried_again_with_growing_pauses_and_not_for_ever() -> (
    None
):
    made = synced()
    edit(made, 6380)
    made.tell(CHANGED)
    made.settle()
    tries = []
    for pause in (30, 60, 120, 240, 10_000):
        made.agent.take_back()
        made.sent.clear()
        assert made.stream is not None
        made.tell(nack(made.stream._policy_nonce, NackReason.UNCONFIRMED))
        made.now += pause - 1
        made.tell(CHANGED)
        assert SendPolicy not in kinds(made)
        made.now += 1
        made.tell(CHANGED)
        made.settle()
        tries.append(SendPolicy in kinds(made))
        if not tries[-1]:
            break
    assert tries == [True, True, True, False]


def test_what_another_controller_was_told_is_known_from_hello() -> None:
    made = synced()
    edit(made, 6380)
    made.connect()
    hello = replace(made.agent.hello(), refused=replace(
        nack(0, NackReason.CONTENT), version=made.site.rows.version, store_epoch=1))  # fmt: skip
    stream = made.site.stream("a")
    assert stream.greet(hello, 0.0) == []
    assert not stream.wants(0.0)


def test_an_unconfirmed_release_is_confirmed_by_welcome_if_it_is_known() -> None:
    made = synced()
    edit(made, 6380)
    made.tell(CHANGED)
    made.step_down()  # it has switched, and its answer is lost
    assert made.agent.unconfirmed
    made.connect()
    assert made.down[0] == Welcome(confirmed=True, key_set=False)
    made.settle()
    assert right(made)
