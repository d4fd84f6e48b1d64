# SPDX-License-Identifier: Apache-2.0
"""The controller's end of a policy stream: a host whose labels change comes to another audience,
and gets its record and a release of that audience which it can take.
"""

from __future__ import annotations

from dataclasses import replace

from controller.talk import NoteEnforced, SendConfirm, SendInSync, SendPolicy, SendRecord, Welcome
from tests.unit.talks import CHANGED, edit, kinds, relabel, right, synced


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
