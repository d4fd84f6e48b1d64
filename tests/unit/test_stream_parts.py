# SPDX-License-Identifier: Apache-2.0
"""What streams are served from: releases, keys, admission, rollout.

One long file: each part has few tests, and they share their makers.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import tag
from agent.edge import signed
from agent.pb import policy_pb2 as pb
from agent.pb import signed_pb2
from controller import keyserver, pace
from controller.admission import Admission
from controller.clones import Clones
from controller.keys import KeyRing
from controller.keyserver import HeldKeys, Moment, after, all_epochs, epochs, missing, updates
from controller.records import FleetSettings, Seen
from controller.releases import HISTORY, stamp
from controller.rollout import Rollout
from tests.unit.fleets import rows
from tests.unit.policies import NOW, ROOT, WEB_TO_DB
from tests.unit.streams import PUBLIC, Site

# Releases.


def site() -> Site:
    return Site(rows(WEB_TO_DB))


def edit(made: Site, port: int) -> None:
    made.rows.put(WEB_TO_DB.replace("6379", str(port)))
    made.publish()


def test_every_controller_makes_the_same_bytes() -> None:
    one = site()
    edit(one, 6380)
    other = Site(one.rows)
    for name in "ab":
        audience = one.fleet.audience(name)
        assert one.desk.releases.current[audience].signed != b""
    one.start()
    other.start()
    assert {a: r.signed for a, r in one.desk.releases.current.items()} == {
        a: r.signed for a, r in other.desk.releases.current.items()
    }


def test_a_release_says_what_it_is_about_and_is_signed() -> None:
    made = site()
    audience = made.fleet.audience("a")
    found = made.desk.releases.current[audience]
    envelope = signed_pb2.Signed.FromString(found.signed)
    release = pb.Release.FromString(signed.open_signed(envelope, signed.RELEASE, [PUBLIC]))
    assert release.audience == audience
    assert release.content_digest == made.fleet.content(audience).digest
    assert (release.store_epoch, release.version) == (1, made.rows.version)
    assert release.expires == release.issued + made.rows.settings.validity_seconds


def test_audiences_that_share_a_content_share_the_bytes_of_a_delta() -> None:
    made = site()
    twin = made.rows.hosts["a"]
    made.rows.put_host(
        type(twin)(**{s: getattr(twin, s) for s in twin.__slots__} | {
            "name": "a2", "number": 7, "labels": {"role": "web", "rack": "1"}, "addresses": ()})
    )  # fmt: skip
    made.publish()
    releases = made.desk.releases
    base = releases.current[made.fleet.audience("a")].digest
    edit(made, 6380)
    one, other = (releases.current[made.fleet.audience(name)] for name in ("a", "a2"))
    assert one.audience != other.audience
    assert releases.delta(one, base) is releases.delta(other, base)


def test_deltas_start_from_the_last_contents_and_no_older_ones() -> None:
    made = site()
    releases, audience = made.desk.releases, made.fleet.audience("a")
    bases = [releases.current[audience].digest]
    for port in range(7000, 7000 + HISTORY):
        edit(made, port)
        bases.append(releases.current[audience].digest)
    newest = releases.current[audience]
    assert releases.delta(newest, bases[0]) is None
    assert releases.known(bases[0]) is None
    assert releases.delta(newest, bases[1])


def test_what_no_audience_has_is_forgotten() -> None:
    made = site()
    digest = made.desk.releases.current[made.fleet.audience("c")].digest
    made.rows.drop_host("c")
    made.publish()
    assert made.desk.releases.known(digest) is None


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(2, 500))
def test_stamps_are_at_each_half_of_the_validity_and_never_late(
    moment: int, since: int, validity: int
) -> None:
    now = moment + since
    found = stamp(moment, validity, now)
    half = validity // 2
    assert (found - moment) % half == 0
    assert found <= now < found + half


# Keys.

SETTINGS = FleetSettings(epoch_seconds=3600, epochs_ahead=3)


def at(seconds: int) -> Moment:
    return Moment(seconds * 1000, SETTINGS)


def ring(moment: Moment) -> KeyRing:
    return KeyRing(ROOT, all_epochs(moment))


def test_a_new_host_gets_every_epoch_from_the_one_before_to_the_last_ahead() -> None:
    moment = at(NOW + 3599)
    (sent,) = updates(1, frozenset({2}), HeldKeys(), moment, ring(moment))
    wanted = list(range(moment.epoch - 1, moment.epoch + 4))
    assert [key.epoch for key in sent.receive_secrets] == wanted
    ((peer, keys),) = sent.peers
    assert (peer, [key.epoch for key in keys]) == (2, wanted)
    theirs = ring(moment).receive_secrets(2)
    assert keys[0].key == tag.pair_key(theirs[0].key, 1)
    assert sent.expires == (moment.epoch + 4) * 3600


def test_only_what_is_missing_is_sent() -> None:
    moment = at(NOW + 3599)
    (first,) = updates(1, frozenset({2}), HeldKeys(), moment, ring(moment))
    held = after(HeldKeys(), first)
    assert updates(1, frozenset({2}), held, moment, ring(moment)) == ()
    (more,) = updates(1, frozenset({2, 3}), held, moment, ring(moment))
    assert more.receive_secrets == ()
    assert [peer for peer, _ in more.peers] == [3]
    later = at(NOW + 3600 + 3599)
    (next_,) = updates(1, frozenset({2}), held, later, ring(later))
    assert [k.epoch for k in next_.receive_secrets] == [later.epoch + 3]
    assert [(p, [k.epoch for k in ks]) for p, ks in next_.peers] == [(2, [later.epoch + 3])]
    assert first.serial < next_.serial


def test_a_serial_is_above_what_the_host_holds_whatever_the_clock_says() -> None:
    moment = at(NOW)
    held = HeldKeys(serial=moment.now_ms + 5000, peers=None)
    (sent,) = updates(1, frozenset(), held, moment, ring(moment))
    assert sent.serial == held.serial + 1
    assert sent.replaces_all


def test_hosts_take_turns_within_the_first_half_of_an_epoch() -> None:
    start = NOW // 3600 * 3600
    last = start // 3600 + 3

    def furthest(into: int) -> int:
        moment = at(start + into)
        return sum(epochs(host, moment).stop - 1 == last for host in range(1000))

    assert furthest(0) < 20
    assert 200 < furthest(450) < 300
    assert 450 < furthest(900) < 550
    assert furthest(1800) == 1000


@given(
    st.frozensets(st.integers(1, 6)),
    st.frozensets(st.integers(1, 6)) | st.none(),
    st.integers(NOW // 3600 - 2, NOW // 3600 + 5),
    st.integers(0, 3599),
)
def test_missing_says_exactly_whether_updates_has_something(
    peers: frozenset[int], has: frozenset[int] | None, last: int, into: int
) -> None:
    moment = at(NOW + into)
    held = HeldKeys(1, last, has)
    sent = updates(1, peers, held, moment, ring(moment))
    assert bool(sent) == missing(1, peers, held, moment)
    for part in sent:
        held = after(held, part)
    assert not missing(1, peers, held, moment)


def test_many_peers_come_in_parts_and_the_last_epoch_with_the_last_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keyserver, "PEERS_PER_UPDATE", 2)
    moment = at(NOW + 3599)
    parts = updates(1, frozenset(range(2, 7)), HeldKeys(peers=None), moment, ring(moment))
    assert [len(part.peers) for part in parts] == [2, 2, 1]
    assert [part.replaces_all for part in parts] == [True, False, False]
    assert len({part.serial for part in parts}) == 3
    held = HeldKeys(peers=None)
    for part in parts[:-1]:
        held = after(held, part)
    assert held.last_epoch < moment.epoch + 3, "who is cut off here asks for the rest"
    assert after(held, parts[-1]) == HeldKeys(
        parts[-1].serial, moment.epoch + 3, frozenset(range(2, 7))
    )


# Admission.


def test_as_many_as_may_come_in_and_the_others_in_the_order_of_their_coming() -> None:
    door: Admission[str] = Admission(max_syncing=2)
    assert [door.enter(who) for who in "abcd"] == [True, True, False, False]
    assert (door.syncing, door.waiting) == (2, 2)
    assert [door.leave("b"), door.leave("a"), door.leave("c")] == ["c", "d", None]
    assert (door.syncing, door.waiting) == (1, 0)


def test_who_goes_while_in_line_lets_nobody_in() -> None:
    door: Admission[str] = Admission(max_syncing=1)
    assert [door.enter(who) for who in "abc"] == [True, False, False]
    assert [door.leave("b"), door.leave("b"), door.leave("stranger")] == [None] * 3
    assert door.leave("a") == "c"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60), st.integers(1, 4))
def test_nobody_is_forgotten_at_the_door(steps: list[tuple[bool, int]], most: int) -> None:
    """Whoever came and did not leave is inside, or as many as may be are."""
    door: Admission[int] = Admission(max_syncing=most)
    there: set[int] = set()
    inside: set[int] = set()
    for comes, who in steps:
        if comes and who not in there:
            there.add(who)
            if door.enter(who):
                inside.add(who)
        elif not comes:
            there.discard(who)
            inside.discard(who)
            following = door.leave(who)
            if following is not None:
                assert following in there
                inside.add(following)
        assert (door.syncing, door.waiting) == (len(inside), len(there - inside))
        assert len(inside) == min(most, len(there))


# Pace.


@given(st.integers(0, 10**6))
def test_the_pace_suits_the_number_of_hosts_and_stays_within_the_contract(hosts: int) -> None:
    assert 15 <= pace.heartbeat_seconds(hosts) <= pace.heartbeat_seconds(hosts + 1) <= 60
    assert pace.silent_seconds(hosts) > 3 * pace.heartbeat_seconds(hosts)
    assert 0 <= pace.spread_ms(hosts) <= 60_000
    if hosts <= 9000:
        assert hosts / pace.heartbeat_seconds(hosts) <= 160
        assert hosts <= 600 * (pace.spread_ms(hosts) / 1000) + 1


# Clones.


def test_agents_that_end_each_other_in_turn_wait_and_one_that_restarts_does_not() -> None:
    clones = Clones()
    assert [clones.turn("a", now) for now in (0.0, 100.0, 200.0)] == [0.0, 0.0, 0.0]
    assert [clones.turn("b", now) > 0 for now in (0.0, 1.0, 2.0, 3.0)] == [False, False, True, True]
    assert clones.turn("c", 3.0) == 0.0


# Rollout.


def test_a_rollout_counts_who_has_it_who_waits_who_refused_and_who_is_away() -> None:
    made = Rollout()
    made.note_version(7, ["a", "b", "c", "d", "e", "f"])
    for host in "abc":
        made.connected(host, (1, 6))
    made.enforced("a", (1, 7))
    made.refused("b", (1, 7), "no room")
    seen = {"d": Seen(controller="ctl-2", store_epoch=1, version=9), "e": Seen(controller="ctl-2")}
    wanted = dict.fromkeys(made.hosts(7) or (), (1, 7))
    counts = made.count(7, wanted, seen)
    assert (counts.hosts, counts.enforced, counts.refused, counts.pending, counts.absent) == (
        6, 2, 1, 2, 1,
    )  # fmt: skip
    assert counts.refusals == (("b", "no room"),)
    assert not counts.done
    made.gone("c")
    made.enforced("e", (1, 7))
    assert made.count(7, wanted, seen).done


def test_a_newer_version_enforces_an_older_one_and_a_newer_epoch_any() -> None:
    made = Rollout()
    made.connected("a", (1, 9))
    made.connected("b", (2, 1))
    assert made.count(7, {"a": (1, 7), "b": (1, 7)}, {}).enforced == 2


def test_a_host_that_came_to_older_policy_needs_no_more_than_that() -> None:
    made = Rollout()
    made.connected("a", (1, 5))
    assert made.count(7, {"a": (1, 6)}, {}).pending == 1
    made.enforced("a", (1, 6))
    assert made.count(7, {"a": (1, 6)}, {}).enforced == 1


def test_versions_that_were_compiled_as_one_have_changed_the_same_hosts() -> None:
    made = Rollout()
    assert made.hosts(1) is None
    made.note_version(3, ["a"])
    made.note_version(6, ["b"])
    assert made.hosts(6) == made.hosts(5) == made.hosts(4) == frozenset("b")
    assert made.hosts(3) == frozenset("a")
    assert made.hosts(2) is None  # by whom this was compiled, has ended
    assert made.elsewhere(["a", "b"]) == {"a", "b"}
    made.connected("a", (1, 3))
    assert made.elsewhere(["a", "b"]) == {"b"}


def test_every_answer_can_be_seen_by_who_watches() -> None:
    made = Rollout()
    before = made.changes
    made.connected("a", (1, 1))
    made.gone("a")
    made.gone("a")
    assert made.changes == before + 2
