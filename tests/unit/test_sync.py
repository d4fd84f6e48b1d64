# SPDX-License-Identifier: Apache-2.0
"""The controller's end of a policy stream: what an agent is sent, in which order, and what not."""

from __future__ import annotations

from dataclasses import replace

from controller.keyserver import HeldKeys
from controller.talk import (
    Beat,
    Changed,
    NoteEnforced,
    Resync,
    SendBeat,
    SendConfirm,
    SendInSync,
    SendKeys,
    SendPolicy,
    SendRecord,
    Welcome,
)
from tests.unit.talks import CHANGED, edit, kinds, right, synced, talk


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


def test_held_keys_of_nobody_are_none() -> None:
    made = talk()
    hello = replace(made.agent.hello(), keys=HeldKeys(5, 7))
    stream = made.site.stream("a")
    stream.greet(hello, 0.0)
    (keys,) = [a.keys for a in stream.begin(0.0) if isinstance(a, SendKeys)]
    assert keys.replaces_all
    assert keys.serial > 5


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
