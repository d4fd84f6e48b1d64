# SPDX-License-Identifier: Apache-2.0
"""The controller's end of a policy stream: whatever the order of things, the agent is right.

Long because the orders of the contract stand beside each other, each a few lines.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.content import Section, digest
from controller.keyserver import HeldKeys
from controller.sync import ANSWER_SECONDS, MOST_NACKS
from controller.talk import (
    Acked,
    Beat,
    Changed,
    End,
    HeldPolicy,
    NackReason,
    NoteEnforced,
    NoteRefused,
    Resync,
    SendBeat,
    SendConfirm,
    SendInSync,
    SendKeys,
    SendPolicy,
    SendRecord,
    Welcome,
)
from tests.unit.fleets import rows
from tests.unit.policies import WEB_TO_DB
from tests.unit.streams import Agent, Site, Talk, nack

CHANGED = Changed()


def site() -> Site:
    return Site(rows(WEB_TO_DB))


def talk(name: str = "a") -> Talk:
    made = site()
    return Talk(made, Agent(name, made.rows.hosts[name].number))


def synced(name: str = "a") -> Talk:
    made = talk(name)
    made.connect()
    made.settle()
    made.sent.clear()
    return made


def kinds(made: Talk) -> list[type]:
    return [type(action) for action in made.sent]


def edit(made: Talk, port: int) -> None:
    made.site.rows.put(WEB_TO_DB.replace("6379", str(port)))
    made.site.publish()


def right(made: Talk) -> bool:
    """The agent holds exactly what is meant for it, with the keys for it."""
    fleet, agent = made.site.fleet, made.agent
    content = fleet.content(fleet.audience(agent.name))
    assert agent.record is not None
    return (
        digest(agent.entries) == content.digest
        and agent.release is not None
        and agent.release.audience == agent.record.audience
        and agent.record.serial == fleet.record(agent.name).serial
        and not agent.missing(agent.entries, made.site.desk)
        and not agent.unconfirmed
    )


def test_a_new_agent_gets_record_keys_and_policy_and_is_in_sync() -> None:
    made = talk()
    made.connect()
    made.settle()
    assert kinds(made) == [
        Welcome, SendRecord, SendKeys, SendPolicy, SendConfirm, NoteEnforced, SendInSync,
    ]  # fmt: skip
    assert right(made)
    assert made.agent.in_sync == 1


def test_an_agent_that_holds_the_newest_is_in_sync_by_hello_and_welcome() -> None:
    made = synced()
    made.connect()
    assert kinds(made) == [Welcome, NoteEnforced, SendInSync]


def test_a_restarted_controller_sends_nothing_to_who_holds_the_newest() -> None:
    made = synced()
    edit(made, 6380)
    made.tell(CHANGED)
    made.settle()
    made.sent.clear()
    made.site.start()
    made.connect()
    assert kinds(made) == [Welcome, NoteEnforced, SendInSync]


def test_a_change_is_one_delta_and_one_confirm() -> None:
    made = synced()
    edit(made, 6380)
    made.tell(CHANGED)
    made.settle()
    assert kinds(made) == [SendPolicy, SendConfirm, NoteEnforced]
    (policy,) = [a for a in made.sent if isinstance(a, SendPolicy)]
    assert policy.base is not None
    assert made.site.desk.releases.delta(policy.release, policy.base) is not None
    assert right(made)


def test_changes_while_one_is_unanswered_merge_into_the_next() -> None:
    made = synced()
    for port in (6380, 6381, 6382):
        edit(made, port)
        made.tell(CHANGED)
    made.settle()
    assert kinds(made).count(SendPolicy) == 2
    assert right(made)


def test_a_change_that_does_not_concern_the_host_is_not_told() -> None:
    made = synced("c")
    edit(made, 6380)
    made.tell(CHANGED)
    assert made.sent == []


def test_keys_for_a_new_peer_come_before_the_policy_that_names_it() -> None:
    made = synced("c")
    made.site.rows.put(
        "kind: Allow\nname: x\nfrom: {workload: hermit}\nto: {workload: db}\nports: [tcp/1]\n"
    )
    made.site.publish()
    made.tell(CHANGED)
    made.settle()
    assert kinds(made)[:2] == [SendKeys, SendPolicy]
    assert right(made)
    assert {peer for peer, _ in made.agent.keys} == {0, 2}


def test_keys_of_a_peer_that_came_back_are_sent_again() -> None:
    made = synced()
    lost = replace(made.site.rows.hosts["b"], lost=True)
    for row in (lost, replace(lost, lost=False)):
        made.site.rows.put_host(row)
        made.site.publish()
        made.tell(CHANGED)
        made.settle()
        assert right(made)


def test_a_relabelled_host_gets_its_record_before_the_release_of_its_new_audience() -> None:
    made = synced()
    row = made.site.rows.hosts["a"]
    made.site.rows.put_host(replace(row, labels={"role": "other"}, record_serial=2))
    made.site.publish()
    made.tell(CHANGED)
    made.settle()
    assert kinds(made)[0] is SendRecord
    assert SendPolicy in kinds(made)
    assert right(made)


def relabel(made: Talk, **labels: str) -> None:
    row = made.site.rows.hosts["a"]
    serial = row.record_serial + 1
    made.site.rows.put_host(replace(row, labels={**row.labels, **labels}, record_serial=serial))
    made.site.publish()


def test_a_label_that_changes_no_content_brings_a_release_of_the_new_audience() -> None:
    """Without one, neither the record nor any key that follows would come into force."""
    made = synced()
    relabel(made, zone="x")
    made.tell(CHANGED)
    made.settle()
    assert kinds(made) == [SendRecord, SendPolicy, SendConfirm, NoteEnforced]
    (policy,) = [a for a in made.sent if isinstance(a, SendPolicy)]
    assert policy.base == policy.release.digest, "the content stays"
    assert right(made)


def test_a_stream_that_broke_between_the_two_brings_the_release_to_the_next() -> None:
    made = synced()
    relabel(made, zone="x")
    made.tell(CHANGED)
    made.step_down()
    assert made.agent.record is not None
    assert made.agent.record.serial == made.site.rows.hosts["a"].record_serial
    made.sent.clear()
    made.connect()
    made.settle()
    assert SendRecord not in kinds(made)
    assert right(made)


def test_who_comes_back_to_its_old_labels_gets_a_release_that_is_newer() -> None:
    made = synced()
    for zone in ("x", "y", "x"):
        relabel(made, zone=zone)
        made.tell(CHANGED)
        made.settle()
        assert right(made)


def test_an_agent_that_names_no_audience_is_taken_at_its_word() -> None:
    made = synced()
    hello = made.agent.hello()
    assert hello.policy is not None
    stream = made.site.stream("a")
    stream.greet(replace(hello, policy=replace(hello.policy, audience=b"")), 0.0)
    assert [type(one) for one in [*stream.welcome(), *stream.begin(0.0)]] == [
        Welcome,
        NoteEnforced,
        SendInSync,
    ]


def test_a_host_that_joins_an_older_audience_gets_a_release_newer_than_what_it_had() -> None:
    made = synced("a")
    for port in (6380, 6381):
        edit(made, port)
        made.tell(CHANGED)
        made.settle()
    older = made.site.desk.releases.get(made.site.fleet.audience("c"))
    row = made.site.rows.hosts["a"]
    made.site.rows.put_host(replace(row, labels={"role": "other"}, record_serial=2))
    made.site.publish()
    assert older is not None
    assert made.agent.release is not None
    assert older.head.version < made.agent.release.version
    made.tell(CHANGED)
    made.settle()
    assert right(made)


def test_only_the_expiry_is_renewed_where_only_that_is_due() -> None:
    made = synced()
    desk = made.site.desk
    desk.unix_ms += desk.settings.validity_seconds * 1000 // 2
    (audience,) = {a for a in desk.renewals() if a == made.site.fleet.audience("a")}
    desk.releases.renew(desk.renewed(audience))
    made.tell(CHANGED)
    policies = [a for a in made.sent if isinstance(a, SendPolicy)]
    assert [p.base for p in policies] == [p.release.digest for p in policies]
    before = made.agent.release
    made.settle()
    assert made.agent.release is not None
    assert before is not None
    assert made.agent.release.expires > before.expires
    assert right(made)


def test_new_epochs_bring_keys_without_policy() -> None:
    made = synced()
    made.site.desk.unix_ms += 3 * made.site.desk.settings.epoch_seconds * 1000
    made.tell(Beat(1))
    made.settle()
    assert kinds(made) == [SendBeat, SendKeys]
    assert right(made)


def test_a_changed_length_of_epochs_replaces_all_keys() -> None:
    made = synced()
    made.site.rows.settings = replace(made.site.rows.settings, epoch_seconds=600)
    made.site.publish()
    made.connect()
    made.settle()
    (keys,) = [a.keys for a in made.sent if isinstance(a, SendKeys)]
    assert keys.replaces_all
    assert right(made)


# Refusals.


def refuse_policy(made: Talk, reason: int) -> list[object]:
    """The agent refuses the policy that is on its way; what is sent then."""
    made.down.clear()
    made.sent.clear()
    assert made.stream is not None
    made.agent.nonce = nonce = made.stream._nonce
    made.tell(nack(nonce, reason))
    return list(made.sent)


def test_a_refused_release_is_not_sent_again_but_the_next_version_is() -> None:
    made = synced()
    edit(made, 6380)
    made.tell(CHANGED)
    (refused,) = refuse_policy(made, NackReason.KERNEL)
    assert refused == NoteRefused((1, made.site.rows.version), "no")
    made.now += 10_000
    made.tell(CHANGED)
    assert kinds(made) == [NoteRefused]
    edit(made, 6381)
    made.tell(CHANGED)
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


# What is no order.


def ends(made: Talk) -> list[tuple[str, str]]:
    return [(a.status, a.reason) for a in made.sent if isinstance(a, End)]


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


# Who may not.


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


def test_a_raised_epoch_is_followed_by_everybody() -> None:
    made = synced()
    for port in (6380, 6381):
        edit(made, port)
        made.tell(CHANGED)
        made.settle()
    made.site.rows.version, made.site.rows.store_epoch = 2, 2
    made.site.start()
    made.connect()
    made.settle()
    assert right(made)
    assert made.agent.release is not None
    assert made.agent.release.store_epoch == 2


# Any order of things.

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


def test_who_stands_in_line_is_answered_and_sent_nothing_until_its_turn() -> None:
    made = talk()
    stream = made.site.stream("a")
    stream.greet(made.agent.hello(), 0.0)
    assert [type(action) for action in stream.welcome()] == [Welcome]
    assert stream.handle(Beat(7), 1.0) == [SendBeat(7)]
    assert stream.handle(Changed(), 2.0) == []
    assert stream.handle(Resync(content=True, keys=True), 3.0) == []
    assert not stream.busy
    sent = [type(action) for action in stream.begin(4.0)]
    assert sent == [SendRecord, SendKeys, SendPolicy]
    assert stream.handle(Beat(8), 100.0) == [SendBeat(8)], "its time to answer begins with its turn"


def test_held_keys_of_nobody_are_none() -> None:
    made = talk()
    hello = replace(made.agent.hello(), keys=HeldKeys(5, 7))
    stream = made.site.stream("a")
    stream.greet(hello, 0.0)
    (keys,) = [a.keys for a in stream.begin(0.0) if isinstance(a, SendKeys)]
    assert keys.replaces_all
    assert keys.serial > 5
