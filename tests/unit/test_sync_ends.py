# SPDX-License-Identifier: Apache-2.0
"""The controller's end of a policy stream: what ends it, or keeps it from beginning."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.sync import ANSWER_SECONDS, MOST_NACKS
from controller.talk import Acked, Beat, End, HeldPolicy, NackReason, Resync, SendKeys, SendPolicy
from tests.unit.streams import nack
from tests.unit.talks import CHANGED, edit, ends, refuse_policy, synced, talk

PROTOCOL = [("INVALID_ARGUMENT", "PROTOCOL")]


@pytest.mark.parametrize(
    "event",
    [Acked(99), Acked(0), nack(99, NackReason.KERNEL), nack(1, NackReason.UNCONFIRMED)],
    ids=str,
)
def test_an_answer_to_what_was_never_sent_ends_the_stream(event: Acked) -> None:
    made = synced()
    made.tell(event)
    assert ends(made) == PROTOCOL


def test_an_ack_of_another_version_ends_the_stream() -> None:
    made = synced()
    edit(made, 6380)
    made.tell(CHANGED)
    (policy,) = made.down
    assert isinstance(policy, SendPolicy)
    made.tell(Acked(policy.nonce, policy.release.head.version - 1))
    assert ends(made) == PROTOCOL


def test_answering_twice_ends_the_stream() -> None:
    made = talk()
    made.connect()
    made.tell(Acked(1))
    made.tell(Acked(1))
    assert ends(made) == PROTOCOL


def test_a_second_hello_ends_the_stream() -> None:
    made = synced()
    made.tell(made.agent.hello())
    assert ends(made) == PROTOCOL


def test_a_flood_of_refusals_ends_the_stream() -> None:
    made = synced()
    for port in range(7000, 7000 + MOST_NACKS):
        edit(made, port)
        made.tell(CHANGED)
        refuse_policy(made, NackReason.CONTENT)
        assert ends(made) == []
    edit(made, 8000)
    made.tell(CHANGED)
    refuse_policy(made, NackReason.CONTENT)
    assert ends(made) == PROTOCOL


def test_an_agent_that_beats_and_never_answers_is_cut_off() -> None:
    made = talk()
    made.connect()
    made.now += ANSWER_SECONDS
    made.tell(Beat(1))
    assert ends(made) == []
    made.now += 1
    made.tell(Beat(2))
    assert ends(made) == [("UNAVAILABLE", "NO_ANSWER")]


def test_whole_things_are_sent_once_a_minute() -> None:
    made = synced()
    made.tell(Resync(content=True, keys=True))
    keys, policy = made.sent
    assert isinstance(keys, SendKeys)
    assert isinstance(policy, SendPolicy)
    assert keys.keys.replaces_all
    assert policy.base is None
    made.tell(Resync(content=False, keys=True))
    assert ends(made) == PROTOCOL


def test_another_protocol_or_another_host_is_refused() -> None:
    made = talk()
    stream, hello = made.site.stream("a"), made.agent.hello()
    (one,) = stream.greet(replace(hello, protocol=2), 0.0)
    (two,) = stream.greet(replace(hello, host=2), 0.0)
    (three,) = stream.greet(replace(hello, name="b"), 0.0)
    assert [end.reason for end in (one, two, three) if isinstance(end, End)] == [
        "PROTOCOL_VERSION", "WRONG_HOST", "WRONG_HOST",
    ]  # fmt: skip


@pytest.mark.parametrize("field", ["policy", "unconfirmed"])
@pytest.mark.parametrize(("epoch", "more"), [(1, 1), (2, -1)])
def test_an_agent_that_holds_what_the_store_never_made_gets_nothing(
    field: str, epoch: int, more: int
) -> None:
    made = synced()
    held = HeldPolicy(epoch, made.site.rows.version + more, bytes(32), 0)
    hello = replace(made.agent.hello(), **{field: held})  # type: ignore[arg-type]
    (end,) = made.site.stream("a").greet(hello, 0.0)
    assert isinstance(end, End)
    assert (end.status, end.reason) == ("FAILED_PRECONDITION", "STORE_BEHIND")
    assert "restored" in end.message


def test_a_record_that_the_store_never_made_is_a_restored_backup_too() -> None:
    made = synced()
    (end,) = made.site.stream("a").greet(replace(made.agent.hello(), record_serial=9), 0.0)
    assert isinstance(end, End)
    assert end.reason == "STORE_BEHIND"
